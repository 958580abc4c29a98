"""Results to a web server that is absent, dies, is slow, refuses or speaks no HTTP; and the spool on disk."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ast_edge.errors import LineError
from ast_edge.line.outputs.webhook import WebhookOptions, WebhookOutput
from tests.line.brokers import raw_server
from tests.line.certificates import Authority
from tests.line.parts import StillStation, part_result
from tests.line.web.client import Posted, web
from tests.waiting import free_port, wait_for


def make(port: int, spool: Path, **options: Any) -> WebhookOutput:
    given = {"kind": "webhook", "url": f"http://127.0.0.1:{port}/parts", "spool": spool, "retry_s": 0.05}
    return WebhookOutput(WebhookOptions(**{**given, **options}))


@contextmanager
def webhook(port: int, spool: Path, close_s: float = 20.0, **options: Any) -> Iterator[WebhookOutput]:
    """An output that runs while the block does, and ends with it."""
    output = make(port, spool, **options)
    output.start(StillStation())
    try:
        yield output
    finally:
        output.close(close_s)
        output.close(close_s)
        names = {thread.name for thread in threading.enumerate()}
        assert not names & {f"ast-edge-{output.name}-{what}" for what in ("spool", "post")}


def waiting(spool: Path) -> list[str]:
    return sorted(path.name for path in spool.glob("*.json"))


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
            # Nobody sees that an idle server went; the next part does.
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


STATION = """
    import sys, time
    from pathlib import Path
    from ast_edge.line.outputs.webhook import WebhookOptions, WebhookOutput
    from tests.line.parts import StillStation, part_result
    options = WebhookOptions(
        kind="webhook", url="http://127.0.0.1:{port}/", spool=Path({spool!r}), retry_s=0.05
    )
    output = WebhookOutput(options)
    output.start(StillStation())
    for number in range({first}, {first} + 40):
        output.put(part_result(number, "reject"))
        time.sleep(0.005)
    time.sleep(600)
"""


def test_after_kill_9_everything_in_the_spool_arrives(tmp_path: Path) -> None:
    """Killed three times: without a server, and twice while parts are put and sent."""
    port, heard, kept = free_port(), [], set[str]()

    def die(first: int, when: Any) -> None:
        script = textwrap.dedent(STATION.format(port=port, spool=str(tmp_path), first=first))
        with subprocess.Popen([sys.executable, "-c", script]) as process:
            wait_for(when)
            process.send_signal(signal.SIGKILL)
        kept.update(name[13:-5] for name in waiting(tmp_path))

    die(1, lambda: len(waiting(tmp_path)) == 40)
    with web(port) as server:
        die(41, lambda: any(number == 50 for number in server.numbers))
        die(81, lambda: any(number == 85 for number in server.numbers))
        with webhook(port, tmp_path) as output:
            wait_for(lambda: output.status.queued == 0)
        heard = [str(each.reported["part_id"]) for each in server.posted]
        keys = [each.headers["Idempotency-Key"] for each in server.posted]
    assert heard == keys
    assert kept >= {f"run-{number:07d}" for number in range(1, 41)}
    assert kept <= set(heard)
    # Each kill may repeat the one part whose answer was on its way.
    assert len(heard) - len(set(heard)) <= 2
    assert list(dict.fromkeys(heard)) == sorted(set(heard))
    assert not waiting(tmp_path)


def test_the_oldest_are_given_up_when_the_spool_is_full(tmp_path: Path) -> None:
    with webhook(free_port(), tmp_path, 0.1, spool_entries=10) as output:
        for number in range(1, 31):
            output.put(part_result(number, "reject"))
        wait_for(lambda: (output.status.undelivered, output.status.queued) == (20, 10))
    with web() as server, webhook(server.port, tmp_path, spool_bytes=3 * 4096) as output:
        wait_for(lambda: output.status.delivered == 3)
        assert output.status.undelivered == 7
    assert server.numbers == [28, 29, 30]


def test_a_folder_that_cannot_be_used_does_not_stop_the_line(tmp_path: Path) -> None:
    reported: list[object] = []
    spool = tmp_path / "spool"
    spool.write_text("a file stands where the folder should be")
    port = free_port()
    with webhook(port, spool) as output:
        output.report = lambda _, details: reported.append(details.get("spool"))
        for number in range(1, 1202):
            output.put(part_result(number, "reject"))
            if number == 100:
                wait_for(lambda: output.spool.counts.in_memory == 100)
        # A thousand in memory, at most a thousand in front of it.
        wait_for(lambda: (output.status.undelivered, output.status.queued) == (201, 1000))
        assert "cannot be used" in output.status.last_error
        spool.unlink()
        time.sleep(1.1)
        output.put(part_result(5000, "reject"))
        wait_for(lambda: waiting(spool) == ["000000000001-run-0005000.json"])
        with web(port) as server:
            wait_for(lambda: output.status.queued == 0)
    assert server.numbers == [*range(202, 1202), 5000]
    assert [each for each in reported if each is not None][-1] == "in use"


def test_a_full_disk_does_not_stop_the_line(tmp_path: Path) -> None:
    """The limit on the size of files stands for the full disk: writing raises OSError."""
    script = """
        import resource, sys, time
        from pathlib import Path
        from ast_edge.line.outputs.webhook import WebhookOptions, WebhookOutput
        from tests.line.parts import StillStation, part_result
        from tests.waiting import wait_for
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        options = WebhookOptions(kind="webhook", url="http://127.0.0.1:{port}/", spool=Path({spool!r}))
        output = WebhookOutput(options)
        output.start(StillStation())
        for number in range(1, 21):
            output.put(part_result(number, "reject"))
        wait_for(lambda: output.status.delivered == 20)
        assert "takes nothing" in output.status.last_error, output.status
        output.close(5)
        assert output.status.undelivered == 0
    """
    with web() as server:
        code = textwrap.dedent(script.format(port=server.port, spool=str(tmp_path)))
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)
    assert server.numbers == list(range(1, 21))
    assert not list(tmp_path.glob("*.tmp"))


def test_what_is_only_in_memory_at_the_end_is_undelivered(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    with webhook(free_port(), tmp_path / "spool", 0.1) as output:
        for number in range(1, 6):
            output.put(part_result(number, "reject"))
        wait_for(lambda: output.spool.counts.in_memory == 5)
    assert (output.status.undelivered, output.status.queued) == (5, 0)


def test_parts_before_the_start_wait_and_are_bounded(tmp_path: Path) -> None:
    output = make(free_port(), tmp_path)
    for number in range(1, 1101):
        output.put(part_result(number, "reject"))
    assert (output.status.queued, output.status.undelivered) == (1000, 100)
    output.close(0.1)
    assert (output.status.queued, output.status.undelivered) == (0, 1100)


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
