"""The command line `ast-edge`.

Results go to stdout, messages to stderr, and errors are printed in one place, `main`. This package imports
nothing heavy: commands import what they need when they run, which keeps `ast-edge --help` fast.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from ast_edge import __version__
from ast_edge.cli import (
    archiving,
    auditing,
    benchmarking,
    collecting,
    comparing,
    doctoring,
    runtime,
    training,
)
from ast_edge.cli import line as line_command
from ast_edge.cli.help import App, every_help
from ast_edge.cli.saying import echo
from ast_edge.cli.wrong_usage import usage_text
from ast_edge.errors import AstEdgeError, sentence
from ast_edge.wording import install_hint

INTERRUPTED = 130
# Packages that may be missing on a machine, and the extra of pyproject.toml that installs each.
_EXTRA_OF = {
    **dict.fromkeys(("cv2", "onnxruntime"), "cpu"),
    **dict.fromkeys(
        (
            *("FrEIA", "huggingface_hub", "jinja2", "onnx", "onnxsim"),
            *("scipy", "sklearn", "timm", "torch"),
        ),
        "train",
    ),
    **dict.fromkeys(("pyarrow", "sqlalchemy"), "mes"),
}

app = App(
    name="ast-edge",
    help="Train on pictures of good parts, export one ONNX model, inspect on the line.",
    add_completion=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        echo(f"ast-edge {__version__}")
        raise typer.Exit


def _print_every_help(context: typer.Context, wanted: bool) -> None:
    if wanted:
        for page in every_help(context):
            typer.echo(page)
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    _help_all: Annotated[
        bool,
        typer.Option(
            "--help-all", callback=_print_every_help, is_eager=True, help="Show the help of every command."
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


# In workflow order: help lists the commands in this order.
collecting.register(app)
training.register(app)
runtime.register(app)
comparing.register(app)
benchmarking.register(app)
line_command.register(app)
archiving.register(app)
auditing.register(app)
doctoring.register(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` defaults to the arguments of the process.

    Every error is printed here as one line on stderr. Exit codes: 2 wrong usage, 1 refused file or failed
    check, 130 Ctrl-C.
    """
    _print_any_path()
    try:
        code = app(arguments, prog_name="ast-edge", standalone_mode=False)
    except AstEdgeError as exc:
        return _fail(str(exc), exc.exit_code)
    except typer.TyperException as exc:
        context = getattr(exc, "ctx", None)
        # An option without its value has no context.
        command = (
            _command_in(sys.argv[1:] if arguments is None else arguments)
            if context is None
            else context.command_path
        )
        return _fail(f"{usage_text(exc)} Try '{command} --help'.", exc.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except Exception as exc:  # noqa: BLE001  a user never sees a traceback that was not asked for
        return _unforeseen(exc)
    if code == INTERRUPTED:
        return _fail("interrupted.", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _command_in(arguments: Sequence[str]) -> str:
    """The command that the first arguments name."""
    found, commands = "ast-edge", getattr(typer.main.get_command(app), "commands", {})
    for word in arguments:
        if word not in commands:
            break
        found, commands = f"{found} {word}", getattr(commands[word], "commands", {})
    return found


def _unforeseen(exc: Exception) -> int:
    """Report an exception that no module handles: a missing package, a file system error, else a bug."""
    if isinstance(exc, ModuleNotFoundError) and (extra := _extra_of(exc.name)):
        return _fail(_how_to_install(exc.name, extra), 1)
    if isinstance(exc, OSError):
        return _fail(f"{sentence(exc)}; check the path, its permissions and the free disk space.", 1)
    return _report_bug(exc)


def _extra_of(module: str | None) -> str | None:
    return _EXTRA_OF.get((module or "").split(".")[0])


def _how_to_install(module: str | None, extra: str) -> str:
    sentence = (
        f"this command needs the Python package {module}, which is not installed; run {install_hint(extra)}"
    )
    if module == "cv2":
        sentence += (
            " (on a Jetson it comes with JetPack: use a virtual environment with --system-site-packages)"
        )
    return f"{sentence}."


def _fail(sentence: str, code: int) -> int:
    one_line = " ".join(line.strip() for line in sentence.splitlines())
    echo(f"ast-edge: error: {one_line}", err=True)
    return code


def _report_bug(exc: Exception) -> int:
    if os.environ.get("AST_EDGE_DEBUG") == "1":
        traceback.print_exc()
    what = f"internal error {type(exc).__name__}: {exc}"
    return _fail(f"{what}; please report it; set AST_EDGE_DEBUG=1 to see the traceback.", 1)


def _print_any_path() -> None:
    """Let stdout print file names that its encoding cannot represent, as stderr already does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
