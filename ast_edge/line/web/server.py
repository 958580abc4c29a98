"""The station's page and its machine-readable faces, over HTTP: small, bounded, read-only without a token."""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated

from pydantic import Field

from ast_edge.errors import AstEdgeError, LineError, UsageError
from ast_edge.line.config.options import Host, Options, Port, Secret
from ast_edge.line.events import Told, nobody
from ast_edge.line.web.bodies import (
    RecipeBody,
    RefusedError,
    RollbackBody,
    TriggerBody,
    encode,
    parse,
    read_body,
)
from ast_edge.line.web.http_server import BoundedHandler, BoundedServer
from ast_edge.line.web.page import CONTENT_SECURITY_POLICY, PAGE

_MOST_WAITING = 4
_LEAST_TOKEN = 16
_CLOSE_S = 5.0
_WRONG_TOKEN_S = 1.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class WebOptions(Options):
    """`host` and `port` to listen on; who changes anything needs `token`, and without one nobody can.

    `hosts` are the names under which browsers reach this station, besides its address; a request that names
    another one is refused, so that no web page of somebody else's reads this one through its visitors.
    """

    host: Host = "127.0.0.1"
    port: Port
    token: Secret | None = None
    hosts: Annotated[tuple[Host, ...], Field(max_length=32)] = ()


@dataclass(frozen=True)
class WebView:
    """Whom to ask. `health` and `readiness` give reasons why not, none when all is well.

    The last three change something; what they raise becomes the answer. `trigger` takes a part's id, the
    encoder's count and `sent_ms`, and decides whether it is fresh: see `ast_edge.line.triggers.freshness`.
    """

    metrics: Callable[[], bytes]
    status: Callable[[], Mapping[str, object]]
    health: Callable[[], tuple[str, ...]]
    readiness: Callable[[], tuple[str, ...]]
    trigger: Callable[[str | None, int | None, float | None], Mapping[str, object]]
    recipe: Callable[[str, str], Mapping[str, object]]
    rollback: Callable[[str], Mapping[str, object]]
    tell: Told = nobody


class WebServer:
    """Listens from `start` to `close`; each request on a thread of its own, of which there are few."""

    def __init__(self, options: WebOptions, view: WebView) -> None:
        self.options, self.view = options, view
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen. Raises LineError where the token cannot be read or the address cannot be had."""
        options = self.options
        token = _token(options)
        try:
            self._server = _Server(options, self.view, token)
        except OSError as exc:
            raise LineError(
                f"web: cannot listen on {options.host}:{options.port} ({exc.strerror}); is another station "
                "running, or is the address not this machine's? Choose another port."
            ) from exc
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="ast-edge-web", daemon=True
        )
        self._thread.start()
        if options.host not in _LOOPBACK:
            where = f"{options.host}:{options.port}"
            self.view.tell("start", {"web": where, "who_reads": "everybody who reaches this address"})

    @property
    def counters(self) -> Mapping[str, int]:
        """How many wrong tokens were given, and how many connections found no room."""
        server = self._server
        if server is None:
            return {"wrong_tokens": 0, "turned_away": 0}
        return {"wrong_tokens": server.wrong.count, "turned_away": server.turned_away}

    def close(self) -> None:
        """Stop listening; a second call does nothing."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.shutdown()
            self._thread.join(_CLOSE_S)
            server.server_close()


def _token(options: WebOptions) -> bytes | None:
    """The token; LineError where it cannot be read, or could be guessed."""
    if options.token is None:
        return None
    token = options.token.read("web.token").encode()
    if len(token) < _LEAST_TOKEN:
        raise LineError(
            f"web.token: expected at least {_LEAST_TOKEN} characters, found {len(token)}; make one by: "
            "openssl rand -hex 32."
        )
    return token


class _Server(BoundedServer):
    """With what its requests need."""

    def __init__(self, options: WebOptions, view: WebView, token: bytes | None) -> None:
        self.view, self.token = view, token
        self.known_hosts = {*_LOOPBACK, options.host.lower(), *(host.lower() for host in options.hosts)}
        # So many clients with a wrong token may be kept waiting at a time.
        self.waiting_room = threading.BoundedSemaphore(_MOST_WAITING)
        self.wrong = WrongTokens(view.tell)
        super().__init__(options.host, options.port, _Handler)


