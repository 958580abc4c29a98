"""The audit log: entries are chained, bounded, and written in spite of errors and kills."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ast_edge.line.audit.chain import START, segments, verify
from ast_edge.line.audit.log import AuditLog, AuditOptions
from ast_edge.line.events import EventKind
from tests.line.archive.bench import fill, small_disk
from tests.paths import ROOT
from tests.waiting import wait_for


@contextmanager
def audit(path: Path, run: str = "run", rotate_mb: float = 10.0) -> Iterator[AuditLog]:
    log = AuditLog(AuditOptions(file=path, rotate_mb=rotate_mb), run)
    log.start()
    try:
        yield log
    finally:
        log.close(20.0)


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in segments(path) for line in file.read_bytes().splitlines()]


def kinds(path: Path) -> list[str]:
    return [entry["kind"] for entry in entries(path)]


def test_entries_are_written_in_order_and_chained(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "audit.jsonl"
    with audit(path, "run1") as log:
        log.tell("start", {"model_id": "m", "threshold": 0.5, "revision": 3})
        for name in ("a", "b"):
            log.tell("recipe", {"taken": name})
        assert log.flush(20)
        report = verify(path)
        assert (report.ok, report.entries, report.last, report.head) == (True, 3, 3, log.status.head)
        log.tell("stop", {})
    with audit(path, "run2") as log:
        log.tell("start", {})
    report = verify(path)
    assert (report.ok, report.entries, report.last, report.head) == (True, 5, 5, log.status.head)
    found = entries(path)
    assert [(one["n"], one["run"], one["kind"]) for one in found] == [
        (1, "run1", "start"),
        (2, "run1", "recipe"),
        (3, "run1", "recipe"),
        (4, "run1", "stop"),
        (5, "run2", "start"),
    ]
    assert found[0]["details"] == {"model_id": "m", "threshold": 0.5, "revision": 3}
    assert [one["previous"] for one in found] == [START, *(one["digest"] for one in found[:-1])]
    assert report.last_time == found[-1]["time"]


def test_the_digest_is_what_the_format_says(tmp_path: Path) -> None:
    """As a user would check it with sha256sum."""
    with audit(tmp_path / "log") as log:
        log.tell("operator", {"asked": "recipe bottle", "by": "Zoë"})
    (line,) = (tmp_path / "log").read_bytes().splitlines()
    body = re.sub(rb',"digest":"[0-9a-f]{64}"\}$', b"", line)
    assert json.loads(line)["digest"] == hashlib.sha256(body).hexdigest()
    assert line.isascii()
    assert list(json.loads(line)) == ["n", "time", "run", "kind", "details", "previous", "digest"]


def test_connections_are_not_for_the_audit_log(tmp_path: Path) -> None:
    reported: list[EventKind] = ["camera", "trigger", "output", "recipe", "failure"]
    with audit(tmp_path / "log") as log:
        for kind in reported:
            log.tell(kind, {})
    assert kinds(tmp_path / "log") == ["recipe", "failure"]


class Hostile:
    def __str__(self) -> str:
        raise ZeroDivisionError


def endless() -> dict[str, object]:
    inside: dict[str, object] = {}
    inside["inside"] = inside
    return inside


@pytest.mark.parametrize(
    "details",
    [
        {"a": math.nan, "b": math.inf, "c": np.float32(1.5), "d": Path("x"), "e": {1, 2}, "f": b"\xff"},
        {"text": "\ud800\n\r\u2028", "long": "x" * 100_000, "key\n": 1},
        {"many": list(range(100_000))},
        {"int": 1 << 70, "huge": 10**5000},
        {"hostile": Hostile()},
        endless(),
        {1: 2, None: 3, (4, 5): 6},
    ],
)
def test_any_details_become_one_line(tmp_path: Path, details: Mapping[str, object]) -> None:
    with audit(tmp_path / "log") as log:
        log.tell("operator", details)
        log.tell("operator", {"after": True})
    report = verify(tmp_path / "log")
    assert (report.ok, report.entries) == (True, 2)
    assert (tmp_path / "log").stat().st_size < 20_000


def test_full_files_are_renamed_and_the_chain_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for run in range(3):
        with audit(path, f"run{run}", rotate_mb=0.003) as log:
            for number in range(30):
                log.tell("operator", {"number": number})
                log.flush(20)
    report = verify(path)
    assert (report.ok, report.entries, report.last) == (True, 90, 90)
    assert len(report.files) > 5
    assert report.files[:2] == ("audit.jsonl.000001", "audit.jsonl.000002")
    assert all(file.stat().st_size < 4000 for file in segments(path))
    (tmp_path / "audit.jsonl.000002").unlink()
    assert "missing before entry" in verify(path).findings[0].what


def test_a_log_of_which_only_full_files_are_there_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with audit(path) as log:
        log.tell("start", {})
    path.rename(tmp_path / "audit.jsonl.000001")  # killed between the renaming and the next entry
    assert verify(path).ok
    with audit(path) as log:
        log.tell("stop", {})
    report = verify(path)
    assert (report.ok, report.entries, report.files) == (True, 2, ("audit.jsonl.000001", "audit.jsonl"))


def test_a_storm_of_failures_is_bounded_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with audit(path) as log:
        for number in range(5000):
            log.tell("failure", {"number": number})
        for number in range(100):
            log.tell("operator", {"number": number})
    report = verify(path)
    assert report.ok
    assert kinds(path).count("failure") == 60
    assert kinds(path).count("operator") == 100
    assert report.missing == log.status.missing == 4940


def test_more_than_can_wait_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(AuditOptions(file=path), "run")
    for number in range(1500):
        log.tell("operator", {"number": number})
    assert (log.status.waiting, log.status.missing) == (1000, 500)
    log.start()
    log.tell("operator", {"number": 1500})
    log.close(20)
    report = verify(path)
    assert report.ok
    assert report.missing == log.status.missing
    assert report.entries == 1000 + (1501 - 1000 - log.status.missing) + 1
    missing = next(one for one in entries(path) if one["kind"] == "missing")
    assert missing["details"]["kinds"] == {"operator": log.status.missing}


def test_tell_takes_no_time(tmp_path: Path) -> None:
    took = []
    with audit(tmp_path / "log") as log:
        for number in range(200):
            before = time.perf_counter_ns()
            log.tell("operator", {"number": number, "text": "some words"})
            took.append(time.perf_counter_ns() - before)
    assert sorted(took)[100] < 2e6


def test_close_is_for_once_and_needs_no_start(tmp_path: Path) -> None:
    before = threading.active_count()
    with audit(tmp_path / "log") as log:
        log.close(1)
        log.tell("stop", {})
        assert log.status.missing == 1
    unstarted = AuditLog(AuditOptions(file=tmp_path / "other"), "run")
    unstarted.tell("start", {})
    unstarted.close(1)
    assert unstarted.status.missing == 1
    assert threading.active_count() == before


def test_a_torn_end_is_put_aside_and_said(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with audit(path) as log:
        for number in range(3):
            log.tell("operator", {"number": number})
    whole = path.read_bytes()
    torn = whole.splitlines()[2][:50]
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]) + torn)
    report = verify(path)
    assert not report.ok
    assert "is incomplete" in report.findings[0].what
    with audit(path, "next") as log:
        log.tell("start", {})
    report = verify(path)
    assert (report.ok, report.torn, report.entries) == (True, 1, 4)
    assert kinds(path) == ["operator", "operator", "torn", "start"]
    details = entries(path)[2]["details"]
    assert (tmp_path / details["kept_in"]).read_bytes() == torn
    assert (details["bytes"], details["sha256"]) == (50, hashlib.sha256(torn).hexdigest())


def test_a_log_that_is_nothing_but_torn(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"\x00" * 300_000)
    with audit(path) as log:
        log.tell("start", {})
    assert verify(path).ok
    assert kinds(path) == ["torn", "start"]
    assert (tmp_path / "audit.jsonl.torn-1").read_bytes() == b"\x00" * 300_000


@pytest.mark.parametrize("bad", [b"not a line\n", b"\n", b'{"n":1}\n', b"\xff\xfe\r\r\n"])
def test_a_line_that_is_no_entry_stays_found_and_the_log_goes_on(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "audit.jsonl"
    with audit(path) as log:
        log.tell("start", {})
    path.write_bytes(path.read_bytes() + bad)
    with audit(path) as log:
        log.tell("stop", {})
    report = verify(path)
    assert [(finding.line, finding.what) for finding in report.findings] == [
        (2, "is not an entry of an audit log")
    ]
    assert report.last == 3


def test_two_processes_do_not_write_one_log(tmp_path: Path) -> None:
    with audit(tmp_path / "log", "first") as first, audit(tmp_path / "log", "second") as second:
        first.tell("start", {})
        assert first.flush(20)
        second.tell("start", {})
        wait_for(lambda: second.warnings)
        assert "another process writes this log" in second.warnings[0]
        first.close(20)
        assert second.flush(20)
        wait_for(lambda: not second.warnings)
    assert verify(tmp_path / "log").entries == 2


def test_a_log_that_was_removed_is_started_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with audit(path) as log:
        log.tell("start", {})
        assert log.flush(20)
        path.rename(tmp_path / "taken")
        log.tell("operator", {})
        assert log.flush(20)
        assert (verify(path).ok, verify(path).entries) == (True, 1)
        # Put back, it goes on from there.
        (tmp_path / "taken").replace(path)
        log.tell("stop", {})
    assert kinds(path) == ["start", "stop"]
    assert verify(path).ok


def test_a_full_disk(tmp_path: Path) -> None:
    reported: list[tuple[str, object]] = []
    with small_disk(tmp_path / "disk", "1m") as disk, audit(disk / "log") as log:
        log.report = lambda kind, details: reported.append((kind, details["change"]))
        log.tell("start", {})
        assert log.flush(20)
        filler = fill(disk)
        for number in range(1200):
            log.tell("operator", {"number": number})
        wait_for(lambda: log.warnings)
        assert "No space left on device" in log.warnings[0]
        assert verify(disk / "log").ok
        filler.unlink()
        assert log.flush(60)
        wait_for(lambda: not log.warnings)
        log.tell("stop", {})
        log.close(20)
        report = verify(disk / "log")
    assert report.ok
    assert 0 < report.missing == log.status.missing
    assert report.entries == 1 + 1200 - report.missing + 1 + 1
    assert reported == [("archive", "begin"), ("archive", "end")]


KILLED = """
import sys, time
from pathlib import Path
from ast_edge.line.audit.log import AuditLog, AuditOptions
log = AuditLog(AuditOptions(file=Path(sys.argv[1]), rotate_mb=0.02), sys.argv[2])
log.start()
for number in range(1_000_000):
    log.tell("operator", {"number": number, "text": "x" * (number % 500)})
    if number % 10 == 0:
        log.flush(60)
        print(number, flush=True)
"""


@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    rng = np.random.default_rng(3)
    for kill in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, path, f"run{kill}"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(float(rng.uniform(0, 0.3)))
            process.kill()
            on_disk = [int(line) for line in process.stdout if line.endswith(b"\n")]
        with audit(path, "after") as log:
            log.tell("start", {})
        report = verify(path)
        assert report.ok, report.findings
        numbers = [
            one["details"]["number"]
            for one in entries(path)
            if one["run"] == f"run{kill}" and one["kind"] == "operator"
        ]
        # Every entry once, in order, and every one that was said to be on the disk.
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > max(on_disk, default=0)
