"""Requests that change something: complete and valid, or refused with the reason."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import threading
import time
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from ast_edge.errors import UsageError
from ast_edge.line.config.options import Secret
from ast_edge.line.web.bodies import (
    MOST_BODY,
    OperatorBody,
    RecipeBody,
    RefusedError,
    TriggerBody,
    encode,
    parse,
    read_body,
)
from ast_edge.line.web.server import WebOptions, WebServer
from ast_edge.line.web.view import WebView
from tests.waiting import free_port

TOKEN = "correct horse battery"  # noqa: S105 (of a server that lives for a test)
HEAD = (
    "POST /trigger HTTP/1.1\r\nHost: localhost\r\n"
    f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
).encode()


class Line:
    """A server and the triggers that got through it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.triggers: list[tuple[str | None, int | None]] = []

    def trigger(
        self, external_id: str | None, encoder: int | None, _sent_ms: float | None
    ) -> Mapping[str, object]:
        self.triggers.append((external_id, encoder))
        return {}

    def status(self) -> Mapping[str, object]:
        return {"score": math.nan, "parts": [{"latency_ms": math.inf}]}

    def view(self) -> WebView:
        def nothing(*_: str) -> Mapping[str, object]:
            return {}

        return WebView(lambda: b"", self.status, tuple, tuple, self.trigger, nothing, nothing)

    def say(self, *pieces: bytes, pause_s: float = 0.0) -> bytes:
        """The answer to bytes that come in pieces."""
        found = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as client:
            for piece in pieces:
                client.sendall(piece)
                time.sleep(pause_s)
            client.shutdown(socket.SHUT_WR)
            while chunk := client.recv(4096):
                found += chunk
        return found


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    monkeypatch.setenv("WEB_TOKEN", TOKEN)
    found = Line()
    server = WebServer(WebOptions(port=found.port, token=Secret(env="WEB_TOKEN")), found.view())
    server.start()
    yield found
    server.close()


@pytest.mark.parametrize(
    ("rest", "status", "words"),
    [
        (b"Content-Length: 100\r\n\r\n{}", 400, b"truncated: 2 of 100"),
        (b"Content-Length: 2\r\nContent-Length: 50\r\n\r\n{}", 400, b"one Content-Length"),
        (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400, b"no Transfer-Encoding"),
        (b'Content-Length: 16\r\n\r\n{"encoder":true}', 400, b"encoder: "),
        (b'Content-Length: 15\r\n\r\n{"encoder":"5"}', 400, b"encoder: "),
        (b'Content-Length: 15\r\n\r\n{"encoder":5.0}', 400, b"encoder: "),
        (b'Content-Length: 25\r\n\r\n{"encoder":1,"encoder":2}', 400, b"duplicate key"),
        (b'Content-Length: 13\r\n\r\n{"id":"a\\nb"}', 400, b"id: "),
        (b"\r\n", 411, b"Content-Length is required"),
    ],
)
def test_half_or_unclear_requests_trigger_no_part(line: Line, rest: bytes, status: int, words: bytes) -> None:
    answer = line.say(HEAD + rest)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert words in answer
    assert line.triggers == []


def test_a_body_may_come_in_pieces(line: Line) -> None:
    answer = line.say(HEAD + b"Content-Length: 24\r\n\r\n", b'{"id":"A-1",', b'"encoder":7}', pause_s=0.1)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert line.triggers == [("A-1", 7)]


def test_several_requests_in_one_breath_are_answered_in_order(line: Line) -> None:
    """Each gets its answer, in their order, so that a client never takes one answer for another's."""
    one = HEAD + b'Content-Length: 10\r\n\r\n{"id":"A"}'
    answer = line.say(one + one.replace(b'"A"', b'"B"') + one.replace(b"HTTP/1.1\r\nHost", b"HTTP/1.1\r\nNo"))
    assert [piece[:3] for piece in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"421"]
    assert line.triggers == [("A", None), ("B", None)]


