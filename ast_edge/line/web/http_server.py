"""An HTTP server that nobody can fill: few connections, each with little time and little to say."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BufferedIOBase
from typing import Any

MOST_CONNECTIONS = 32
MOST_OF_ONE = 16  # of them from one address: nobody alone keeps the others out
REQUEST_S = 5.0
_MOST_HEAD = 16_384
_CLOSE_S = 5.0
_MOST_UNREAD = 1 << 18
_UNREAD_S = 0.5


class BoundedServer(HTTPServer):
    """Each connection, which is one request, has a thread of its own and `REQUEST_S` seconds in all.

    Connections without room are closed at once and counted in `turned_away`.
    """

    allow_reuse_address = True
    request_queue_size = 32

    def __init__(self, host: str, port: int, handler: type[BoundedHandler]) -> None:
        self._lock = threading.Lock()
        self._open: dict[socket.socket, tuple[threading.Thread, float]] = {}
        self._of: Counter[str] = Counter()
        self.turned_away = 0
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """On a thread of its own, where there is room."""
        address = str(client_address[0])
        thread = threading.Thread(
            target=self._serve, args=(request, client_address), name="ast-edge-web-request", daemon=True
        )
        with self._lock:
            room = len(self._open) < MOST_CONNECTIONS and self._of[address] < MOST_OF_ONE
            if room:
                self._open[request] = (thread, time.monotonic())
                self._of[address] += 1
            else:
                self.turned_away += 1
        if not room:
            self.shutdown_request(request)
            return
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads (TasksMax, say)
            self._forget(request, address)

    def service_actions(self) -> None:
        """Cut off whoever takes too long, however busy it looks; called several times a second."""
        now = time.monotonic()
        with self._lock:
            late = [request for request, (_, since) in self._open.items() if now - since > REQUEST_S]
        for request in late:
            _cut(request)

    def server_close(self) -> None:
        """Stop listening, cut off who is still there, and join the threads."""
        super().server_close()
        with self._lock:
            left = dict(self._open)
        for request in left:
            _cut(request)
        end = time.monotonic() + _CLOSE_S
        for thread, _ in left.values():
            thread.join(max(end - time.monotonic(), 0.0))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing is printed for a connection that breaks."""

    def _serve(self, request: Any, client_address: Any) -> None:
        address = str(client_address[0])
        try:
            # The client may go away at any moment, and nothing of one request may harm another.
            with contextlib.suppress(Exception):
                self.finish_request(request, client_address)
        finally:
            self._forget(request, address)

    def _forget(self, request: Any, address: str) -> None:
        self.shutdown_request(request)
        with self._lock:
            del self._open[request]
            self._of -= Counter((address,))  # and forget an address that has none


def _cut(request: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may be closed already
        request.shutdown(socket.SHUT_RDWR)


def _drain(request: socket.socket) -> None:
    """Read and forget what comes, for a moment."""
    request.shutdown(socket.SHUT_WR)
    request.settimeout(_UNREAD_S)
    end, left = time.monotonic() + _UNREAD_S, _MOST_UNREAD
    while left > 0 and time.monotonic() < end:
        chunk = request.recv(65_536)
        if not chunk:
            return
        left -= len(chunk)


class _Head:
    """A stream whose lines, all together, may have so many bytes; what is read as a body is not counted."""

    def __init__(self, stream: BufferedIOBase, most: int) -> None:
        self._stream, self._left = stream, most

    def readline(self, limit: int) -> bytes:
        """As of the stream. Raises LineTooLong when there was too much."""
        line = self._stream.readline(min(limit, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise LineTooLong("header")
        return line

    def read(self, size: int) -> bytes:
        """As of the stream."""
        return self._stream.read(size)

    def close(self) -> None:
        """As of the stream."""
        self._stream.close()

    @property
    def closed(self) -> bool:
        """As of the stream."""
        return self._stream.closed


class BoundedHandler(BaseHTTPRequestHandler):
    """One request, then the connection ends. Subclasses answer `get` and `post` by `reply`."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "ast-edge", ""
    timeout = REQUEST_S
    unread = False  # whether a body may still be on its way

    def setup(self) -> None:
        """Bound what is read."""
        super().setup()
        self.command = ""
        self.rfile: Any = _Head(self.rfile, _MOST_HEAD)

    def do_GET(self) -> None:
        """What is read."""
        self._guarded(self.get)

    def do_HEAD(self) -> None:
        """As GET, without the body."""
        self._guarded(self.get)

    def do_POST(self) -> None:
        """What changes something."""
        self.unread = True
        self._guarded(self.post)

    def finish(self) -> None:
        """Let a client that still sends read the answer first: what is left unread would reset it."""
        super().finish()
        if self.unread:
            with contextlib.suppress(OSError):
                _drain(self.connection)

    def get(self) -> None:
        """Answer a request that reads."""
        raise NotImplementedError

    def post(self) -> None:
        """Answer a request that changes something."""
        raise NotImplementedError

    def _guarded(self, work: Callable[[], None]) -> None:
        """Run the answer to a request; an error of the station is told to the client as one."""
        if self.request_version == "HTTP/0.9":
            return  # it knows no headers, so neither rules nor answers
        try:
            work()
        except OSError:
            raise  # the client went away
        except Exception as exc:  # noqa: BLE001 (the page must not die of what it shows)
            self.failed(exc)
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)

    def failed(self, exc: Exception) -> None:
        """The answer to a request raised."""

    def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """The whole answer."""
        self.close_connection = True
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body)), "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_expect_100(self) -> bool:
        """Nobody needs to ask before so small a body."""
        self.send_error(HTTPStatus.EXPECTATION_FAILED)
        return False

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """What the library refuses; quotes nothing of the request."""
        try:
            words = HTTPStatus(code).phrase
        except ValueError:
            words = "refused"
        self.refuse(code, words)

    def refuse(self, status: int, words: str) -> None:
        """An answer that says why not."""
        raise NotImplementedError

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
        """Requests are not logged: a browser asks every second."""
