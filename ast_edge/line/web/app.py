"""The page's HTTP interface: a starlette application behind a guard that every request passes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ast_edge.errors import AstEdgeError, UsageError, sentence
from ast_edge.line.web.access import Access
from ast_edge.line.web.bodies import (
    OperatorBody,
    RecipeBody,
    RefusedError,
    TriggerBody,
    encode,
    parse,
    read_body,
)
from ast_edge.line.web.page import CONTENT_SECURITY_POLICY, page
from ast_edge.line.web.view import WebView
from ast_edge.line.web.words import choose
from ast_edge.line.web.workers import Workers

ANSWER_S = 4.0
_FRESH_S = 0.25
_MOST_HEADERS = 100
_MOST_WAITING = 4
_WRONG_TOKEN_S = 1.0
_HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


def application(view: WebView, access: Access, workers: Workers) -> ASGIApp:
    """Return the whole ASGI application."""
    faces = _Faces(view, access, workers)
    routes = [
        Route("/", faces.page),
        Route("/metrics", faces.metrics),
        Route("/status", faces.status),
        Route("/board", faces.board),
        Route("/picture/{part_id}", faces.picture),
        Route("/healthz", faces.health),
        Route("/readyz", faces.readiness),
        Route("/{path:path}", faces.change, methods=["POST"]),
    ]
    handlers = {HTTPException: _not_found, TimeoutError: _late, Exception: _failed}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), view, access)


def _json(status: int, content: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    return Response(encode(content), status, headers, "application/json")


def refusal(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer with the reason of a refusal."""
    return _json(status, {"error": text}, headers)


async def _not_found(_request: Request, _exc: Exception) -> Response:
    return refusal(404, "the paths are /, /board, /metrics, /status, /healthz and /readyz")


async def _late(_request: Request, exc: Exception) -> Response:
    return refusal(503, f"the station does not answer: {exc}")


async def _failed(_request: Request, _exc: Exception) -> Response:
    return refusal(500, HTTPStatus.INTERNAL_SERVER_ERROR.phrase)


class Guard:
    """Checks every request, adds headers to every answer, reports every error."""

    def __init__(self, app: ASGIApp, view: WebView, access: Access) -> None:
        self._app, self._view, self._access = app, view, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [*_HEADERS]
                if not any(name == b"cache-control" for name, _ in message["headers"]):
                    own.append((b"cache-control", b"no-store"))
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        refused = self._refused(Request(scope))
        try:
            await (refused or self._app)(scope, receive, guarded)
        except Exception as exc:  # noqa: BLE001 (the page must not die of what it shows)
            # The client already has its answer.
            self._view.tell("failure", {"where": "web", "error": sentence(exc)})

    def _refused(self, request: Request) -> Response | None:
        """Refuse requests that are invalid for every path; None for an acceptable one."""
        if request.scope["http_version"] not in ("1.0", "1.1"):
            return refusal(505, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED.phrase)
        if request.method not in ("GET", "HEAD", "POST"):
            return refusal(501, "only GET, HEAD and POST are supported")
        if len(request.headers.raw) > _MOST_HEADERS:
            return refusal(431, f"a request may have at most {_MOST_HEADERS} headers")
        if request.headers.get("Expect"):
            return refusal(417, HTTPStatus.EXPECTATION_FAILED.phrase)
        if not self._access.knows_host(request.headers.getlist("Host")):
            return refusal(421, "this host name is unknown; add it to web.hosts in line.toml")
        return None