def test_who_is_refused_while_still_sending_hears_why(line: Line) -> None:
    head = HEAD.replace(b"application/json", b"text/plain") + b"Content-Length: 200\r\n\r\n"
    answer = line.say(head, b"x" * 100, b"x" * 100, pause_s=0.1)
    assert answer.startswith(b"HTTP/1.1 415 ")


@pytest.mark.parametrize("host", [b"Host: localhost\r\nHost: evil.example\r\n", b""])
def test_one_host_is_named(line: Line, host: bytes) -> None:
    assert line.say(b"GET /status HTTP/1.1\r\n" + host + b"\r\n").startswith(b"HTTP/1.1 421 ")


def test_the_protocol_without_headers_is_not_spoken(line: Line) -> None:
    assert line.say(b"GET /healthz\r\nHost: localhost\r\n\r\n") == b""


def test_numbers_that_are_none_do_not_break_the_page(line: Line) -> None:
    answer = line.say(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
    body = answer.partition(b"\r\n\r\n")[2]
    assert body == b'{"score": null, "parts": [{"latency_ms": null}]}\n'


def test_a_system_without_threads_is_survived(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection needs a thread of its own."""

    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for _ in range(50):
        assert line.say(request).startswith(b"HTTP/1.1 200 ")


# ---- the reader by itself --------------------------------------------------------------------------------


def head(length: str, kind: str = "application/json") -> Headers:
    return Headers(raw=[(b"content-type", kind.encode()), (b"content-length", length.encode())])


class Stream:
    """ASGI's `receive` over bytes that are there; `taken` of them were asked for."""

    def __init__(self, content: bytes) -> None:
        self.content, self.taken = content, 0

    async def receive(self) -> dict[str, object]:
        piece = self.content[self.taken : self.taken + 1024]
        self.taken += len(piece)
        return {"type": "http.request", "body": piece, "more_body": self.taken < len(self.content)}


@pytest.mark.parametrize("length", ["", "-1", "+2", "1_0", "٢", "0x2", " ", "2 2", "1.0"])
def test_what_is_no_length_is_refused(length: str) -> None:
    with pytest.raises(RefusedError) as caught:
        asyncio.run(read_body(head(length), Stream(b"{}").receive))
    assert caught.value.status == 411


@pytest.mark.parametrize("length", [str(MOST_BODY + 1), "9" * 30])
def test_what_is_too_long_is_not_read(length: str) -> None:
    stream = Stream(b"x" * (2 * MOST_BODY))
    with pytest.raises(RefusedError) as caught:
        asyncio.run(read_body(head(length), stream.receive))
    assert (caught.value.status, stream.taken) == (413, 0)


def test_a_body_is_as_long_as_its_length_says() -> None:
    stream = Stream(b"{}")
    assert asyncio.run(read_body(head("2", "Application/JSON; charset=utf-8"), stream.receive)) == b"{}"
    for content in (b"{", b"{}{}", b"x" * 3000):
        with pytest.raises(RefusedError, match="truncated"):
            asyncio.run(read_body(head("2"), Stream(content).receive))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "encoder", "name", "operator"]) | st.text(), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200))
def test_whatever_comes_is_as_agreed_or_refused(body: bytes) -> None:
    for kind in (TriggerBody, RecipeBody, OperatorBody):
        try:
            found = parse(kind, body)
        except UsageError:
            continue
        said = json.loads(body)
        assert found.model_dump(exclude_unset=True) == said  # nothing is corrected
        for name in ("id", "operator"):
            text = said.get(name)
            assert text is None or (text.isprintable() and 0 < len(text) <= 64)
        assert not isinstance(said.get("encoder"), (bool, float))


@pytest.mark.parametrize(
    "body", [b"[" * MOST_BODY, b'{"a":' * 800, b"1" * MOST_BODY, b"\xff\xfe{\x00", b"NaN"]
)
def test_deep_and_strange_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(UsageError, match=r"^[a-z]+: "):
        parse(TriggerBody, body)


@given(JSON)
def test_every_json_parser_accepts_the_answer(value: object) -> None:
    def never(name: str) -> float:
        raise AssertionError(name)

    reported = encode({"value": value})
    assert reported.endswith(b"}\n")
    json.loads(reported, parse_constant=never)
