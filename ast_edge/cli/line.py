"""The command `ast-edge run`, which runs a station."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from ast_edge.cli.saying import echo
from ast_edge.errors import UsageError
from ast_edge.line.examples import Example

_LAST_WORDS_S = 1.0


def register(app: typer.Typer) -> None:
    """Add the station's command to `app`."""
    app.command()(run)


def run(
    config: Annotated[
        Path | None, typer.Argument(metavar="LINE_TOML", help="Configuration of the line.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Open all devices, inspect one frame, report and exit.")
    ] = False,
    parts: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Exit after N verdicts [runs until SIGTERM].")
    ] = None,
    example: Annotated[
        Example | None,
        typer.Option(
            help="Print an example: a line.toml, a PLC's data block or tags, or the systemd unit; and exit."
        ),
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Explain a section or key of line.toml, such as timing, and exit."),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of line.toml for editors, and exit.")
    ] = False,
) -> None:
    """Run a station: inspect each triggered part and report its verdict; an unjudged part never passes.

    Every trigger gets exactly one verdict: pass, reject or fault; a fault actuates the reject output too.
    On SIGTERM or Ctrl-C the station stops after the last parts were judged and their verdicts reported.
    """
    if example is not None:
        from ast_edge.line.examples import read_example

        echo(read_example(example), nl=False)
        return
    if explain is not None or schema:
        from ast_edge.line.config import explain as reference
        from ast_edge.line.service.config import LineConfig

        echo(reference.schema(LineConfig) if explain is None else reference.explain(LineConfig, explain))
        return
    if config is None:
        raise UsageError("give a configuration file, or --example to print one.")
    if check:
        _check(config)
        return
    from ast_edge.line.service.config import read_config
    from ast_edge.line.service.running import run_until_stopped

    balance = run_until_stopped(read_config(config), parts)
    counts = ", ".join(f"{balance.verdicts.get(name, 0)} {name}" for name in ("pass", "reject", "fault"))
    _say_at_the_end(f"{balance.triggers} parts: {counts}")
    if not balance.balanced or balance.open:
        raise typer.Exit(1)


def _say_at_the_end(text: str) -> None:
    """Print the last line; a reader that stalls delays the end of the process by at most a second."""
    speaker = threading.Thread(target=_write_out, args=(f"{text}\n".encode(),), daemon=True)
    speaker.start()
    speaker.join(_LAST_WORDS_S)


def _write_out(data: bytes) -> None:
    """Write to stdout, bypassing Python's stream, whose lock the end of the process waits for."""
    sys.stdout.flush()
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # stdout was replaced by the caller
        echo(data.decode(), nl=False)
        return
    with contextlib.suppress(OSError):
        os.write(descriptor, data)


def _check(path: Path) -> None:
    """Print a line for each check; exit with 1 if one found a problem."""
    from ast_edge.line.service.check import check
    from ast_edge.line.service.config import read_config

    bad = 0
    for finding in check(read_config(path)):
        echo(f"{'ok     ' if finding.ok else 'problem'}  {finding.what}: {finding.found}")
        bad += not finding.ok
    echo(f"{path}: " + (f"{bad} problems" if bad else "the line can run"))
    if bad:
        raise typer.Exit(1)
