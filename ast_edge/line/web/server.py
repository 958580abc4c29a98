"""The HTTP server of the page and its interface: bounded, and read-only without a token."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from ast_edge.errors import LineError, reason, sentence
from ast_edge.line.config.options import Host, Options, Port, Secret
from ast_edge.line.web.access import LOOPBACK, Access
from ast_edge.line.web.places import Places
from ast_edge.line.web.view import WebView
from ast_edge.line.web.workers import Workers
from ast_edge.wording import install_hint

if TYPE_CHECKING:
    import uvicorn

_LEAST_TOKEN = 16
_BACKLOG = 32
_WORKERS = 4
_FINISH_S = 1.0  # for answers in progress when the server stops
_CLOSE_S = 5.0


class WebOptions(Options):
    """`host` and `port` to listen on; changes require `token`, without which they are disabled.

    `hosts` are the names under which browsers reach this station, besides its address; a request with another
    name is refused, so that foreign web pages cannot read this one through its visitors.
    """

    host: Host = "127.0.0.1"
    port: Port
    token: Secret | None = None
    hosts: Annotated[tuple[Host, ...], Field(max_length=32)] = ()


class WebServer:
    """Listens from `start` to `close`: starlette on uvicorn, whose loop runs on its own thread."""

    def __init__(self, options: WebOptions, view: WebView) -> None:
        self.options, self.view = options, view
        self._places = Places()
        self._access: Access | None = None
        self._running: _Running | None = None

    def start(self) -> None:
        """Start to listen.

        Raises LineError if the token cannot be read, the address is not available, or starlette or uvicorn
        are not installed.
        """
        options = self.options
        self._access = Access(_token(options), (options.host, *options.hosts), self.view.tell)
        self._running = _Running(self.view, self._access, self._places, options)
        self._running.start()
        if options.host not in LOOPBACK:
            where = f"{options.host}:{options.port}"
            self.view.tell("start", {"web": where, "who_reads": "anyone who can reach this address"})

    @property
    def counters(self) -> Mapping[str, int]:
        """Return counts of wrong tokens, refused connections, and connections closed in favour of others."""
        wrong = self._access.wrong.count if self._access is not None else 0
        places = self._places
        return {"wrong_tokens": wrong, "turned_away": places.turned_away, "displaced": places.displaced}

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return self._places.taken

    @property
    def alive(self) -> bool:
        """Whether it serves: True from `start` to `close`, unless its loop ended by itself."""
        running = self._running
        return running is None or running.thread.is_alive()

    def close(self) -> None:
        """Stop listening, within a few seconds whatever is in progress; a second call does nothing."""
        running, self._running = self._running, None
        if running is not None:
            running.close()


def _token(options: WebOptions) -> bytes | None:
    """Read the token; LineError if it cannot be read, or is too short."""
    if options.token is None:
        return None
    token = options.token.read("web.token").encode()
    if len(token) < _LEAST_TOKEN:
        raise LineError(
            f"web.token: expected at least {_LEAST_TOKEN} characters, found {len(token)}; generate one with: "
            "openssl rand -hex 32."
        )
    return token


class _Running:
    """uvicorn's server on a socket and its own thread."""

    def __init__(self, view: WebView, access: Access, places: Places, options: WebOptions) -> None:
        self._view, self._places = view, places
        self._workers = Workers(_WORKERS)
        self._server = _uvicorn(view, access, places, self._workers)
        self._socket = _listen(options)
        self._loop: asyncio.AbstractEventLoop | None = None
        # A daemon: an answer that hangs for good must not keep the process from ending.
        self.thread = threading.Thread(target=self._run, name="ast-edge-web", daemon=True)

    def start(self) -> None:
        self._workers.start()
        self.thread.start()

    def close(self) -> None:
        self._server.should_exit = True
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has already ended
                loop.call_soon_threadsafe(loop.call_later, _FINISH_S, self._cut)
        self.thread.join(_CLOSE_S)
        self._socket.close()
        self._workers.close(_CLOSE_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as exc:  # noqa: BLE001 (reported: nothing else would say that the page is gone)
            self._view.tell("failure", {"where": "web", "error": sentence(exc)})

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._note)
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            self._places.clear()

    def _cut(self) -> None:
        """Close what did not finish in time."""
        self._places.clear()
        for task in self._server.server_state.tasks:
            task.cancel()

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Report errors outside of requests; broken connections are ignored."""
        exc = context.get("exception")
        if not isinstance(exc, ConnectionError):
            self._view.tell("failure", {"where": "web", "error": f"{context['message']}: {exc}"})


def _uvicorn(view: WebView, access: Access, places: Places, workers: Workers) -> uvicorn.Server:
    try:
        import uvicorn  # noqa: PLC0415 (only a station with a page needs it)

        from ast_edge.line.web.app import application  # noqa: PLC0415
        from ast_edge.line.web.connections import BoundedConfig  # noqa: PLC0415
    except ImportError as exc:
        raise LineError(
            f"web: the page needs starlette and uvicorn ({exc}); run: {install_hint('line')}"
        ) from exc
    return uvicorn.Server(BoundedConfig(application(view, access, workers), places))


def _listen(options: WebOptions) -> socket.socket:
    """Return a listening socket; LineError if the address is not available."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    # With the protocol given, asyncio sets TCP_NODELAY.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((options.host, options.port))
        found.listen(_BACKLOG)
    except OSError as exc:
        found.close()
        raise LineError(
            f"web: cannot listen on {options.host}:{options.port} ({reason(exc)}); is another station "
            "running, or is it not an address of this machine? Choose another port."
        ) from exc
    return found
