"""An HTTP POST with a total time limit, whatever the server does: slow, silent, endless or invalid."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from typing_extensions import override

from ast_edge.errors import LineError, sentence
from ast_edge.line.config.options import host_port

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_ANSWER_BYTES = 64 * 1024
_LOOK_S = 0.1
_CONNECT_S = 3.0  # for TCP, and for TLS: waits that cannot be interrupted


@dataclass(frozen=True)
class Limit:
    """The deadline of a request (`time.monotonic()`), and whether the station wants it to end now."""

    end_s: float
    stop: Callable[[], bool]

    def left_s(self, most_s: float = 3600.0) -> float:
        """Return the remaining seconds, at most `most_s`. Raises TimeoutError when none are left."""
        left = self.end_s - time.monotonic()
        if left <= 0:
            raise TimeoutError("it took too long")
        if self.stop():
            raise TimeoutError("the station is stopping")
        return min(left, most_s)


class Poster:
    """Posts to one address. Redirects are not followed; only the status of an answer is used.

    `where` contains only scheme, host and port, since paths of webhooks are often secret.
    """

    def __init__(self, url: str, context: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._context = context
        self.where = f"{parts.scheme}://{host_port(self._host, self._port)}"

    def probe(self, limit: Limit) -> None:
        """Check that the server can be reached. Raises LineError if not."""
        connection = self._connection(limit)
        try:
            connection.connect()
        except (OSError, ValueError) as exc:
            raise LineError(
                f"{self.where}: cannot be reached ({sentence(exc)}); is the server running?"
            ) from exc
        finally:
            connection.close()

    def post(self, body: bytes, headers: Mapping[str, str], limit: Limit) -> int:
        """Return the status of the answer. Raises LineError without a valid HTTP answer in time."""
        connection = self._connection(limit)
        try:
            connection.connect()
            connection.request("POST", self._target, body, {**headers, "Connection": "close"})
            with connection.getresponse() as answer:
                return answer.status
        except http.client.HTTPException as exc:
            raise LineError(f"{self.where}: does not answer with HTTP ({type(exc).__name__}).") from exc
        except (OSError, ValueError) as exc:
            raise LineError(f"{self.where}: the part could not be delivered ({sentence(exc)}).") from exc
        finally:
            connection.close()

    def _connection(self, limit: Limit) -> _Connection:
        return _Connection(self._host, self._port, self._context, limit)


class _Connection(http.client.HTTPConnection):
    """Every wait is bounded by the limit of the whole request, not individually."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None, limit: Limit) -> None:
        super().__init__(host, port)
        self._context, self._limit = context, limit
        # The Host header leaves out the port that the scheme implies.
        self.default_port = 80 if context is None else 443

    @override
    def connect(self) -> None:
        sock = socket.create_connection((self.host, self.port), self._limit.left_s(_CONNECT_S))
        if self._context is not None:
            sock.settimeout(self._limit.left_s(_CONNECT_S))
            sock = self._context.wrap_socket(sock, server_hostname=self.host)
        self.sock = _Timed(sock, self._limit)


class _Timed:
    """The subset of a socket that `http.client` uses."""

    def __init__(self, sock: socket.socket, limit: Limit) -> None:
        self._sock, self._limit = sock, limit

    def sendall(self, data: Any) -> None:
        self._sock.settimeout(self._limit.left_s())
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock, self._limit))

    def close(self) -> None:
        self._sock.close()


class _Reader(io.RawIOBase):
    """Reads until the time limit, up to the maximum size of an answer."""

    def __init__(self, sock: socket.socket, limit: Limit) -> None:
        self._sock, self._limit, self._read = sock, limit, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        if self._read > MAX_ANSWER_BYTES:
            raise OSError(f"the header of the answer has more than {MAX_ANSWER_BYTES} bytes")
        while True:
            self._sock.settimeout(self._limit.left_s(_LOOK_S))
            try:
                count = self._sock.recv_into(buffer)
            except TimeoutError:
                continue
            self._read += count
            return count
