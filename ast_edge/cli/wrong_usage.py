"""What is said of a command line that Typer refuses: in the words of the project, with a guess."""

from __future__ import annotations

import re

import typer

from ast_edge.wording import meant, problem

_CHOICES = re.compile(r"'[^']*' is not one of (.*)\.")


def usage_text(exc: typer.TyperException) -> str:
    """One sentence or two. A value that Typer had pydantic refuse is described without pydantic's words."""
    if not isinstance(exc, typer.BadParameter) or exc.__cause__ is None:
        return exc.format_message()
    from pydantic import ValidationError

    if not isinstance(exc.__cause__, ValidationError):
        return exc.format_message()
    error = exc.__cause__.errors(include_url=False)[0]
    exc.message = problem(error)
    given = str(error["input"])
    choices = _CHOICES.fullmatch(exc.message)
    if choices is None:
        exc.message += f" (given: {given!r})."
    else:
        exc.message += meant(given, re.findall(r"'([^']*)'", choices[1]))
    return exc.format_message()
