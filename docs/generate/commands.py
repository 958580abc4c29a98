"""The command line, from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from ast_edge.cli import app
from docs.generate.markdown import code, table

HEAD = """# Command line

Generated from the commands; `ast-edge COMMAND --help` prints the same.

Results go to standard output, progress and messages to standard error. Exit codes: 0 success, 1 a refused
file or a failed check, 2 wrong usage, 130 interrupted. Every error is one sentence that names what to do.
"""


def page() -> str:
    """Every command with its arguments and options."""
    group: Any = typer.main.get_command(app)
    return "\n".join([HEAD, *(_section(words, command) for words, command in _commands("ast-edge", group))])


def _commands(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield words, command
        return
    for name, child in children.items():
        yield from _commands(f"{words} {name}", child)


def _section(words: str, command: Any) -> str:
    context = command.make_context(words, [], resilient_parsing=True)
    parameters = [each for each in command.get_params(context) if not getattr(each, "hidden", False)]
    arguments = [each for each in parameters if each.param_type_name == "argument"]
    options = [each for each in parameters if each.param_type_name == "option" and each.name != "help"]
    usage = " ".join(command.get_usage(context).partition(":")[2].split())
    parts = [f"## {words}", "", command.help or "", "", "```text", usage, "```", ""]
    if arguments:
        rows = [(code(each.metavar or each.name.upper()), each.help or "") for each in arguments]
        parts += [table(("argument", "meaning"), rows), ""]
    if options:
        parts += [table(("option", "meaning"), [_option(each, context) for each in options]), ""]
    return "\n".join(parts)


def _option(option: Any, context: Any) -> tuple[str, str]:
    """As in the help, which adds defaults and bounds in brackets."""
    names, about = option.get_help_record(context)
    return code(names), about
