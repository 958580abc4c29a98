"""kill -9 at any moment: the archive opens, nothing in it is torn, and at most the last second is missing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.line.archive.bench import archiving, check_file, check_whole, part, rows
from tests.paths import ROOT
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

KILLS = 4


def killed_after(folder: Path, run: str, seconds: float, sync: str) -> dict[int, float]:
    """Archive for so long from the first part on, then kill -9; how long before that each part was put."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.line.archive.killed", folder, run, sync],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "export")])},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    put: dict[int, float] = {}
    with process, process.stdout as said:
        for line in iter(said.readline, b""):
            put[int(line)] = time.monotonic()
            if time.monotonic() - put[1] > seconds:
                break
        process.kill()
        at = time.monotonic()
        put |= {int(line): at for line in said if line.endswith(b"\n")}
    assert process.returncode == -9
    return {number: at - when for number, when in put.items()}


@pytest.mark.parametrize("sync", ["normal", "full"])
def test_killed_again_and_again(tmp_path: Path, sync: str) -> None:
    rng = np.random.default_rng(7)
    ages = []
    for kill in range(KILLS):
        run = f"run{kill}"
        put = killed_after(tmp_path, run, rng.uniform(0.05, 1.2), sync)
        look_right_after(tmp_path)
        there = {found.number for found in rows(tmp_path) if found.run == run}
        # One more than was said may be there: it was put, but the word did not get out.
        assert there == set(range(1, len(there) + 1))
        assert len(there) <= max(put) + 1
        missing = {number: age for number, age in put.items() if number not in there}
        ages.append(max(missing.values(), default=0.0))
    # A machine that stalls for seconds is no finding; that it is so every time is one.
    assert statistics.median(ages) < 1.0
    assert max(ages) < 10.0
    with archiving(tmp_path, "last", keep_parts=60) as opened:
        wait_for(lambda: opened.archive.counts.swept)
        opened.archive.put(part(1, run="last"))
        killed = [event for event in opened.heard.events if "killed_run" in event]
    assert [event["killed_run"] for event in killed] == [f"run{KILLS - 1}"]
    assert "rows of its last 0.2 s may be missing" in str(killed[0]["text"])
    with archiving(tmp_path, "after an orderly end") as opened:
        wait_for(lambda: opened.archive.counts.swept)
        assert not [event for event in opened.heard.events if "killed_run" in event]
    parts = check_whole(tmp_path)
    assert not [found for found in parts if found.picture_state == "waiting"]
    assert opened.archive.counts.found.damaged == 0


def look_right_after(folder: Path) -> None:
    """Before anybody mends anything: the index opens, and every file of the archive is whole."""
    copy = folder.parent / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)  # opening it would fold the log in
    with closing(sqlite3.connect(copy / "index.sqlite")) as index:
        assert index.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    for path in (folder / "pictures").rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            check_file(path)
    for found in rows(folder):
        # A part without its JSON file is one that the limits were just removing.
        if found.files.json is not None and (folder / found.files.json).exists():
            for name in found.files.paths:
                check_file(folder / name)
