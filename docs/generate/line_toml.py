"""line.toml, from the classes that read it."""

from __future__ import annotations

import enum
import json
import re
import types
from collections.abc import Iterator
from importlib import resources
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from ast_edge.line.config.options import Options
from ast_edge.line.service.config import LineConfig
from docs.generate.markdown import code, docstring, table

HEAD = """# line.toml

Generated from the classes that read the file. An unknown key is an error, a value is never corrected, and
every error names file, line and key; `ast-edge run --check line.toml` tries the whole station. Relative paths
are relative to the file's folder.

"""


def page() -> str:
    """Every section with its keys, then the shipped examples."""
    parts = [HEAD]
    for name, field in LineConfig.model_fields.items():
        kinds = list(_sections(field.annotation))
        repeated = "tuple" in str(field.annotation)
        title = f"[[{name}]]" if repeated else f"[{name}]"
        parts.append(f"## {title} {{ #{name} }}\n")
        parts.append(f"{_presence(field, repeated=repeated)}\n")
        for kind in kinds:
            if len(kinds) > 1:
                parts.append(f'### kind = "{_kind(kind)}" {{ #{name}-{_kind(kind)} }}\n')
            parts.append(_section(kind))
    parts.append("## Examples\n\nAs `ast-edge run --example NAME` prints them.\n")
    parts += [_example(file) for file in sorted(_example_files())]
    return "\n".join(parts)


def _presence(field: FieldInfo, *, repeated: bool) -> str:
    if field.is_required():
        return "Required."
    if repeated:
        return "May be given several times, or left out."
    return "Off when left out." if field.default is None else "May be left out; the defaults then apply."


def _section(kind: type[Options], *, depth: int = 0) -> str:
    rows, inner = [], []
    for name, field in kind.model_fields.items():
        sections = [each for each in _sections(field.annotation) if each is not kind]
        shown = code(name)
        rows.append((shown, _type(field), _default(field)))
        inner += [(name, each) for each in sections if each.__name__ != "Secret"]
    parts = [docstring(kind) + "\n", table(("key", "value", "default"), rows), ""]
    for name, each in inner:
        if depth < 2:
            parts.append(f"**`{name}`** is a table:\n\n{_section(each, depth=depth + 1)}")
    return "\n".join(parts)


def _sections(annotation: Any) -> Iterator[type[Options]]:
    if isinstance(annotation, type) and issubclass(annotation, Options):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections(argument)


def _kind(section: type[Options]) -> str:
    return str(get_args(section.model_fields["kind"].annotation)[0])


def _type(field: FieldInfo) -> str:
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
        return " or ".join(code(json.dumps(word)) for word in arguments)
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
        return "secret: `{ env = ... }` or `{ file = ... }`" if kind.__name__ == "Secret" else "table"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return " or ".join(code(f'"{each.value}"') for each in kind)
    return names.get(getattr(kind, "__name__", ""), re.sub(r"\W+", " ", str(kind)))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, Options):
        return ""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, str):
        return code(f'"{value}"')
    return code(f"{value:g}" if isinstance(value, float) else value) if value != () else "none"


def _example_files() -> list[str]:
    folder = resources.files("ast_edge.line.examples")
    return [entry.name for entry in folder.iterdir() if entry.name.endswith(".toml")]


def _example(name: str) -> str:
    text = (resources.files("ast_edge.line.examples") / name).read_text(encoding="utf-8")
    return f"### {name.removesuffix('.toml')}\n\n```toml\n{text.rstrip()}\n```\n"
