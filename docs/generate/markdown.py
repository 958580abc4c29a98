"""Pieces of Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. Line ends become spaces; bars are escaped, except in code, where that would show."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    cleaned = ([_escaped(" ".join(cell.split())) for cell in row] for row in rows)
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in cleaned)])


def _escaped(cell: str) -> str:
    return re.sub(r"(`[^`]*`)|\|", lambda found: found[1] or "\\|", cell)


def code(text: object) -> str:
    """Inline code; nothing for an empty text."""
    return f"`{text}`" if str(text) else ""


def docstring(thing: object) -> str:
    """A docstring as paragraphs; indented blocks keep their form."""
    return inspect.cleandoc(getattr(thing, "__doc__", None) or "")


def sentence(text: str) -> str:
    """The first sentence of a docstring."""
    first = text.partition("\n\n")[0]
    return re.split(r"(?<=\.)\s", " ".join(first.split()))[0]
