"""The station's page and its machine-readable faces, over HTTP: small, bounded, read-only without a token."""

from __future__ import annotations

import contextlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Annotated, Any

from pydantic import Field, ValidationError

from ast_edge.errors import AstEdgeError, LineError, UsageError
from ast_edge.line.options import Host, Name, Options, Port, Secret
from ast_edge.line.web_page import CONTENT_SECURITY_POLICY, PAGE

_MOST_BODY = 4096
_MOST_CONNECTIONS = 16
_REQUEST_S = 5.0
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


class _TriggerBody(Options):
    id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    encoder: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None


class _RecipeBody(Options):
    name: Name
    operator: Annotated[str, Field(min_length=1, max_length=64)]


class _RollbackBody(Options):
    operator: Annotated[str, Field(min_length=1, max_length=64)]


@dataclass(frozen=True)
class WebView:
    """Whom to ask. `health` and `readiness` give reasons why not, none when all is well.

    The last three change something; what they raise becomes the answer.
    """

    metrics: Callable[[], bytes]
    status: Callable[[], Mapping[str, object]]
    health: Callable[[], tuple[str, ...]]
    readiness: Callable[[], tuple[str, ...]]
    trigger: Callable[[str | None, int | None], Mapping[str, object]]
    recipe: Callable[[str, str], Mapping[str, object]]
    rollback: Callable[[str], Mapping[str, object]]


class WebServer:
    """Listens from `start` to `close`; each request on a thread of its own, 16 at a time."""

    def __init__(self, options: WebOptions, view: WebView) -> None:
        self.options, self.view = options, view
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen. Raises LineError where the token cannot be read or the address cannot be had."""
        options = self.options
        token = options.token.read("web.token").encode() if options.token is not None else None
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

    def close(self) -> None:
        """Stop listening; a second call does nothing."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.shutdown()
            self._thread.join(_CLOSE_S)
            server.server_close()


class _Server(HTTPServer):
    """One thread a connection, of which there are few."""

    allow_reuse_address = True
    request_queue_size = 32

    def __init__(self, options: WebOptions, view: WebView, token: bytes | None) -> None:
        self.view, self.token = view, token
        self.known_hosts = {*_LOOPBACK, options.host, *options.hosts}
        self.any_host = options.host in ("0.0.0.0", "::")  # noqa: S104 (only where line.toml says so)
        self._places = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        if ":" in options.host:
            self.address_family = socket.AF_INET6
        super().__init__((options.host, options.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """On a thread of its own; one connection too many is closed at once."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        threading.Thread(
            target=self._serve, args=(request, client_address), name="ast-edge-web-request", daemon=True
        ).start()

    def _serve(self, request: Any, client_address: Any) -> None:
        # However slowly it sends, a client has this long for its one request.
        clock = threading.Timer(_REQUEST_S, _cut, (request,))
        clock.daemon = True
        clock.start()
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # the client went away
        except Exception as exc:  # noqa: BLE001 (no request may end the station's page)
            self.last_error = f"{type(exc).__name__}: {exc}"
        finally:
            clock.cancel()
            self.shutdown_request(request)
            self._places.release()

    last_error = ""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing is printed for a connection that breaks."""


def _cut(request: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may be closed already
        request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One request; the connection ends with it."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "ast-edge", ""
    timeout = _REQUEST_S

    def do_GET(self) -> None:
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
            self._json(404, {"error": "there is /, /metrics, /status, /healthz and /readyz"})

    def do_HEAD(self) -> None:
        """As GET, without the body."""
        self.do_GET()

    def do_POST(self) -> None:
        """What changes something."""
        if not self._host_is_known() or not self._is_allowed():
            return
        body = self._body()
        if body is None:
            return
        try:
            self._json(200, self._act(self.path, body))
        except ValidationError as exc:
            first = exc.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "body"
            self._json(400, {"error": f"{where}: {first['msg']}"})
        except UsageError as exc:
            self._json(400, {"error": str(exc)})
        except AstEdgeError as exc:
            self._json(409, {"error": str(exc)})

    def _act(self, path: str, body: bytes) -> Mapping[str, object]:
        view = self.server.view
        if path == "/trigger":
            part = _TriggerBody.model_validate_json(body)
            return view.trigger(part.id, part.encoder)
        if path == "/recipe":
            wanted = _RecipeBody.model_validate_json(body)
            return view.recipe(wanted.name, wanted.operator)
        if path == "/rollback":
            return view.rollback(_RollbackBody.model_validate_json(body).operator)
        raise UsageError("there is /trigger, /recipe and /rollback")

    # ---- what is refused -----------------------------------------------------------------------------------

    def _host_is_known(self) -> bool:
        host = self.headers.get("Host", "")
        name = host[: host.rfind("]") + 1].strip("[]") if host.startswith("[") else host.partition(":")[0]
        if self.server.any_host or name in self.server.known_hosts:
            return True
        self._json(421, {"error": "this host name is not known here; add it to web.hosts in line.toml"})
        return False

    def _is_allowed(self) -> bool:
        token = self.server.token
        if token is None:
            self._json(403, {"error": "nothing can be changed here: set web.token in line.toml"})
            return False
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer" and hmac.compare_digest(given.strip().encode("utf-8", "replace"), token):
            return True
        time.sleep(_WRONG_TOKEN_S)  # on this connection's own thread
        self._json(401, {"error": "the token is missing or wrong"}, {"WWW-Authenticate": "Bearer"})
        return False

    def _body(self) -> bytes | None:
        """The body; None when it was refused."""
        if self.headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
            self._json(415, {"error": "Content-Type must be application/json"})
            return None
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            self._json(411, {"error": "Content-Length is needed"})
            return None
        if len(length) > 9 or int(length) > _MOST_BODY:
            self._json(413, {"error": f"the body may have {_MOST_BODY} bytes"})
            return None
        return self.rfile.read(int(length))

    # ---- answers -------------------------------------------------------------------------------------------

    def _json(
        self, status: int, content: Mapping[str, object], headers: Mapping[str, str] | None = None
    ) -> None:
        self._answer(status, json.dumps(content, default=str).encode() + b"\n", "application/json", headers)

    def _answer(self, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self.close_connection = True
        self.send_response(status)
        own = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            "Connection": "close",
        }
        for name, value in {**own, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """What the library refuses is answered as everything else is, and quotes nothing of the request."""
        try:
            words = HTTPStatus(code).phrase
        except ValueError:
            words = "refused"
        if not hasattr(self, "command") or self.command is None:
            self.command = ""
        self._json(code, {"error": words})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
        """Requests are not logged: a browser asks every second."""
