"""What line.toml may contain, from the classes that read it: for people, for the docs, and as JSON Schema.

What a key means stands in the docstring of its class, in the sentences that name it in backticks.
"""

from __future__ import annotations

import enum
import inspect
import json
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from ast_edge.errors import UsageError
from ast_edge.line.config.options import Options, Secret
from ast_edge.wording import meant


@dataclass(frozen=True)
class Key:
    """One key: its section's path such as `trigger.sensor`, the section's class, its name and field."""

    path: str
    section: type[Options]
    name: str
    field: FieldInfo


def keys(config: type[Options]) -> list[Key]:
    """All keys in the order of the file, those of a table after it, each class of a section once."""
    found = (key for name, field in config.model_fields.items() for key in _below(name, field.annotation))
    return list({(key.path, key.section, key.name): key for key in found}.values())


def _below(path: str, annotation: Any) -> Iterator[Key]:
    for section in sections(annotation):
        for name, field in section.model_fields.items():
            yield Key(path, section, name, field)
            yield from _below(f"{path}.{name}", field.annotation)


def sections(annotation: Any) -> Iterator[type[Options]]:
    """The classes of the tables that a value may be; secrets are values."""
    if isinstance(annotation, type) and issubclass(annotation, Options) and annotation is not Secret:
        yield annotation
    for argument in get_args(annotation):
        yield from sections(argument)


def kind_of(section: type[Options]) -> str | None:
    """The value of `kind` that selects this class of a section; None if there is only one."""
    field = section.model_fields.get("kind")
    return None if field is None else str(get_args(field.annotation)[0])


def meaning(section: type[Options], name: str) -> str:
    """The sentences about a key in the docstring of a section's class, or else of one that it extends."""
    for kind in section.__mro__:
        found = [sentence for sentence in _sentences(kind) if _names(sentence, name)]
        if found or kind is Options:
            return " ".join(found)
    return ""


def introduction(section: type[Options]) -> str:
    """The section's docstring without the sentences about its keys, which stand with them."""
    about_none = (
        sentence
        for sentence in _sentences(section)
        if not any(_names(sentence, name) for name in section.model_fields)
    )
    return " ".join(about_none)


def _sentences(kind: type) -> list[str]:
    text = " ".join(inspect.cleandoc(kind.__doc__ or "").split())
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", text)


def _names(sentence: str, name: str) -> bool:
    return f"`{name}`" in sentence


def explain(config: type[Options], asked: str) -> str:
    """Describe a section or a key in words: `timing`, `trigger.poll_ms`, or `poll_ms` wherever it occurs.

    Raises UsageError for one that there is not.
    """
    every = keys(config)
    inside = [key for key in every if key.path == asked]
    if inside:
        return "\n\n".join(
            _explained(section, inside) for section in dict.fromkeys(key.section for key in inside)
        )
    found = [key for key in every if asked in {key.name, f"{key.path}.{key.name}"}]
    if not found:
        known = {name for key in every for name in (key.path, f"{key.path}.{key.name}", key.name)}
        raise UsageError(
            f"--explain {asked}: line.toml has no such section or key.{meant(asked, sorted(known))} Its "
            f"sections are {', '.join(config.model_fields)}."
        )
    return "\n\n".join(
        f"{_title(key.path, key.section)}\n{_line(key)}\n{meaning(key.section, key.name)}" for key in found
    )


def _explained(section: type[Options], inside: list[Key]) -> str:
    own = [key for key in inside if key.section is section]
    about = inspect.cleandoc(section.__doc__ or "")
    return "\n".join([_title(own[0].path, section), about, "", *(_line(key) for key in own)])


def _title(path: str, section: type[Options]) -> str:
    kind = kind_of(section)
    return f"[{path}]" if kind is None else f'[{path}] with kind = "{kind}"'


def _line(key: Key) -> str:
    given = default(key.field)
    said = {"": "", "required": ", required", "none": ""}.get(given, f", default {given}")
    return f"{key.name}: {allowed(key.field)}{said}".replace("`", "")


def schema(config: type[Options]) -> str:
    """The JSON Schema of the file, with which editors complete and check it."""
    found = config.model_json_schema()
    found["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    found["title"] = "line.toml of ast-edge"
    named = {key.section.__name__: key.section for key in keys(config)}
    for name, definition in found.get("$defs", {}).items():
        for key, about in definition.get("properties", {}).items():
            about.pop("title", None)
            said = meaning(named[name], key) if name in named else ""
            if said:
                about["description"] = said
    return json.dumps(found, indent=1)


def allowed(field: FieldInfo) -> str:
    """Which values a key may have, in words; literals in backticks."""
    bounds = " ".join(filter(None, map(_bound, field.metadata)))
    return f"{_words(field.annotation)} {bounds}".strip()


def _bound(limit: Any) -> str:
    for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        value = getattr(limit, name, None)
        if value is not None:
            return f"{sign} {value:g}" if isinstance(value, float) else f"{sign} {value}"
    return ""


def _words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{json.dumps(word)}`" for word in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(each) for each in arguments if each is not type(None))
    if hasattr(annotation, "__metadata__"):
        bounds = " ".join(filter(None, map(_bound, _flat(annotation.__metadata__))))
        return f"{_words(arguments[0])} {bounds}".strip()
    if origin in (tuple, list):
        return f"list of {_words(arguments[0])}"
    if origin is dict:
        return f"table of {_words(arguments[1])}"
    return _plain(annotation)


def _flat(metadata: tuple[Any, ...]) -> Iterator[Any]:
    for each in metadata:
        if isinstance(each, FieldInfo):
            yield from each.metadata
        else:
            yield each


def _plain(kind: Any) -> str:
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Path": "path"}
    if isinstance(kind, type) and issubclass(kind, Options):
        return "secret: `{ env = ... }` or `{ file = ... }`" if kind is Secret else "table"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return " or ".join(f'`"{each.value}"`' for each in kind)
    return names.get(getattr(kind, "__name__", ""), re.sub(r"\W+", " ", str(kind)))


def default(field: FieldInfo) -> str:
    """A key's default as in the file, in backticks; `required`, `none`, or nothing for a table."""
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, Options):
        return ""
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
