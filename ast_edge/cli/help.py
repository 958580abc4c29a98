"""How help looks: a switch shows no type, and `--help-all` prints the help of every command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


def _without_types(params: list[Any]) -> list[Any]:
    """The parameters, with nothing in the place of a switch's type, where Typer says `<bool>`."""
    for param in params:
        if getattr(param, "is_flag", False) and param.metavar is None:
            param.metavar = ""
    return params


class Command(TyperCommand):
    """A command whose switches show no type."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Options and arguments, `--help` among them."""
        return _without_types(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands whose switches show no type."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Options, `--help` among them."""
        return _without_types(super().get_params(ctx))


class App(typer.Typer):
    """A Typer whose commands and groups are those of this module."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(cls=Group, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """Register a command."""
        return super().command(name, cls=Command, **settings)


def every_help(context: typer.Context) -> Iterator[str]:
    """The help of a group and of all commands in it, in the order of the list."""
    yield context.get_help()
    group: Any = context.command
    for name in group.list_commands(context) if isinstance(group, TyperGroup) else ():
        command = group.get_command(context, name)
        if command is not None:
            yield from every_help(command.context_class(command, info_name=name, parent=context))
