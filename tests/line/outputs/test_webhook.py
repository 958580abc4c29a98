"""Results to a web server that is absent, dies, is slow, refuses or speaks no HTTP."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ast_edge.errors import LineError
from ast_edge.line.outputs.webhook import WebhookOptions
from tests.line.brokers import raw_server
from tests.line.certificates import Authority
from tests.line.outputs.webhooks import make, waiting, webhook
from tests.line.parts import StillStation, part_result
from tests.line.web.client import Posted, web
from tests.waiting import free_port, wait_for


def test_rejects_and_faults_are_posted_in_their_order(tmp_path: Path) -> None:
    spool = tmp_path / "deep" / "spool"
    with web() as server, webhook(server.port, spool) as output:
        wait_for(lambda: output.status.connected)
        for number in range(1, 61):
            output.put(part_result(number, ("pass", "reject", "fault")[number % 3]))
        wait_for(lambda: output.status.delivered == 40)
        assert (output.status.undelivered, output.status.queued, output.status.last_error) == (0, 0, "")
        wait_for(lambda: not waiting(spool))
    assert server.numbers == [number for number in range(1, 61) if number % 3]
    first = server.posted[0]
    assert first.path == "/parts"
    assert first.reported == {**part_result(1, "reject").as_dict(), "time": first.reported["time"]}
    assert first.headers["Idempotency-Key"] == "run-0000001"
    assert first.headers["Content-Type"] == "application/json"
    assert first.headers["Host"] == f"127.0.0.1:{server.port}"
    assert "Authorization" not in first.headers


def test_the_verdicts_and_the_address_are_options(tmp_path: Path) -> None:
    with web() as server:
        url = f"http://localhost:{server.port}?key=a%20b&c"
        with webhook(0, tmp_path, url=url, verdicts=("pass",)) as output:
            output.put(part_result(1, "pass"))
            output.put(part_result(2, "reject"))
            wait_for(lambda: output.status.delivered == 1)
    assert [each.path for each in server.posted] == ["/?key=a%20b&c"]
    assert server.numbers == [1]


def test_https_with_a_token_and_an_authority_of_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path / "ca")
    monkeypatch.setenv("WEB_TOKEN", "abc.def-123")
    with web(pair=authority.sign("server")) as server:
        url = f"https://localhost:{server.port}/parts"
        own: dict[str, Any] = {"url": url, "token": {"env": "WEB_TOKEN"}}
        with webhook(0, tmp_path / "a", tls={"ca": authority.certificate}, **own) as output:
            output.put(part_result(1, "reject"))
            wait_for(lambda: output.status.delivered == 1)
        assert server.posted[0].headers["Authorization"] == "Bearer abc.def-123"
        with webhook(0, tmp_path / "b", 0.1, **own) as output:
            output.put(part_result(2, "reject"))
            wait_for(lambda: "certificate verify failed" in output.status.last_error)
            assert output.status.queued == 1
            assert "abc" not in output.status.last_error
    assert server.numbers == [1]


@pytest.mark.parametrize("code", [500, 503, 408, 429])
def test_an_answer_that_may_change_is_waited_for_and_no_result_overtakes(tmp_path: Path, code: int) -> None:
    refused = 3

    def answer(posted: Posted) -> int:
        nonlocal refused
        refused -= posted.number == 2
        return code if posted.number == 2 and refused >= 0 else 200

    with web() as server:
        server.answer = answer
        with webhook(server.port, tmp_path) as output:
            for number in range(1, 5):
                output.put(part_result(number, "reject"))
            wait_for(lambda: str(code) in output.status.last_error)
            wait_for(lambda: output.status.delivered == 4)
            assert output.status.undelivered == 0
            assert output.status.connected
    assert server.numbers == [1, 2, 2, 2, 2, 3, 4]
    assert len({each.headers["Idempotency-Key"] for each in server.posted[1:5]}) == 1


@pytest.mark.parametrize("code", [301, 307, 304, 401, 403, 404, 410])
def test_an_answer_that_a_person_must_mend_loses_nothing(tmp_path: Path, code: int) -> None:
    """A token that expired, a path that moved: everything waits, in order, over a restart too."""
    reported: list[dict[str, object]] = []
    answers = {"now": code}
    with web() as server:
        server.answer = lambda _: answers["now"]
        with webhook(server.port, tmp_path, 0.1) as output:
            output.report = lambda _, details: reported.append(dict(details))
            for number in range(1, 21):
                output.put(part_result(number, "fault"))
            wait_for(lambda: f"answers {code}" in output.status.last_error)
            wait_for(lambda: not output.status.connected and output.status.queued == 20)
            assert (output.status.delivered, output.status.undelivered) == (0, 0)
            assert f"answers {code}" in output.warnings[0]
        assert len(waiting(tmp_path)) == 20
        assert set(server.numbers) == {1}
        assert any(details.get("warning") == "refused" for details in reported)
        with webhook(server.port, tmp_path) as output:
            output.put(part_result(21, "fault"))
            wait_for(lambda: f"answers {code}" in output.status.last_error)
            answers["now"] = 204
            wait_for(lambda: output.status.delivered == 21)
            wait_for(lambda: not output.warnings)
            assert output.status.connected
    assert {each.path for each in server.posted} == {"/parts"}
    assert list(dict.fromkeys(server.numbers)) == list(range(1, 22))


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_part_that_the_server_cannot_read_lets_the_others_go_before_it(tmp_path: Path, code: int) -> None:
    mended: list[bool] = []
    with web() as server:
        server.answer = lambda posted: code if posted.number in {2, 4} and not mended else 200
        with webhook(server.port, tmp_path) as output:
            for number in range(1, 7):
                output.put(part_result(number, "fault"))
            wait_for(lambda: output.status.delivered == 4)
            wait_for(lambda: output.spool.counts.aside == 2)
            wait_for(lambda: server.numbers.count(2) > 2 and server.numbers.count(4) > 2)
            assert output.status.connected
            assert str(code) in output.warnings[0]
            output.put(part_result(7, "fault"))
            wait_for(lambda: output.status.delivered == 5)
            assert output.status.undelivered == 0
            mended.append(True)
            wait_for(lambda: output.status.delivered == 7)
            wait_for(lambda: not output.warnings)
    taken = [number for number in server.numbers if number not in {2, 4}]
    assert taken == [1, 3, 5, 6, 7]


@pytest.mark.slow
def test_what_is_too_old_is_given_up_and_said(tmp_path: Path) -> None:
    with web() as server:
        server.answer = lambda _: 401
        with webhook(server.port, tmp_path, 0.1, keep_days=2 / 86_400) as output:
            output.put(part_result(1, "fault"))
            wait_for(lambda: output.status.undelivered == 1)
            wait_for(lambda: any("given up" in words for words in output.warnings))
            assert not waiting(tmp_path)
    assert set(server.numbers) == {1}


def test_a_server_that_comes_late_dies_and_comes_back(tmp_path: Path) -> None:
    port = free_port()
    connected: list[object] = []
    with webhook(port, tmp_path) as output:
        output.report = lambda _, details: connected.append(details.get("connected"))
        heard: list[object] = []
        for first in (1, 21, 41):
            for number in range(first, first + 20):
                output.put(part_result(number, "reject"))
            wait_for(lambda: output.status.last_error)
            wait_for(lambda: output.status.queued == 20)
            assert not output.status.connected
            with web(port) as server:
                wait_for(lambda: output.status.queued == 0)
                assert output.status.last_error == ""
            heard += server.numbers
            # That an idle server is gone shows only with the next part.
        assert output.status.delivered == 60
    assert heard == list(range(1, 61))
    changes = [each for each in connected if each is not None]
    assert changes[changes.index(True) :][:2] == [True, False]


def serve_slowly(client: socket.socket) -> None:
    """An answer whose head never ends, a byte at a time, each sooner than any single wait."""
    client.recv(10_000)
    client.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    with contextlib.suppress(OSError):
        while True:
            client.sendall(b"x")
            time.sleep(0.02)


def serve_endlessly(client: socket.socket) -> None:
    client.recv(10_000)
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    with contextlib.suppress(OSError):
        while True:
            client.sendall(b"X-More: " + b"x" * 1000 + b"\r\n")


def serve_a_large_head(client: socket.socket) -> None:
    client.recv(10_000)
    client.sendall(b"HTTP/1.1 200 OK\r\n" + (b"X-More: " + b"x" * 1000 + b"\r\n") * 90 + b"\r\n")


def serve_rubbish(client: socket.socket) -> None:
    client.recv(10_000)
    client.sendall(b"\x00\xff\x16\x03\x01 220 mail.example ESMTP\r\n\r\n" * 20)


def serve_nothing(client: socket.socket) -> None:
    client.settimeout(30)
    while client.recv(10_000):
        pass


def serve_reset(client: socket.socket) -> None:
    client.recv(100)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def serve_for_ever_soon(client: socket.socket) -> None:
    client.recv(10_000)
    with contextlib.suppress(OSError):
        while True:
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


BAD = {
    "slow": serve_slowly,
    "endless": serve_endlessly,
    "large head": serve_a_large_head,
    "rubbish": serve_rubbish,
    "silent": serve_nothing,
    "reset": serve_reset,
    "always soon": serve_for_ever_soon,
}


@pytest.mark.parametrize("serve", BAD.values(), ids=BAD.keys())
def test_a_server_that_speaks_no_http_loses_nothing_and_delays_no_other(tmp_path: Path, serve: Any) -> None:
    with web() as server, raw_server(serve) as port:
        with (
            webhook(port, tmp_path / "bad", 0.1, timeout_s=0.3, name="bad") as bad,
            webhook(server.port, tmp_path / "good") as good,
        ):
            for number in range(1, 21):
                bad.put(part_result(number, "reject"))
                good.put(part_result(number, "reject"))
            wait_for(lambda: good.status.delivered == 20)
            wait_for(lambda: bad.status.last_error)
            wait_for(lambda: len(waiting(tmp_path / "bad")) == 20)
            assert (bad.status.delivered, bad.status.undelivered, bad.status.queued) == (0, 0, 20)
            assert f"http://127.0.0.1:{port}: " in bad.status.last_error
            assert "parts" not in bad.status.last_error.replace("the part", "")
        # What could not be sent is there after the next start.
        with webhook(server.port, tmp_path / "bad") as after:
            wait_for(lambda: after.status.delivered == 20)
    assert server.numbers == [*range(1, 21), *range(1, 21)]


def test_an_endless_body_is_not_waited_for(tmp_path: Path) -> None:
    def serve(client: socket.socket) -> None:
        client.recv(10_000)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 1000)

    with raw_server(serve) as port, webhook(port, tmp_path) as output:
        for number in range(1, 4):
            output.put(part_result(number, "reject"))
        wait_for(lambda: output.status.delivered == 3)


def test_closing_does_not_wait_for_a_server_that_is_silent(tmp_path: Path) -> None:
    with raw_server(serve_nothing) as port:
        output = make(port, tmp_path, timeout_s=60.0)
        output.start(StillStation())
        output.put(part_result(1, "reject"))
        wait_for(lambda: waiting(tmp_path))
        started = time.monotonic()
        output.close(0.2)
        assert time.monotonic() - started < 20
        assert (output.status.queued, output.status.undelivered) == (1, 0)
        output.put(part_result(2, "reject"))
        assert output.status.undelivered == 1


@pytest.mark.parametrize(
    "options",
    [
        {"url": "ftp://h/"},
        {"url": "http:///x"},
        {"url": "http://h:0/"},
        {"url": "http://h:99999/"},
        {"url": "http://user:secret@h/"},
        {"url": "http://user@h/"},
        {"url": "http://h/a b"},
        {"url": "http://h/\r\nX: 1"},
        {"url": "http://h/#x"},
        {"tls": {}},
        {"verdicts": []},
        {"verdicts": ["good"]},
        {"timeout_s": 0},
        {"spool_entries": 0},
        {"method": "PUT"},
    ],
)
def test_options_that_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WebhookOptions(**{"kind": "webhook", "url": "http://h/", "spool": Path("s"), **options})


def test_a_token_that_no_header_can_carry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_TOKEN", "hush\r\nX-Evil: 1")
    with pytest.raises(LineError, match="no HTTP header") as caught:
        make(80, tmp_path, token={"env": "WEB_TOKEN"})
    assert "hush" not in str(caught.value)


def test_the_options_read_as_toml_and_json_do() -> None:
    reported = json.loads(
        '{"kind": "webhook", "url": "https://h/p", "spool": "s", "verdicts": ["pass"], "tls": {}}'
    )
    assert WebhookOptions(**reported).verdicts == ("pass",)
