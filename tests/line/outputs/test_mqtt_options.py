"""Options of the MQTT output, and files that it cannot use."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import ValidationError

from ast_edge.errors import LineError
from ast_edge.line.links.mqtt import Broker
from ast_edge.line.links.tls import TlsOptions
from ast_edge.line.outputs.mqtt import MqttOutput, MqttOutputOptions
from tests.line.certificates import Authority

Broken = Literal["password", "certificate", "ca", "key_password"]


@pytest.mark.parametrize("broken", ["password", "certificate", "ca", "key_password"])
def test_what_cannot_be_used_is_said_when_the_output_is_made(tmp_path: Path, broken: Broken) -> None:
    pair = Authority(tmp_path).sign("station", password="secret of the key")  # noqa: S106
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_bytes(b"\x00rubbish\xff")
    given: dict[Broken, dict[str, Any]] = {
        "password": {"username": "u", "password": {"env": "AST_EDGE_NOT_SET"}},
        "certificate": {"tls": {"certificate": rubbish, "key": pair.key}},
        "ca": {"tls": {"ca": rubbish}},
        "key_password": {"tls": {"certificate": pair.certificate, "key": pair.key}},
    }
    options = MqttOutputOptions(kind="mqtt", host="127.0.0.1", **given[broken])
    with pytest.raises(LineError, match=r"^output mqtt: ") as caught:
        MqttOutput(options)
    assert "secret" not in str(caught.value).replace("put the secret there", "")


@pytest.mark.parametrize(
    "options",
    [
        {"host": "a b"},
        {"host": "h", "port": 0},
        {"host": "h", "topic": "a/#"},
        {"host": "h", "topic": "$SYS/x"},
        {"host": "h", "topic": ""},
        {"host": "h", "password": {"env": "X"}},
        {"host": "h", "tls": {"certificate": "c.pem"}},
        {"host": "h", "tls": {"key_password": {"env": "X"}}},
        {"host": "h", "protocol": "4"},
        {"host": "h", "room": 0},
        {"host": "h", "qos": 1},
    ],
)
def test_options_that_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MqttOutputOptions(**{"kind": "mqtt", **options})


def test_the_port_follows_from_tls() -> None:
    plain = MqttOutputOptions(kind="mqtt", host="127.0.0.1")
    assert Broker(plain, "it").where == "it 127.0.0.1:1883"
    assert Broker(plain.model_copy(update={"tls": TlsOptions()}), "it").where == "it 127.0.0.1:8883"