class _Faces:
    """The answers, by path. Slow work runs on a worker, so that a trigger never waits for it."""

    def __init__(self, view: WebView, access: Access, workers: Workers) -> None:
        self._view, self._access, self._workers = view, access, workers
        self._waiting = 0  # clients with a wrong token whose answer is delayed
        self._board, self._board_lock = (-_FRESH_S, b""), asyncio.Lock()

    async def page(self, request: Request) -> Response:
        """Return the operator's page, in the reader's language."""
        language = choose(request.query_params.get("lang"), request.headers.get("Accept-Language", ""))
        headers = {"Content-Language": language, "Vary": "Accept-Language"}
        return Response(page(language), headers=headers, media_type="text/html")

    async def board(self, _request: Request) -> Response:
        """Return the page's data; the station is queried at most four times per second for all pages."""
        async with self._board_lock:
            now = time.monotonic()
            if now - self._board[0] >= _FRESH_S:
                found = await self._workers.run(lambda: encode(self._view.board()), ANSWER_S)
                self._board = now, found
        return Response(self._board[1], media_type="application/json")

    async def picture(self, request: Request) -> Response:
        """Return a part's picture; pictures never change."""
        kind = request.query_params.get("kind", "heat")
        found = self._view.picture(request.path_params["part_id"], kind)
        if found is None:
            return refusal(404, "there is no picture of this part any more")
        headers = {"Cache-Control": "private, max-age=3600, immutable"}
        return Response(found, headers=headers, media_type="image/jpeg")

    async def metrics(self, _request: Request) -> Response:
        """For Prometheus."""
        found = await self._workers.run(self._view.metrics, ANSWER_S)
        return Response(found, media_type="text/plain; version=0.0.4")

    async def status(self, _request: Request) -> Response:
        """Return the full status of the station."""
        return Response(
            await self._workers.run(lambda: encode(self._view.status()), ANSWER_S),
            media_type="application/json",
        )

    async def health(self, _request: Request) -> Response:
        """Return whether the process works."""
        return await self._reasons(self._view.health)

    async def readiness(self, _request: Request) -> Response:
        """Return whether the next part will be judged."""
        return await self._reasons(self._view.readiness)

    async def _reasons(self, ask: Callable[[], tuple[str, ...]]) -> Response:
        reasons = await self._workers.run(ask, ANSWER_S)
        return _json(503 if reasons else 200, {"ok": not reasons, "reasons": list(reasons)})

    # ---- what changes something ----------------------------------------------------------------------------

    async def change(self, request: Request) -> Response:
        """Handle POST: needs the token and a body."""
        refused = await self._why_not_allowed(request)
        if refused is not None:
            return refused
        try:
            body = await read_body(request.headers, request.receive)
            found = await self._act(request.url.path, body)
            self._board = -_FRESH_S, b""  # pages show the change at once
            return _json(200, found)
        except RefusedError as exc:
            return refusal(exc.status, str(exc))
        except UsageError as exc:
            return refusal(400, str(exc))
        except AstEdgeError as exc:
            return refusal(409, str(exc))

    async def _act(self, path: str, body: bytes) -> Mapping[str, object]:
        view, run = self._view, self._workers.run
        if path == "/trigger":
            part = parse(TriggerBody, body)
            # A trigger returns at once, and must not wait for a worker.
            return view.trigger(part.id, part.encoder, part.sent_ms)
        if path == "/recipe":
            wanted = parse(RecipeBody, body)
            return await run(lambda: view.recipe(wanted.name, wanted.operator), ANSWER_S)
        asked = {
            "/rollback": view.rollback,
            "/pause": view.pause,
            "/resume": view.resume,
            "/acknowledge": view.acknowledge,
        }.get(path)
        if asked is None:
            raise UsageError("the paths are /trigger, /recipe, /rollback, /pause, /resume and /acknowledge")
        operator = parse(OperatorBody, body).operator
        return await run(lambda: asked(operator), ANSWER_S)

    async def _why_not_allowed(self, request: Request) -> Response | None:
        if not self._access.has_token:
            return refusal(403, "changes are disabled: set web.token in line.toml")
        if self._access.allows(request.headers.get("Authorization", "")):
            request.state.connection.trust()
            return None
        self._access.wrong.note(request.client.host if request.client is not None else "")
        if self._waiting >= _MOST_WAITING:
            return refusal(429, "too many wrong tokens; try again later")
        self._waiting += 1
        try:
            await asyncio.sleep(_WRONG_TOKEN_S)
        finally:
            self._waiting -= 1
        return refusal(401, "the token is missing or wrong", {"WWW-Authenticate": "Bearer"})
