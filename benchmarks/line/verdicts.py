"""The outcome of a storm's parts: the PLC's journal compared with the archive's index."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ast_edge.line.archive.reading import ArchivedPart, ArchiveReader, Query
from benchmarks.line.plc import BLOCK, REJECT_COIL, VERDICTS
from benchmarks.line.storm import Storm, Window

# A part that was photographed before the camera died may pass; a coil may be a request late.
_GRACE_NS = 500_000_000
_COIL_NS = 2_000_000_000
_KILLED_NS = 2_000_000_000
_ON_THE_WIRE_NS = 500_000_000  # the PLC notes a request this long after the kill of who sent it
_STEADY_MB = 30.0
_SHOWN = 50
# What keeps the station from writing a coil in time.
_NO_COIL = ("plc", "SIGKILL", "SIGTERM", "stopped", "starved", "slow_plc", "silent_plc")


@dataclass
class Ledger:
    """Triggers and verdicts as seen by the PLC; times in nanoseconds of CLOCK_MONOTONIC."""

    triggers: dict[int, int]
    verdicts: dict[int, list[tuple[int, str]]]


def judge(storm: Storm) -> dict[str, Any]:
    """Return every figure of the storm, and `problems`: a list of sentences that must be empty."""
    ledger = read_plc(storm)
    rows = read_archive(storm)
    problems = [*one_each(ledger), *agree(ledger, rows, storm.windows), *unseen(ledger, storm.windows)]
    missed = reported_missed(storm.folder / "station.log", rows)
    problems += coils(ledger, storm, missed)
    pictures, wrong = own_pictures(storm)
    problems += wrong
    memory, grown = memory_of(storm)
    problems += grown
    given = Counter(found[0][1] for found in ledger.verdicts.values())
    return {
        "problems": problems[:_SHOWN],
        "problem_kinds": dict(Counter(re.sub(r"[0-9]+", "N", problem) for problem in problems)),
        "seconds": round(storm.memory[-1][0], 1),
        "faults": dict(Counter(window.kind for window in storm.windows)),
        "parts": len(ledger.triggers),
        "verdicts": dict(given),
        "pictures": pictures,
        "fault_reasons": dict(Counter(row.reason for row in rows if row.verdict == "fault").most_common(20)),
        "late_at_the_gate": len(missed),
        "told_again": sum(len(found) - 1 for found in ledger.verdicts.values()),
        "archive_rows": len(rows),
        "broker_parts": len({part["part_id"] for part in storm.broker.parts}),
        "station_ends": [f"{what}: exit code {code}" for what, code in storm.ends],
        "memory_mb": memory,
    }


def read_plc(storm: Storm) -> Ledger:
    """Read the PLC's journal."""
    triggers = {event["counter"]: event["at_ns"] for event in storm.plc.events("trigger")}
    verdicts: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for written in storm.plc.results(BLOCK):
        verdicts[written.id].append((written.at_ns, VERDICTS.get(written.verdict, str(written.verdict))))
    return Ledger(triggers, verdicts)


def read_archive(storm: Storm) -> list[ArchivedPart]:
    """Every row."""
    with ArchiveReader(storm.disk / "archive") as archive:
        return list(archive.oldest_first(Query()))


def one_each(ledger: Ledger) -> list[str]:
    """Check that every trigger has a verdict, and never two different ones."""
    problems = [
        f"part {number} has no verdict" for number in ledger.triggers if number not in ledger.verdicts
    ]
    for number, found in ledger.verdicts.items():
        if number not in ledger.triggers:
            problems.append(f"part {number} was never triggered")
        if len({verdict for _, verdict in found}) > 1:
            problems.append(f"part {number} has several verdicts: {found}")
    return problems


def agree(ledger: Ledger, rows: list[ArchivedPart], windows: list[Window]) -> list[str]:
    """The archive says what the PLC heard last.

    A part just before a kill may be missing in it, or be there twice: its row was written and its verdict not
    yet sent, and the next run reported it as missed. That may be long before, while the PLC is not reached.
    """
    problems = []
    archived: dict[int, list[str]] = defaultdict(list)
    for row in rows:
        if row.external_id is not None:
            archived[int(row.external_id)].append(row.verdict)
        if row.verdict == "pass" and (
            row.score is None or row.threshold is None or row.score > row.threshold
        ):
            problems.append(f"part {row.external_id} passed with the score {row.score}: {row.reason}")
    kills = [window.start_ns for window in windows if window.kind == "SIGKILL"]
    for number, found in ledger.verdicts.items():
        verdicts = archived.get(number, [])
        moments = (ledger.triggers.get(number, found[0][0]), found[0][0])
        killed = any(
            kill - _KILLED_NS <= at_ns <= kill + _ON_THE_WIRE_NS for kill in kills for at_ns in moments
        )
        arrived_ns, (heard_ns, heard) = ledger.triggers.get(number), found[0]
        unsent = arrived_ns is not None and any(arrived_ns <= kill <= heard_ns for kill in kills)
        if len(verdicts) > (2 if killed or (unsent and heard == "fault") else 1):
            problems.append(f"part {number} is {len(verdicts)} times in the archive")
        if verdicts and verdicts[-1] != found[-1][1]:
            problems.append(f"part {number}: the PLC heard {found[-1][1]}, the archive {verdicts[-1]}")
        if not verdicts and not killed and found[0][1] != "fault":
            problems.append(f"part {number} ({found[0][1]}) is not in the archive")
    return problems


