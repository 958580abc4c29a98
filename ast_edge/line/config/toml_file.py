"""Reading TOML files, with the key and the line in every error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from ast_edge.errors import LineError, reason
from ast_edge.wording import meant, problem

if sys.version_info >= (3, 11):
    import tomllib
else:  # the same parser under its former name
    import tomli as tomllib

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_BYTES = 65_536
_SHOWN = 5
_Model = TypeVar("_Model", bound=BaseModel)
_Key = str | int


def read_toml(path: Path, model: type[_Model]) -> _Model:
    """Read the file as `model`. Raises LineError with file, line and key of up to five problems."""
    text = _text(path)
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise LineError(f"{path}: not valid TOML: {exc}.") from exc
    try:
        return model.model_validate(content)
    except ValidationError as exc:
        problems = [_problem(path, text, content, error, model) for error in exc.errors(include_url=False)]
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        said = "; ".join(problems[:_SHOWN]) + more
        raise LineError(said if said.endswith("?") else f"{said}.") from exc


def line_of(text: str, keys: Sequence[_Key]) -> int:
    """Return the line, counted from 1, of the value at `keys`; `text` is valid TOML that contains it.

    It is the first line after the longest prefix of the text that is valid TOML without the value.
    """
    if not keys:
        return 1
    lines = text.splitlines(keepends=True)
    last_without = 0
    for count in range(1, len(lines) + 1):
        try:
            content = tomllib.loads("".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue  # inside a multi-line value
        if _has(content, keys):
            break
        last_without = count
    return last_without + 1


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as exc:
        raise LineError(f"{path}: cannot be read ({reason(exc)}); check path and permissions.") from exc
    if len(data) > MAX_BYTES:
        raise LineError(f"{path}: larger than {MAX_BYTES} bytes; this is not a station's configuration.")
    try:
        return data.decode("utf-8-sig")  # some editors write a byte-order mark
    except UnicodeDecodeError as exc:
        raise LineError(f"{path}: not UTF-8 text ({exc.reason} at byte {exc.start}).") from exc


def _problem(path: Path, text: str, content: object, error: ErrorDetails, model: type[BaseModel]) -> str:
    where, kind = error["loc"], error["type"]
    known = _known(content, where)
    name = _dotted([*known, where[-1]] if kind == "missing" else known) or "the file"
    said = problem(error)
    if kind == "extra_forbidden":
        said = _unknown(error, meant(str(where[-1]), _keys_at(model, where[:-1])))
    return f"{path}:{line_of(text, known)}: {name}: {said}"


def _unknown(error: ErrorDetails, guess: str) -> str:
    what = "section" if isinstance(error["input"], dict) else "key"
    return f"there is no such {what}" + (f".{guess}" if guess else "")


def _keys_at(model: type[BaseModel], where: Sequence[_Key]) -> set[str]:
    """Return the keys allowed in the section at `where`."""
    models = {model}
    for key in where:
        inner = {
            found
            for one in models
            if str(key) in one.model_fields
            for found in _models_in(one.model_fields[str(key)].annotation)
        }
        models = inner or models  # pydantic puts the kind of a section, or a list index, between the keys
    return {name for one in models for name in one.model_fields}


def _models_in(annotation: object) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {found for part in get_args(annotation) for found in _models_in(part)}


def _known(content: object, where: Sequence[_Key]) -> list[_Key]:
    """Return the keys of `where` that the file has: pydantic puts the kind of a section between them."""
    found: list[_Key] = []
    for key in where:
        if isinstance(content, dict):
            if key not in content:
                continue
            content = content[key]
        elif isinstance(content, list) and isinstance(key, int) and key < len(content):
            content = content[key]
        else:
            continue
        found.append(key)
    return found


def _has(content: object, keys: Sequence[_Key]) -> bool:
    return len(_known(content, keys)) == len(keys)


def _dotted(keys: Sequence[_Key]) -> str:
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text
