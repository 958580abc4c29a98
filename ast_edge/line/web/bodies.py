"""JSON of the station's page: input is complete and valid, or refused."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

from pydantic import AfterValidator, Field, ValidationError

from ast_edge.errors import UsageError
from ast_edge.line.config.options import Name, Options

if TYPE_CHECKING:
    from starlette.types import Receive

MOST_BODY = 4096


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must contain only printable characters")
    return text


_Text = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printable)]
_Body = TypeVar("_Body", bound=Options)


class TriggerBody(Options):
    """`POST /trigger`: a part was in place at `sent_ms`, UNIX time in milliseconds by the sender's clock."""

    id: _Text | None = None
    encoder: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    sent_ms: Annotated[float, Field(ge=0, lt=1e14)] | None = None


class RecipeBody(Options):
    """`POST /recipe`: change to another recipe."""

    name: Name
    operator: _Text


class OperatorBody(Options):
    """`POST /rollback`, `/pause`, `/resume`, `/acknowledge`: the operator who requests it."""

    operator: _Text


class RefusedError(UsageError):
    """A request that is refused, with its HTTP status."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Headers(Protocol):
    """The header of a request."""

    def getlist(self, key: str) -> list[str]:
        """Return every value of this header, in any case."""


async def read_body(headers: Headers, receive: Receive) -> bytes:
    """Read the whole body from ASGI's `receive`.

    Raises RefusedError if it is not JSON, too large, truncated, or of ambiguous length.
    """
    kinds = headers.getlist("Content-Type") or [""]
    if len(kinds) > 1 or kinds[0].partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(415, "Content-Type must be application/json")
    length = _length(headers)
    body = b""
    more = True
    while more and len(body) <= length:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if len(body) != length:
        raise RefusedError(400, f"the body was truncated: {len(body)} of {length} bytes arrived")
    return body


def _length(headers: Headers) -> int:
    lengths = headers.getlist("Content-Length")
    if headers.getlist("Transfer-Encoding") or len(lengths) > 1:
        # With two lengths a proxy may see a different request than we do.
        raise RefusedError(400, "exactly one Content-Length is required, and no Transfer-Encoding")
    length = lengths[0] if lengths else ""
    if not length.isascii() or not length.isdigit():
        raise RefusedError(411, "Content-Length is required")
    if len(length) > 9 or int(length) > MOST_BODY:
        raise RefusedError(413, f"the body may have at most {MOST_BODY} bytes")
    return int(length)


def parse(kind: type[_Body], body: bytes) -> _Body:
    """Parse the body as `kind`. Raises UsageError for anything else: neither `true` nor "5" is a number."""
    try:
        json.loads(body, object_pairs_hook=_once)
        return kind.model_validate_json(body, strict=True)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise UsageError(f"{where}: {first['msg']}") from exc
    except (ValueError, RecursionError) as exc:
        raise UsageError(f"body: {exc}") from exc


def encode(content: Mapping[str, object]) -> bytes:
    """Encode as strict JSON: numbers that are not finite become null."""
    return json.dumps(_finite(content), default=str, allow_nan=False).encode() + b"\n"


def _once(pairs: list[tuple[str, object]]) -> None:
    keys = [key for key, _ in pairs]
    if len(keys) != len(set(keys)):
        raise ValueError("duplicate key")


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