def unseen(ledger: Ledger, windows: list[Window]) -> list[str]:
    """No part passed or was rejected that was triggered while the camera was off or the engine failed."""
    problems = []
    for window in windows:
        if window.kind not in ("camera", "engine_raise"):
            continue
        for number, at_ns in ledger.triggers.items():
            if window.start_ns + _GRACE_NS <= at_ns <= window.end_ns - _GRACE_NS:
                verdict = ledger.verdicts.get(number, [(0, "none")])[0][1]
                if verdict not in ("fault", "none"):
                    problems.append(f"part {number} is a {verdict}, judged while: {window.kind}")
    return problems


def own_pictures(storm: Storm) -> tuple[dict[str, int], list[str]]:
    """Check that every verdict came from a picture of its own part, by the number in the pixels."""
    checked, problems = 0, []
    for line in storm.witness.read_text(encoding="ascii").splitlines():
        try:
            seen = json.loads(line)
        except ValueError:
            continue  # truncated by a kill
        if seen["verdict"] == "fault":
            continue
        checked += 1
        if seen["picture"] != seen["part"]:
            problems.append(f"part {seen['part']} was judged by a picture of {seen['picture']}")
    return {"judged": checked, "of_another_part": len(problems)}, problems


def reported_missed(log: Path, rows: list[ArchivedPart]) -> set[int]:
    """Return the parts whose pulse the station reported as missed: they were late at the gate."""
    ids = {(row.run, row.number): int(row.external_id) for row in rows if row.external_id is not None}
    missed: set[int] = set()
    run = ""
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue  # truncated by a kill
        run = said.get("run", run)
        if said.get("event") == "output":
            missed |= {ids[run, number] for number in said.get("parts", ()) if (run, number) in ids}
    return missed


def coils(ledger: Ledger, storm: Storm, missed: set[int]) -> list[str]:
    """Check that every reject and fault reported while its trigger was fresh had the reject coil on.

    On a busy machine a part may be late at the gate: the station must have reported it as `missed`.
    """
    pulses = storm.plc.pulses(REJECT_COIL)
    problems = []
    for number, found in ledger.verdicts.items():
        reported_ns, verdict = found[0]
        at_ns = ledger.triggers.get(number, reported_ns)
        # While PLC or station were off nothing could be written, and a pulse that is too late is never fired.
        off = any(
            window.start_ns - _COIL_NS <= at_ns <= window.end_ns + _COIL_NS
            for window in storm.windows
            if window.kind in _NO_COIL
        )
        if (
            verdict == "pass"
            or off
            or number in missed
            or reported_ns - at_ns > storm.deadline_ms * 1e6 + _GRACE_NS
        ):
            continue
        if not any(on <= reported_ns + _COIL_NS and (off is None or off >= at_ns) for on, off in pulses):
            problems.append(f"part {number} is a {verdict}, and the coil stayed off")
    return problems


def memory_of(storm: Storm) -> tuple[dict[str, float], list[str]]:
    """Return the memory of the station that lived longest: at a third of its life, and at the end."""
    lives: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for seconds, pid, megabytes in storm.memory:
        lives[pid].append((seconds, megabytes))
    longest = max(lives.values(), key=lambda life: life[-1][0] - life[0][0])
    third = longest[len(longest) // 3 :]
    early, late = (
        max(mb for _, mb in third[: len(third) // 2 + 1]),
        max(mb for _, mb in third[len(third) // 2 :]),
    )
    figures = {
        "lived_s": round(longest[-1][0] - longest[0][0], 1),
        "middle_third": round(early, 1),
        "last_third": round(late, 1),
        "most_of_all": round(max(mb for _, _, mb in storm.memory), 1),
    }
    grown = [f"memory grew from {early:.0f} to {late:.0f} MB"] if late > early + _STEADY_MB else []
    return figures, grown
