"""Small sealed JSON files beside a model or an engine, written whole and read with every check."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ast_edge.errors import ModelError, reason
from ast_edge.files import write_text
from ast_edge.model.seal import seal_holds, sealed
from ast_edge.wording import first_problem

MAX_BYTES = 64 << 10
_Record = TypeVar("_Record", bound=BaseModel)


def read_sealed(path: Path, kind: type[_Record], refused: Callable[[str], ModelError]) -> _Record | None:
    """The record at `path`, None where there is no file: one JSON object under 64 KiB whose seal holds.

    Raises what `refused` makes of the reason for which a file cannot be read or is damaged.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise refused(f"it cannot be read ({reason(exc)})") from exc
    if len(data) > MAX_BYTES:
        raise refused(f"it has more than {MAX_BYTES} bytes")
    try:
        content = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as exc:
        raise refused(f"it cannot be read as JSON ({exc})") from exc
    if not isinstance(content, dict) or not seal_holds(data):
        raise refused("it was changed after it was written (its digest does not match)")
    content.pop("digest")
    try:
        return kind.model_validate(content)
    except ValidationError as exc:
        key, said = first_problem(exc)
        raise refused(f"key '{key}': {said}") from exc


def write_sealed(path: Path, record: BaseModel, refused: Callable[[str], ModelError]) -> None:
    """Write a record so that `read_sealed` takes it; atomic. Raises what `refused` makes of the reason."""
    try:
        write_text(path, sealed(record.model_dump(mode="json"), indent=1) + "\n")
    except OSError as exc:
        raise refused(reason(exc)) from exc
