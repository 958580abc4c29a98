"""line.toml, from the classes that read it."""

from __future__ import annotations

from importlib import resources

from pydantic.fields import FieldInfo

from ast_edge.line.config.explain import allowed, default, introduction, kind_of, meaning, sections
from ast_edge.line.config.options import Options
from ast_edge.line.service.config import LineConfig
from docs.generate.markdown import code, table

HEAD = """# line.toml

Generated from the classes that read the file. An unknown key is an error, a value is never corrected, and
every error names file, line and key; `ast-edge run --check line.toml` tries the whole station. Relative paths
are relative to the file's folder. `ast-edge run --explain KEY` prints what stands here about a section or
key, and `ast-edge run --schema > line.schema.json` writes a JSON Schema with which editors complete keys.

"""


def page() -> str:
    """Every section with its keys, then the shipped examples."""
    parts = [HEAD]
    for name, field in LineConfig.model_fields.items():
        kinds = list(sections(field.annotation))
        repeated = "tuple" in str(field.annotation)
        title = f"[[{name}]]" if repeated else f"[{name}]"
        parts.append(f"## {title} {{ #{name} }}\n")
        parts.append(f"{_presence(field, repeated=repeated)}\n")
        for kind in kinds:
            if len(kinds) > 1:
                parts.append(f'### kind = "{kind_of(kind)}" {{ #{name}-{kind_of(kind)} }}\n')
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
        rows.append((code(name), allowed(field), default(field), meaning(kind, name)))
        inner += [(name, each) for each in sections(field.annotation) if each is not kind]
    parts = [introduction(kind) + "\n", table(("key", "value", "default", "meaning"), rows), ""]
    for name, each in inner:
        if depth < 2:
            parts.append(f"**`{name}`** is a table:\n\n{_section(each, depth=depth + 1)}")
    return "\n".join(parts)


def _example_files() -> list[str]:
    folder = resources.files("ast_edge.line.examples")
    return [entry.name for entry in folder.iterdir() if entry.name.endswith(".toml")]


def _example(name: str) -> str:
    text = (resources.files("ast_edge.line.examples") / name).read_text(encoding="utf-8")
    return f"### {name.removesuffix('.toml')}\n\n```toml\n{text.rstrip()}\n```\n"
