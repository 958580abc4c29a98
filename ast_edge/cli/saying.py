"""The only way to print: text from files and devices cannot control the terminal."""

from __future__ import annotations

import typer

from ast_edge.wording import escaped


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print `text` on stdout, or on stderr, with control characters shown as escapes."""
    typer.echo(escaped(text), err=err, nl=nl)