class _Handler(BoundedHandler):
    """One request; the connection ends with it."""

    server: _Server

    def get(self) -> None:
        """The page, and what machines read."""
        if not self._host_is_known():
            return
        view = self.server.view
        path = self.path.partition("?")[0]
        if path == "/":
            self._answer(200, PAGE.encode(), "text/html; charset=utf-8")
        elif path == "/metrics":
            self._answer(200, view.metrics(), "text/plain; version=0.0.4; charset=utf-8")
        elif path == "/status":
            self._json(200, view.status())
        elif path in ("/healthz", "/readyz"):
            reasons = view.health() if path == "/healthz" else view.readiness()
            self._json(503 if reasons else 200, {"ok": not reasons, "reasons": list(reasons)})
        else:
            self.refuse(404, "there is /, /metrics, /status, /healthz and /readyz")

    def post(self) -> None:
        """What changes something."""
        if not self._host_is_known() or not self._is_allowed():
            return
        try:
            body = read_body(self.headers, self.rfile)
            self.unread = False
            self._json(200, self._act(self.path, body))
        except RefusedError as exc:
            self.refuse(exc.status, str(exc))
        except UsageError as exc:
            self.refuse(400, str(exc))
        except AstEdgeError as exc:
            self.refuse(409, str(exc))

    def _act(self, path: str, body: bytes) -> Mapping[str, object]:
        view = self.server.view
        if path == "/trigger":
            part = parse(TriggerBody, body)
            return view.trigger(part.id, part.encoder, part.sent_ms)
        if path == "/recipe":
            wanted = parse(RecipeBody, body)
            return view.recipe(wanted.name, wanted.operator)
        if path == "/rollback":
            return view.rollback(parse(RollbackBody, body).operator)
        raise UsageError("there is /trigger, /recipe and /rollback")

    # ---- what is refused -----------------------------------------------------------------------------------

    def _host_is_known(self) -> bool:
        hosts = self.headers.get_all("Host", [])
        host = hosts[0].lower() if len(hosts) == 1 else ""
        name = host[: host.rfind("]") + 1].strip("[]") if host.startswith("[") else host.partition(":")[0]
        if name in self.server.known_hosts or _is_address(name):
            return True
        self.refuse(421, "this host name is not known here; add it to web.hosts in line.toml")
        return False

    def _is_allowed(self) -> bool:
        server = self.server
        if server.token is None:
            self.refuse(403, "nothing can be changed here: set web.token in line.toml")
            return False
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer" and hmac.compare_digest(given.strip().encode("utf-8", "replace"), server.token):
            return True
        server.wrong.note(str(self.client_address[0]))
        if not server.waiting_room.acquire(blocking=False):
            self.refuse(429, "too many wrong tokens; ask again later")
            return False
        try:
            time.sleep(_WRONG_TOKEN_S)  # on this connection's own thread
        finally:
            server.waiting_room.release()
        self._json(401, {"error": "the token is missing or wrong"}, {"WWW-Authenticate": "Bearer"})
        return False

    # ---- answers -------------------------------------------------------------------------------------------

    def _json(
        self, status: int, content: Mapping[str, object], headers: Mapping[str, str] | None = None
    ) -> None:
        self._answer(status, encode(content), "application/json", headers)

    def _answer(self, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        own = {
            "Content-Type": kind,
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }
        self.reply(status, body, {**own, **(headers or {})})

    def refuse(self, status: int, words: str) -> None:
        """See `BoundedHandler`."""
        self._json(status, {"error": words})

    def failed(self, exc: Exception) -> None:
        """See `BoundedHandler`."""
        self.server.view.tell("failure", {"where": "web", "error": f"{type(exc).__name__}: {exc}"})


def _is_address(name: str) -> bool:
    """Whether it is an IP address: no page of somebody else's can have one of ours for its own name."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


class WrongTokens:
    """Counts them, and tells of the 1st, 2nd, 4th, 8th and so on: guesses do not fill the audit log."""

    def __init__(self, tell: Told) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self.count = 0

    def note(self, address: str) -> None:
        """Somebody at `address` had a wrong one, or none."""
        with self._lock:
            self.count += 1
            count = self.count
        if count & (count - 1) == 0:
            self._tell("operator", {"refused": "wrong token", "address": address, "times": count})
