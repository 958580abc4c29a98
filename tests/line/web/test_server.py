"""The station's page with a real client, a browser, and hostile clients."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ast_edge.errors import LineError, UsageError
from ast_edge.line.config.options import Secret
from ast_edge.line.events import EventKind
from ast_edge.line.web.server import WebOptions, WebServer
from ast_edge.line.web.view import WebView
from tests.waiting import free_port, wait_for

TOKEN = "correct horse battery"  # noqa: S105 (of a server that lives for a test)
ALLOWED = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}


@dataclass
class Behind:
    """What the page stands for, and what was asked of it."""

    port: int = field(default_factory=free_port)
    server: WebServer | None = None
    reasons: tuple[str, ...] = ()
    asked: list[tuple[object, ...]] = field(default_factory=list)
    reported: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)
    broken: bool = False

    def tell(self, kind: EventKind, details: Mapping[str, object]) -> None:
        self.reported.append((kind, details))

    def status(self) -> Mapping[str, object]:
        if self.broken:
            raise ZeroDivisionError("bug")
        parts = [{"part_id": "run-1", "verdict": "pass", "score": 0.25, "latency_ms": 3.5, "reason": ""}]
        return {
            "station": "bench",
            "run": "r",
            "ready": not self.reasons,
            "not_ready": list(self.reasons),
            "verdicts": {"pass": 41, "reject": 7},
            "triggers": 48,
            "recipe": "cap",
            "threshold": 0.5,
            "warnings": [],
            "last_parts": parts,
            "counterparts": [{"name": "plc", "connected": True, "detail": ""}],
        }

    def view(self) -> WebView:
        def why_not() -> tuple[str, ...]:
            return self.reasons

        def trigger(
            external_id: str | None, encoder: int | None, sent_ms: float | None
        ) -> Mapping[str, object]:
            self.asked.append(("trigger", external_id, encoder, sent_ms))
            return {"number": 1}

        def recipe(name: str, operator: str) -> Mapping[str, object]:
            if name == "unknown":
                raise UsageError("recipe 'unknown': there is none.")
            self.asked.append(("recipe", name, operator))
            return {}

        def rollback(operator: str) -> Mapping[str, object]:
            raise LineError(f"there is no recipe before, {operator}")

        return WebView(
            lambda: b"# metrics\n", self.status, why_not, why_not, trigger, recipe, rollback, self.tell
        )


@pytest.fixture
def behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[Behind]:
    monkeypatch.setenv("WEB_TOKEN", TOKEN)
    found = Behind()
    options = WebOptions(port=found.port, token=Secret(env="WEB_TOKEN"), hosts=("station.local",))
    server = found.server = WebServer(options, found.view())
    before = threading.active_count()
    server.start()
    yield found
    server.close()
    server.close()
    assert threading.active_count() == before


def ask(
    port: int, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        data = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        connection.request(method, path, data, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def raw(port: int, data: bytes, *, wait_s: float = 20.0) -> bytes:
    """Send bytes, read until the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as client:
        found = b""
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while chunk := client.recv(4096):
                found += chunk
        except ConnectionError:
            pass  # it was cut off, as it may be
        return found


def test_what_machines_read(behind: Behind) -> None:
    assert ask(behind.port, "GET", "/metrics") == (200, "# metrics\n")
    assert json.loads(ask(behind.port, "GET", "/status")[1])["triggers"] == 48
    assert ask(behind.port, "GET", "/healthz")[0] == ask(behind.port, "GET", "/readyz")[0] == 200
    behind.reasons = ("the camera is lost",)
    for path in ("/healthz", "/readyz"):
        status, text = ask(behind.port, "GET", path)
        assert (status, json.loads(text)["reasons"]) == (503, ["the camera is lost"])
    assert ask(behind.port, "GET", "/etc/passwd")[0] == 404
    assert ask(behind.port, "HEAD", "/")[0] == 200
    assert ask(behind.port, "DELETE", "/")[0] == 501


