"""Connections that stay open between requests, within their bounds."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ast_edge.errors import LineError
from ast_edge.line.config.options import Secret
from ast_edge.line.web.server import WebOptions, WebServer
from tests.line.web.test_server import ALLOWED, TOKEN, Behind, ask, raw
from tests.paths import ROOT
from tests.waiting import free_port, wait_for

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[Behind]:
    monkeypatch.setenv("WEB_TOKEN", TOKEN)
    found = Behind()
    found.server = WebServer(WebOptions(port=found.port, token=Secret(env="WEB_TOKEN")), found.view())
    found.server.start()
    yield found
    found.server.close()


def answers(client: socket.socket) -> int:
    """Reads one answer whole; its status."""
    found = b""
    while b"\r\n\r\n" not in found:
        found += client.recv(1) or pytest.fail("the connection ended")
    head, _, _ = found.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if b"ontent-" in line and b"gth" in line
    )
    while length > 0:
        length -= len(client.recv(length))
    return int(head.split()[1])


def connect(behind: Behind, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", behind.port), timeout=20, source_address=(source, 0))


def test_one_connection_serves_many_requests(behind: Behind) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", behind.port, timeout=20)
    try:
        connection.connect()
        opened, started = connection.sock, time.monotonic()
        for number in range(30):
            for method, path in (("POST", "/trigger"), ("GET", "/status"), ("HEAD", "/"), ("GET", "/none")):
                body = json.dumps({"id": f"A-{number}"}) if method == "POST" else None
                connection.request(method, path, body, ALLOWED)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == (404 if path == "/none" else 200)
        assert connection.sock is opened
        assert time.monotonic() - started < 2.5, "120 requests that each wait for a delayed packet take 5 s"
    finally:
        connection.close()
    assert behind.asked == [("trigger", f"A-{number}", None, None) for number in range(30)]


@pytest.mark.slow
def test_an_idle_connection_ends(behind: Behind) -> None:
    assert behind.server is not None
    with connect(behind) as client:
        client.sendall(GET)
        assert answers(client) == 200
        started = time.monotonic()
        assert client.recv(1) == b""
        assert 3 < time.monotonic() - started < 15
    server = behind.server
    wait_for(lambda: server.connections == 0)


@pytest.mark.slow
@pytest.mark.parametrize("first", [b"", GET], ids=["first request", "second request"])
def test_a_request_that_drips_is_cut(behind: Behind, first: bytes) -> None:
    """Bytes that keep coming do not prolong the time of a request."""
    with connect(behind) as client:
        client.sendall(first)
        if first:
            assert answers(client) == 200
        started = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - started < 20:
                client.sendall(b"X")
                time.sleep(0.2)
        assert 3 < time.monotonic() - started < 15


@pytest.mark.slow
def test_an_answer_that_is_not_read_holds_no_place(behind: Behind) -> None:
    assert behind.server is not None
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        client.connect(("127.0.0.1", behind.port))
        with contextlib.suppress(OSError):
            client.settimeout(1)
            for _ in range(2000):
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        server = behind.server
        wait_for(lambda: server.connections == 0)
    assert ask(behind.port, "GET", "/healthz")[0] == 200


def test_an_endless_body_of_a_refused_request_is_not_read_for_ever(behind: Behind) -> None:
    head = (
        b"POST /trigger HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n"
        b"Content-Type: application/json\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n\r\n"
    )
    with connect(behind) as client:
        client.sendall(head)
        assert answers(client) == 413
        sent = 0
        with contextlib.suppress(OSError):
            for _ in range(200):
                sent += client.send(b"x" * 65_536)
                time.sleep(0.005)
        assert sent < 100 * 65_536
    assert behind.asked == []


@pytest.mark.parametrize("ends", ["close", "abort"])
def test_a_client_that_leaves_gives_its_place_back(behind: Behind, ends: str) -> None:
    assert behind.server is not None
    server = behind.server
    for number in range(60):
        client = connect(behind)
        client.sendall(GET[:20])
        if ends == "abort":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        if number % 20 == 19:  # no more at a time than there are places
            wait_for(lambda: server.connections == 0)
            assert ask(behind.port, "GET", "/healthz")[0] == 200
    assert server.counters["turned_away"] == 0


def test_two_addresses_deny_the_page_to_no_one(behind: Behind) -> None:
    """127.0.0.2 and 127.0.0.3 hold all places that they can get and try for more, for ever."""
    assert behind.server is not None
    stop = threading.Event()

    def hog(source: str) -> None:
        held: list[socket.socket] = []
        while not stop.wait(0.02):
            while len(held) > 60:
                held.pop(0).close()
            with contextlib.suppress(OSError):
                held.append(connect(behind, source))
                held[-1].sendall(b"GET /")
        for each in held:
            each.close()

    hogs = [threading.Thread(target=hog, args=(source,)) for source in ("127.0.0.2", "127.0.0.3")]
    for thread in hogs:
        thread.start()
    try:
        server = behind.server
        wait_for(lambda: server.counters["turned_away"] > 20)
        assert ask(behind.port, "GET", "/healthz")[0] == 200, "a program on this machine"
        with connect(behind, "127.0.0.4") as plc:
            body = b'{"id":"A"}'
            head = (
                f"POST /trigger HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
                f"Content-Type: application/json\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
            ).encode()
            for _ in range(20):
                plc.sendall(head + body)
                assert answers(plc) == 200
                time.sleep(0.05)
    finally:
        stop.set()
        for thread in hogs:
            thread.join()
    assert behind.asked == [("trigger", "A", None, None)] * 20


@pytest.mark.slow
def test_a_trigger_does_not_wait_for_a_page_that_hangs(behind: Behind) -> None:
    """Whatever asks for the status hangs; triggers are taken meanwhile, and the server stops in time."""
    release = threading.Event()
    server = WebServer(
        WebOptions(port=free_port(), token=Secret(env="WEB_TOKEN")),
        replace(behind.view(), metrics=lambda: b"%d" % release.wait(60)),
    )
    server.start()
    try:
        seen: list[int] = []
        port = server.options.port
        asking = [
            threading.Thread(target=lambda: seen.append(ask(port, "GET", "/metrics")[0])) for _ in range(10)
        ]
        for thread in asking:
            thread.start()
        wait_for(lambda: server.connections == 10)
        started = time.monotonic()
        assert ask(port, "POST", "/trigger", {}, ALLOWED)[0] == 200
        assert time.monotonic() - started < 2
        for thread in asking:
            thread.join()
        assert seen == [503] * 10
        started = time.monotonic()
        server.close()
        assert time.monotonic() - started < 12
    finally:
        release.set()
        server.close()


def test_it_listens_on_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    behind = Behind()
    server = WebServer(WebOptions(host="::1", port=behind.port), behind.view())
    server.start()
    try:
        connection = http.client.HTTPConnection("::1", behind.port, timeout=20)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
        with pytest.raises(LineError, match=r"cannot listen on ::1"):
            WebServer(WebOptions(host="::1", port=behind.port), behind.view()).start()
    finally:
        server.close()


def test_every_answer_carries_the_policy(behind: Behind) -> None:
    for path in ("/", "/status", "/nowhere", "/metrics"):
        answer = raw(behind.port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()).lower()
        head = answer.partition(b"\r\n\r\n")[0]
        assert head.count(b"content-security-policy: default-src 'none'") == 1
        assert b"x-content-type-options: nosniff" in head
        assert b"cache-control: no-store" in head
        assert b"uvicorn" not in answer


@pytest.mark.slow
def test_a_client_prints_nothing(tmp_path: object) -> None:
    """Malformed requests fill no log."""
    script = """
import socket, sys, time
from ast_edge.line.web.server import WebOptions, WebServer
from tests.line.web.test_server import Behind, raw
behind = Behind()
server = WebServer(WebOptions(port=behind.port), behind.view())
server.start()
upgrade = b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n"
for data in (b"\\r\\n\\r\\n", b"GET / HTTP/1.1\\r\\n\\r\\n", b"\\x16\\x03\\x01", upgrade):
    raw(behind.port, data)
behind.broken = True
raw(behind.port, b"GET /status HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
server.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_without_the_packages_there_is_one_sentence() -> None:
    script = """
import sys
sys.modules["uvicorn"] = None
import ast_edge.line.service.config
assert not {"starlette", "h11"} & set(sys.modules)
from ast_edge.line.web.server import WebOptions, WebServer
from tests.line.web.test_server import Behind
try:
    WebServer(WebOptions(port=8080), Behind().view()).start()
except Exception as exc:
    print(f"{type(exc).__name__}: {exc}")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )
    assert done.stdout.startswith("LineError: web: the page needs starlette and uvicorn"), done.stderr
    assert done.stdout.strip().endswith('run: `pip install ".[line]"` in the folder of ast-edge')
