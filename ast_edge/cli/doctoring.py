"""The command `ast-edge doctor`: check what this machine has and what it lacks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from ast_edge.cli.runtime import JsonOption
from ast_edge.cli.saying import echo
from ast_edge.errors import BackendError

if TYPE_CHECKING:
    from ast_edge.doctor.finding import Finding


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(doctor)


def doctor(as_json: JsonOption = False) -> None:
    """Check this machine: engines, cameras, GPIO, network, clocks, and how to fix what is missing.

    A note concerns something that not every station needs; a warning costs speed, frames or accurate time
    stamps; a problem means that something does not work. The exit code is 1 only if no engine is usable.
    Nothing is changed. Run as administrator, it sees more of a Jetson's clocks.
    """
    from ast_edge.doctor.examining import examine

    findings = examine()
    echo(_as_json(findings) if as_json else _as_text(findings))
    if findings[-1].level != "ok":
        raise BackendError(f"{findings[-1].what}: {findings[-1].found}. {findings[-1].fix}")


def _as_json(findings: Sequence[Finding]) -> str:
    possible = findings[-1].level == "ok"
    return json.dumps({"inspection": possible, "findings": [asdict(one) for one in findings]})


def _as_text(findings: Sequence[Finding]) -> str:
    """Format each finding as a line, followed by a line with the fix, if any."""
    lines = []
    for one in findings:
        lines.append(f"{one.level:<9}{one.what:<19}{one.found}")
        if one.fix:
            lines.append(f"{'':<28}-> {one.fix}")
    return "\n".join(lines)
