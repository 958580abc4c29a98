"""The only way to print: text from files and devices cannot control the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ast_edge.files import printable
from ast_edge.wording import escaped

if TYPE_CHECKING:
    from ast_edge.inspector import Inspector


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print `text` on stdout, or on stderr, with control characters shown as escapes."""
    typer.echo(escaped(text), err=err, nl=nl)


def say_choice(inspector: Inspector) -> None:
    """Tell on stderr why this engine, where that was left to a measurement."""
    if inspector.engine_choice is not None:
        echo(f"engine: {inspector.engine_choice}", err=True)


def command_of(name: str, arguments: Sequence[Path], given: Mapping[str, object]) -> str:
    """Return the command that repeats this one: options that are None were not given, True is a switch."""
    words = ["ast-edge", name, *map(printable, arguments)]
    for option, value in given.items():
        if value is not None:
            words.append(option)
        if value is not None and value is not True:
            words.append(printable(value) if isinstance(value, Path) else str(value))
    return shlex.join(words)
