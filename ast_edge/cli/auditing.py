"""The command `ast-edge audit verify`: check that an audit log is unchanged."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ast_edge.cli.help import App
from ast_edge.cli.runtime import JsonOption
from ast_edge.cli.saying import echo
from ast_edge.errors import LineError, UsageError

if TYPE_CHECKING:
    from ast_edge.line.audit.chain import AuditReport

_DIGEST = re.compile(r"[0-9a-f]{64}")


def register(app: typer.Typer) -> None:
    """Add the commands about the audit log to `app`."""
    audit = App(help="The audit log of a station.")
    audit.command()(verify)
    audit.callback()(_group)
    app.add_typer(audit, name="audit")


def _group() -> None:
    """The audit log of a station."""


def verify(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="Audit log file of the station.")],
    head: Annotated[
        str | None,
        typer.Option(metavar="DIGEST", help="A head digest recorded earlier, which the log must contain."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove that no entry of an audit log was changed, removed, inserted or moved.

    Each entry holds the digest of the previous one, across all files of the log. The chain alone cannot show
    that the end was cut off between two entries or that the whole log was rewritten: record the head digest
    that this command prints in a safe place, and pass it with --head later. An entry truncated by a kill or a
    power failure is reported, but is not a finding once the station has set it aside at its next start.
    """
    from ast_edge.line.audit.chain import verify as prove

    if head is not None and not _DIGEST.fullmatch(head):
        raise UsageError("--head: expected 64 lowercase hexadecimal digits, as this command prints.")
    report = prove(log, head)
    echo(_as_json(log, report) if as_json else _as_text(log, report))
    if not report.ok:
        raise LineError(
            f"{log}: the audit log has been altered (findings: {len(report.findings)}, the first: "
            f"{report.findings[0].what}); keep the files and find out who had access to them."
        )


def _as_json(log: Path, report: AuditReport) -> str:
    return json.dumps({"path": str(log), "ok": report.ok, **asdict(report)}, allow_nan=False)


def _as_text(log: Path, report: AuditReport) -> str:
    from ast_edge.cli.reporting import table

    rows = [
        ("log", f"{log} ({len(report.files)} {'file' if len(report.files) == 1 else 'files'})"),
        ("entries", f"{report.entries}, the last is {report.last} at {report.last_time or 'unknown time'}"),
        ("head", report.head),
        ("torn", f"{report.torn} truncated by a kill or power failure, set aside"),
        ("missing", f"{report.missing} could not be written, as recorded in the log"),
        ("result", "unchanged" if report.ok else "altered"),
        *((f"{finding.file}:{finding.line}", f"  {finding.what}") for finding in report.findings),
    ]
    return table(rows)
