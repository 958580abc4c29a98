"""Formatting of help: switches show no type, and `--help-all` prints the help of every command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


def _without_types(params: list[Any]) -> list[Any]:
    """Return the parameters with an empty type for switches, where Typer prints `<bool>`."""
    for param in params:
        if getattr(param, "is_flag", False) and param.metavar is None:
            param.metavar = ""
    return params


class Command(TyperCommand):
    """A command whose switches show no type."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return options and arguments, including `--help`."""
        return _without_types(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands whose switches show no type."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return options, including `--help`."""
        return _without_types(super().get_params(ctx))


class App(typer.Typer):
    """A Typer app whose commands and groups are those of this module."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(cls=Group, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """Register a command."""
        return super().command(name, cls=Command, **settings)


def every_help(context: typer.Context) -> Iterator[str]:
    """Yield the help of a group and of all its commands, in order."""
    yield context.get_help()
    group: Any = context.command
    for name in group.list_commands(context) if isinstance(group, TyperGroup) else ():
        command = group.get_command(context, name)
        if command is not None:
            yield from every_help(command.context_class(command, info_name=name, parent=context))
