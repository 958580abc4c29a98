"""Messages of the MQTT trigger: any bytes are a part or are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from ast_edge.errors import LineError
from ast_edge.line.triggers.mqtt import MqttTriggerOptions, TriggerMessage, read_trigger


@given(st.binary(max_size=1100))
@example(b"[" * 1024)
@example(b'{"encoder": ' + b"9" * 1000 + b"}")
@example(b'{"id": "\\ud800"}')
@example(b'{"encoder": NaN}')
@example(b'{"encoder": 1e2}')
@example(b'{"encoder": true}')
@example(b'{"id": 1, "id": 2}')
@example(b"\xef\xbb\xbf{}")
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    try:
        reported = read_trigger(payload)
    except LineError:
        return
    assert reported == TriggerMessage() or json.loads(payload).keys() <= {"id", "encoder", "sent_ms"}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["id", "encoder", "sent_ms", "x"]), values))
def test_any_object_is_read_as_it_is_or_refused(reported: dict[str, Any]) -> None:
    try:
        found = read_trigger(json.dumps(reported).encode())
    except LineError:
        good = good_id(reported) and good_encoder(reported) and good_sent(reported)
        assert reported.keys() - {"id", "encoder", "sent_ms"} or not good
        return
    assert found.sent_ms == reported.get("sent_ms")
    assert good_sent(reported)
    assert found.encoder == reported.get("encoder")
    assert found.id == (None if reported.get("id") is None else str(reported["id"]))
    assert good_id(reported)
    assert good_encoder(reported)


def good_id(reported: dict[str, Any]) -> bool:
    value = reported.get("id")
    if value is None:
        return True
    return type(value) in (int, str) and 0 < len(str(value)) <= 64 and str(value).isprintable()


def good_encoder(reported: dict[str, Any]) -> bool:
    value = reported.get("encoder")
    return value is None or (type(value) is int and -(2**63) <= value < 2**63)


def good_sent(reported: dict[str, Any]) -> bool:
    value = reported.get("sent_ms")
    return value is None or (type(value) in (int, float) and 0 <= value < 1e14)


def test_options_that_are_refused() -> None:
    for topic in ("", "a/+", "#", "$share/a/b", "x" * 201):
        with pytest.raises(ValidationError):
            MqttTriggerOptions(kind="mqtt", host="127.0.0.1", topic=topic, max_age_ms=100)
    with pytest.raises(ValidationError, match="max_age_ms is required"):
        MqttTriggerOptions(kind="mqtt", host="127.0.0.1", topic="part")
