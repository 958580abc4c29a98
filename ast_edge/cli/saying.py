"""The only way to print: text from files and devices cannot control the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

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
