"""Camera URIs: parsing, and secrets that are never shown."""

from __future__ import annotations

import contextlib
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.cameras.uri import finite, parse_uri, secrets_in
from ast_edge.errors import UsageError

WORD = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=6, max_size=12)


@given(st.one_of(st.text(), st.from_regex(r"(gst|rtsp|gige|dir)://.{0,60}", fullmatch=True)))
def test_rubbish_is_refused_in_one_way(text: str) -> None:
    with contextlib.suppress(UsageError):
        uri = parse_uri(text)
        assert uri.scheme


@given(user=WORD, secret=WORD.map(lambda word: f"pw{word}"), encoded=st.booleans())
def test_no_account_is_shown(user: str, secret: str, encoded: bool) -> None:
    pipelines = (
        f"rtspsrc location=rtsp://{user}:{secret}@camera/path ! decodebin",
        f"rtspsrc location=rtsp://camera/path user-id={user} user-pw={secret} ! decodebin",
        f'rtspsrc location=rtsp://camera/path user-pw="{secret} {secret}" ! decodebin',
    )
    texts = [f"gst:///{quote(text) if encoded else text}" for text in pipelines]
    for text in (*texts, f"rtsp://{user}:{secret}@camera/path", f"rtsp://{user}:{quote(secret)}@camera"):
        uri = parse_uri(text)
        assert secret not in uri.public
        assert secret not in repr(uri)
    for wrong in (
        f"rtsp:/{user}:{secret}@camera",
        f"rtsp://{user}:{secret}@[camera",
        f"{user}:{secret}@camera",
    ):
        with pytest.raises(UsageError) as caught:
            parse_uri(wrong)
        assert secret not in str(caught.value)


def test_accounts_are_found() -> None:
    assert secrets_in("rtspsrc location=rtsp://ann:s3@cam/x user-pw=s4 ! fakesink") == ["ann:s3", "s3", "s4"]
    assert secrets_in("videotestsrc ! video/x-raw,width=64") == []


def test_what_would_be_left_out_is_refused() -> None:
    with pytest.raises(UsageError, match="write %23"):
        parse_uri("dir:///parts#2")
    assert parse_uri("dir:///parts%232").place == "/parts#2"


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "x"])
def test_numbers_are_numbers(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a number|could not convert"):
        finite(text)
    assert finite("-3.5") == -3.5