def test_who_has_the_token_may_change_something(behind: Behind) -> None:
    assert (
        ask(behind.port, "POST", "/trigger", {"id": "SN-1", "encoder": -5, "sent_ms": 1.5e12}, ALLOWED)[0]
        == 200
    )
    assert ask(behind.port, "POST", "/trigger", {}, ALLOWED)[0] == 200
    assert ask(behind.port, "POST", "/recipe", {"name": "cap", "operator": "Ann"}, ALLOWED)[0] == 200
    assert behind.asked == [
        ("trigger", "SN-1", -5, 1.5e12),
        ("trigger", None, None, None),
        ("recipe", "cap", "Ann"),
    ]
    assert ask(behind.port, "POST", "/rollback", {"operator": "Ann"}, ALLOWED) == (
        409,
        '{"error": "there is no recipe before, Ann"}\n',
    )
    assert ask(behind.port, "POST", "/recipe", {"name": "unknown", "operator": "A"}, ALLOWED)[0] == 400


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/trigger", {}, {"Content-Type": "application/json"}, 401),
        ("/trigger", {}, {**ALLOWED, "Authorization": "Bearer wrong"}, 401),
        ("/trigger", {}, {**ALLOWED, "Authorization": f"Basic {TOKEN}"}, 401),
        ("/trigger", {}, {**ALLOWED, "Content-Type": "text/plain"}, 415),
        ("/trigger", {}, {**ALLOWED, "Host": "evil.example"}, 421),
        ("/trigger", "x" * 5000, ALLOWED, 413),
        ("/trigger", "{", ALLOWED, 400),
        ("/trigger", "[" * 4000, ALLOWED, 400),
        ("/trigger", {"id": "x" * 65}, ALLOWED, 400),
        ("/trigger", {"id": "x", "speed": 1}, ALLOWED, 400),
        ("/trigger", {"encoder": 2**70}, ALLOWED, 400),
        ("/recipe", {"name": "../../etc", "operator": "A"}, ALLOWED, 400),
        ("/recipe", {"name": "cap"}, ALLOWED, 400),
        ("/stop", {}, ALLOWED, 400),
    ],
)
def test_everybody_else_changes_nothing(
    behind: Behind, path: str, body: object, headers: Mapping[str, str], status: int
) -> None:
    found, text = ask(behind.port, "POST", path, body, headers)
    assert found == status, text
    assert "error" in json.loads(text)
    assert behind.asked == []


def test_without_a_token_in_the_configuration_nothing_can_be_changed() -> None:
    behind = Behind()
    server = WebServer(WebOptions(port=behind.port), behind.view())
    server.start()
    try:
        status, text = ask(behind.port, "POST", "/trigger", {}, ALLOWED)
        assert (status, behind.asked) == (403, [])
        assert "web.token" in text
    finally:
        server.close()


def test_names_of_other_hosts_are_refused(behind: Behind) -> None:
    assert ask(behind.port, "GET", "/status", headers={"Host": "evil.example"})[0] == 421
    assert ask(behind.port, "GET", "/status", headers={"Host": f"station.local:{behind.port}"})[0] == 200
    assert ask(behind.port, "GET", "/status", headers={"Host": "localhost"})[0] == 200
    assert raw(behind.port, b"GET /status HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 421")


def test_a_port_that_is_taken_and_a_token_that_is_not_there(behind: Behind) -> None:
    with pytest.raises(LineError, match=r"cannot listen on 127\.0\.0\.1"):
        WebServer(WebOptions(port=behind.port), behind.view()).start()
    options = WebOptions(port=free_port(), token=Secret(env="NO_SUCH_TOKEN"))
    with pytest.raises(LineError, match="NO_SUCH_TOKEN is empty or not set"):
        WebServer(options, behind.view()).start()


def test_a_token_that_can_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_TOKEN", "swordfish")
    options = WebOptions(port=free_port(), token=Secret(env="WEB_TOKEN"))
    with pytest.raises(LineError, match="at least 16 characters, found 9") as caught:
        WebServer(options, Behind().view()).start()
    assert "swordfish" not in str(caught.value)


def test_wrong_tokens_are_counted_and_reported_and_delay_no_other_client(behind: Behind) -> None:
    assert behind.server is not None
    wrong = {**ALLOWED, "Authorization": "Bearer wrong"}
    seen: list[int] = []
    guessing = [
        threading.Thread(target=lambda: seen.append(ask(behind.port, "POST", "/trigger", {}, wrong)[0]))
        for _ in range(12)
    ]
    for thread in guessing:
        thread.start()
    wait_for(lambda: 429 in seen)
    assert 401 not in seen, "a wrong token is answered later than a right one"
    assert ask(behind.port, "POST", "/trigger", {"id": "in between"}, ALLOWED)[0] == 200
    for thread in guessing:
        thread.join()
    assert set(seen) == {401, 429}
    assert behind.asked == [("trigger", "in between", None, None)]
    assert behind.server.counters["wrong_tokens"] == 12
    assert [details["times"] for _, details in behind.reported] == [1, 2, 4, 8]
    assert TOKEN not in str(behind.reported)


