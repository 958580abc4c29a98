"""A web server on loopback that answers as the test says."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.line.certificates import Pair


@dataclass(frozen=True)
class Posted:
    path: str
    headers: dict[str, str]
    reported: dict[str, object]

    @property
    def number(self) -> object:
        return self.reported["number"]


class Web:
    """Remembers what was posted; `answer` says with which status, by default 200."""

    def __init__(self, port: int = 0, pair: Pair | None = None) -> None:
        self.posted: list[Posted] = []
        self.answer: Callable[[Posted], int] = lambda _: 200
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if pair is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.certificate, pair.key)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def numbers(self) -> list[object]:
        return [posted.number for posted in self.posted]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        web = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                found = Posted(self.path, dict(self.headers), json.loads(body))
                code = web.answer(found)
                web.posted.append(found)
                self.send_response(code)
                if code in (301, 302, 307, 308):
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                with contextlib.suppress(OSError):
                    self.end_headers()

            def log_message(
                self,
                format: str,  # noqa: A002 (its name there)
                *arguments: object,
            ) -> None:
                pass

        return Handler


@contextmanager
def web(port: int = 0, pair: Pair | None = None) -> Iterator[Web]:
    """A server that stands while the block runs."""
    found = Web(port, pair)
    try:
        yield found
    finally:
        found.close()
