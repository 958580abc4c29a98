"""JSON in and out of the station's page: what comes in is whole and as agreed or refused, never corrected."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from email.message import Message
from typing import Annotated, Protocol, TypeVar

from pydantic import AfterValidator, Field, ValidationError

from ast_edge.errors import UsageError
from ast_edge.line.config.options import Name, Options

MOST_BODY = 4096


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must have printable characters only")
    return text


_Text = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printable)]
_Body = TypeVar("_Body", bound=Options)


class TriggerBody(Options):
    """A part was there at `sent_ms`, UNIX time in milliseconds by the sender's clock."""

    id: _Text | None = None
    encoder: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    sent_ms: Annotated[float, Field(ge=0, lt=1e14)] | None = None


class RecipeBody(Options):
    """Another recipe is wanted."""

    name: Name
    operator: _Text


class RollbackBody(Options):
    """The recipe of before is wanted."""

    operator: _Text


class RefusedError(UsageError):
    """A body that is not read, with the status that says so."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Reads(Protocol):
    """A stream."""

    def read(self, size: int) -> bytes:
        """So many bytes, or fewer at its end."""


def read_body(headers: Message, stream: Reads) -> bytes:
    """The whole body. Raises RefusedError where it is no JSON, too large, cut off, or of unclear length."""
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(415, "Content-Type must be application/json")
    lengths = headers.get_all("Content-Length", [])
    if "Transfer-Encoding" in headers or len(lengths) > 1:
        # Two lengths, and a proxy may see another request than we do.
        raise RefusedError(400, "one Content-Length is needed, and no Transfer-Encoding")
    length = lengths[0] if lengths else ""
    if not length.isascii() or not length.isdigit():
        raise RefusedError(411, "Content-Length is needed")
    if len(length) > 9 or int(length) > MOST_BODY:
        raise RefusedError(413, f"the body may have {MOST_BODY} bytes")
    body = stream.read(int(length))
    if len(body) < int(length):
        raise RefusedError(400, f"the body was cut off: {len(body)} of {length} bytes came")
    return body


def parse(kind: type[_Body], body: bytes) -> _Body:
    """The body as what it must be. Raises UsageError for anything else: `true` is no number, nor is "5"."""
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
    """As JSON that every reader understands: numbers that are not finite are null."""
    return json.dumps(_finite(content), default=str, allow_nan=False).encode() + b"\n"


def _once(pairs: list[tuple[str, object]]) -> None:
    keys = [key for key, _ in pairs]
    if len(keys) != len(set(keys)):
        raise ValueError("a key is there twice")


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