def test_one_address_does_not_keep_the_others_out(behind: Behind) -> None:
    """All that 127.0.0.2 may have, and more; 127.0.0.1 is answered at once."""
    assert behind.server is not None
    clients = [
        socket.create_connection(("127.0.0.1", behind.port), timeout=20, source_address=("127.0.0.2", 0))
        for _ in range(40)
    ]
    try:
        server = behind.server
        wait_for(lambda: server.counters["turned_away"] == 24)
        assert ask(behind.port, "GET", "/healthz")[0] == 200
    finally:
        for client in clients:
            client.close()


def test_an_error_of_the_station_is_reported_and_answered(behind: Behind) -> None:
    behind.broken = True
    assert ask(behind.port, "GET", "/status") == (500, '{"error": "Internal Server Error"}\n')
    # It is answered first.
    wait_for(lambda: behind.reported == [("failure", {"where": "web", "error": "ZeroDivisionError: bug"})])
    assert ask(behind.port, "GET", "/healthz")[0] == 200


def test_a_page_open_to_the_network_is_reported_once() -> None:
    behind = Behind()
    server = WebServer(WebOptions(host="0.0.0.0", port=behind.port), behind.view())  # noqa: S104
    server.start()
    try:
        assert ask(behind.port, "GET", "/status")[0] == 200
        assert ask(behind.port, "GET", "/status", headers={"Host": "evil.example"})[0] == 421
        assert ask(behind.port, "GET", "/status", headers={"Host": "192.0.2.7:8080"})[0] == 200
    finally:
        server.close()
    ((kind, details),) = behind.reported
    assert kind == "start"
    assert details["web"] == f"0.0.0.0:{behind.port}"


def test_closing_ends_connections_that_are_open(behind: Behind) -> None:
    assert behind.server is not None
    with socket.create_connection(("127.0.0.1", behind.port), timeout=20) as client:
        client.sendall(b"GET / HTT")
        server = behind.server
        wait_for(lambda: server.connections == 1)
        behind.server.close()
        assert client.recv(100) == b""


@pytest.mark.slow
def test_slow_clients_keep_no_other_out_for_long(behind: Behind) -> None:
    """More connections than there is room for, each of which sends a byte now and then, for ever."""
    clients = [socket.create_connection(("127.0.0.1", behind.port), timeout=30) for _ in range(30)]
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.5):
            for client in clients:
                with contextlib.suppress(OSError):
                    client.send(b"G")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        end = time.monotonic() + 40
        while True:
            try:
                if ask(behind.port, "GET", "/healthz")[0] == 200:
                    break
            except (OSError, http.client.HTTPException):
                pass
            assert time.monotonic() < end, "no other client was served"
            time.sleep(0.2)
    finally:
        stop.set()
        thread.join()
        for client in clients:
            client.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /trigger HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /trigger HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /trigger HTTP/1.1\r\nHost: [::1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"y" * 20_000 + b"\r\n\r\n",
        b"POST /trigger HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50),
    ],
)
def test_malformed_requests_are_answered_or_cut(behind: Behind, data: bytes) -> None:
    answer = raw(behind.port, data)
    assert not answer.startswith(b"HTTP/1.1 200")
    assert b"Traceback" not in answer
    assert ask(behind.port, "GET", "/healthz")[0] == 200


REQUEST = st.binary(max_size=300) | st.builds(
    lambda method, path, name, value, body: (
        b"%s %s HTTP/1.1\r\nHost: localhost\r\n%s: %s\r\n\r\n%s" % (method, path, name, value, body)
    ),
    st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD", b"TRACE"]) | st.binary(max_size=6),
    st.sampled_from([b"/", b"/status", b"/trigger", b"*", b"//x"]) | st.binary(max_size=20),
    st.sampled_from([b"Content-Length", b"Transfer-Encoding", b"Authorization", b"Expect"]),
    st.sampled_from([b"0", b"100", b"chunked", b"Bearer x", b"100-continue"]) | st.binary(max_size=20),
    st.binary(max_size=50),
)


def test_whatever_is_sent_the_station_goes_on(behind: Behind) -> None:
    @settings(max_examples=150)
    @given(REQUEST)
    def send(data: bytes) -> None:
        answer = raw(behind.port, data)
        assert b"Traceback" not in answer

    send()
    assert behind.asked == []
    assert ask(behind.port, "GET", "/healthz")[0] == 200
