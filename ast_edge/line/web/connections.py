"""An HTTP connection of the page: uvicorn's protocol on h11, with bounds that uvicorn does not set."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from ast_edge.line.web.places import Places

MOST_HEAD = 16_384
REQUEST_S = 5.0
IDLE_S = 5
_CHUNK = 1024
_MOST_UNREAD = 1 << 18
# Log records about connections are discarded: a client could fill the log.
_SILENT = logging.getLogger("ast_edge.line.web.silent")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
_SILENT.setLevel(logging.CRITICAL + 1)


class BoundedConfig(uvicorn.Config):
    """uvicorn's configuration, with the places shared by its connections."""

    def __init__(self, app: Any, places: Places) -> None:
        super().__init__(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            headers=[("Server", "ast-edge")],
            workers=1,
            backlog=32,
            timeout_keep_alive=IDLE_S,
            h11_max_incomplete_event_size=MOST_HEAD - _CHUNK,
        )
        self.places = places


class BoundedProtocol(H11Protocol):
    """A connection with a place among `Places`, a bounded header, and `REQUEST_S` seconds for each request.

    The time of a request starts with its first byte (for the first one, with the connection) and ends when it
    was read completely, answered, and the answer sent; a connection without a request ends after `IDLE_S`. A
    client that closes its sending half still gets the answer. Anything but HTTP/1 is closed without an
    answer.
    """

    def __init__(
        self,
        config: BoundedConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, "connection": self}, _loop)
        self.logger = self.access_logger = _SILENT
        self.access_log = False
        self._places = config.places
        self._limit: asyncio.TimerHandle | None = None
        self._has_place = self._ended = False
        self._unread = 0

    def trust(self) -> None:
        """Mark the client as trusted: it presented the token."""
        self._places.trust(self)

    def cut(self) -> None:
        """Close the connection now, whatever is in progress."""
        self.transport.abort()

    # ---- what asyncio calls --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place, or close."""
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._has_place = peer is not None and self._places.enter(self, str(peer[0]))
        if not self._has_place:
            self.transport.abort()
            return
        super().connection_made(self.transport)
        self._start_limit()

    def connection_lost(self, exc: Exception | None) -> None:
        """Return the place."""
        self._stop_limit()
        if self._has_place:
            self._places.leave(self)
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser in small pieces, since it bounds a header only while it is incomplete."""
        if self._is_idle() or self._limit is None:
            self._start_limit()
        for at in range(0, len(data), _CHUNK):
            if self.transport.is_closing():
                return
            if self._answered_early():
                self._unread += len(data) - at
                if self._unread > _MOST_UNREAD:
                    self.cut()
                    return
            super().data_received(data[at : at + _CHUNK])
        self._settle()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more, but may still wait for its answer."""
        self._ended = True
        self._close_or_end_body()
        return True

    # ---- what uvicorn calls --------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """The answer was written; the next request may be in the buffer."""
        super().on_response_complete()
        if self._ended:
            self._close_or_end_body()
        if self._is_answering():
            self._start_limit()
        self._settle()

    def shutdown(self) -> None:
        """The server stops: finish an answer in progress, close otherwise."""
        if self._is_answering():
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        """No further request arrived."""
        self.cut()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn's signature)
        """Refuse what the parser refuses; called while its error is handled."""
        error = sys.exc_info()[1]
        if self.cycle is not None:
            self.cycle.disconnected = True  # discard the rest of the previous answer
        refuses = isinstance(error, h11.RemoteProtocolError) and "illegal request line" not in str(error)
        if refuses and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(self._refusal(*_refusal_of(cast(h11.RemoteProtocolError, error))))
        self.transport.close()

    # ---- bounds --------------------------------------------------------------------------------------------

    def _refusal(self, status: int, text: str) -> bytes:
        body = json.dumps({"error": text}).encode() + b"\n"
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("X-Content-Type-Options", "nosniff"),
            ("Connection", "close"),
        ]
        pieces = (
            self.conn.send(h11.Response(status_code=status, headers=headers, reason=b"")),
            self.conn.send(h11.Data(data=body)),
            self.conn.send(h11.EndOfMessage()),
        )
        return b"".join(piece or b"" for piece in pieces)

    def _close_or_end_body(self) -> None:
        """No more input: close, unless an answer is still in progress."""
        if self._is_answering():
            self.cycle.more_body = False  # a reader of the body finds it shorter than announced
            self.cycle.message_event.set()
        else:
            self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _answered_early(self) -> bool:
        """Whether the answer was given before the request was read completely."""
        return self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY

    def _is_idle(self) -> bool:
        """Whether no request or answer is in progress."""
        states = self.conn.our_state, self.conn.their_state
        return states == (h11.IDLE, h11.IDLE) and not self.conn.trailing_data[0]

    def _settle(self) -> None:
        """Stop the timer between two requests; uvicorn's timer for idle connections runs then."""
        if self._is_idle() and self.transport.get_write_buffer_size() == 0:
            self._unread = 0
            self._stop_limit()

    def _start_limit(self) -> None:
        self._stop_limit()
        self._limit = self.loop.call_later(REQUEST_S, self.cut)

    def _stop_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


def _refusal_of(error: h11.RemoteProtocolError) -> tuple[int, str]:
    """Return status and text for what the parser refuses; quotes nothing of the request."""
    if error.error_status_hint == 431:
        return 431, f"the header may have at most {MOST_HEAD} bytes"
    if "Host:" in str(error):
        return 421, "exactly one Host is required"
    if "Content-Length" in str(error):
        return 400, "exactly one Content-Length is required, and no Transfer-Encoding"
    return error.error_status_hint, "this is not a valid HTTP request"
