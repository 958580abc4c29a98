"""A disk that is full, read-only or slow: verdicts go on, losses are counted, and the archive recovers."""

from __future__ import annotations

import os
import subprocess
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from ast_edge.line.archive.options import ArchiveOptions
from ast_edge.line.archive.pictures import write_part
from ast_edge.line.archive.queues import Queues
from ast_edge.line.archive.row import Files, Outcome, row_of
from ast_edge.line.part import PartResult
from tests.line.archive.bench import archiving, check_whole, fill, part, rows, small_disk
from tests.waiting import wait_for


@pytest.mark.slow
def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "6m") as disk, archiving(disk / "archive") as opened:
        for number in range(1, 11):
            opened.archive.put(part(number))
        wait_for(lambda: opened.archive.counts.kept == 10)
        filler = fill(disk)
        for number in range(11, 31):
            before = time.perf_counter()
            opened.archive.put(part(number, side=200))
            assert time.perf_counter() - before < 1.0
        wait_for(lambda: opened.heard.warned("pictures") == ["begin"])
        wait_for(lambda: opened.heard.warned("index") == ["begin"])
        assert any("No space left on device" in sentence for sentence in opened.archive.warnings)
        wait_for(lambda: opened.archive.counts.queues.pictures.get("unwritable") == 20)
        assert opened.archive.status.queued == 20
        filler.unlink()
        wait_for(lambda: opened.archive.status.delivered == 30)
        wait_for(lambda: opened.archive.status.connected)
        assert opened.archive.warnings == ()
        assert opened.heard.warned("pictures") == ["begin", "end"]
        assert opened.heard.warned("index") == ["begin", "end"]
        opened.archive.put(part(31))
        wait_for(lambda: opened.archive.counts.kept == 11)
        assert opened.archive.status.undelivered == 0
        parts = check_whole(disk / "archive")
    assert [one.number for one in parts] == list(range(1, 32))
    assert [one.picture_state for one in parts[10:30]] == ["unwritable"] * 20


def test_a_disk_that_is_full_at_the_start_and_at_the_end(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        filler = fill(disk)
        with archiving(disk / "archive") as opened:
            for number in range(1, 6):
                opened.archive.put(part(number))
            wait_for(lambda: opened.heard.warned("index") == ["begin"])
            opened.archive.close(1.0)
        assert opened.archive.status.undelivered == 5
        filler.unlink()
        with archiving(disk / "archive", "next") as opened:
            opened.archive.put(part(1, run="next"))
        assert [one.run for one in check_whole(disk / "archive")] == ["next"]


@pytest.mark.slow
def test_room_is_made_before_the_disk_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "12m") as disk:
        with archiving(disk / "archive", every_nth_pass=1, min_free_gb=0.006, overlay=False) as opened:
            for number in range(1, 101):
                opened.archive.put(part(number, "reject" if number <= 10 else "pass", side=200))
                time.sleep(0.01)
            wait_for(lambda: opened.archive.counts.expired > 20 and opened.archive.status.queued == 0)
            assert opened.archive.warnings == ()
        parts = check_whole(disk / "archive")
        assert len(parts) == 100
        kept = [one.number for one in parts if one.picture_state == "kept"]
        assert set(range(1, 11)) <= set(kept)
        passes = [number for number in kept if number > 10]
        assert passes == list(range(101 - len(passes), 101))


def test_nothing_is_left_to_remove(tmp_path: Path) -> None:
    """Other files fill the disk: no pictures are taken any more, rows are."""
    with (
        small_disk(tmp_path / "disk", "4m") as disk,
        archiving(disk / "archive", min_free_gb=0.003) as opened,
    ):
        opened.archive.put(part(1))
        wait_for(lambda: opened.archive.counts.kept == 1)
        other = disk / "other"
        other.write_bytes(bytes(1_500_000))
        wait_for(lambda: opened.heard.warned("stopped") == ["begin"])
        opened.archive.put(part(2))
        wait_for(lambda: opened.archive.status.delivered == 2)
        other.unlink()
        wait_for(lambda: opened.heard.warned("stopped") == ["begin", "end"])
        opened.archive.put(part(3))
        wait_for(lambda: opened.archive.counts.kept == 1)
        states = [one.picture_state for one in check_whole(disk / "archive")]
    assert states == ["expired", "stopped", "kept"]


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True, capture_output=True)


def test_a_read_only_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        with archiving(disk / "archive", "before") as opened:
            opened.archive.put(part(1, run="before"))
        remount(disk, "ro")
        assert [one.run for one in rows(disk / "archive")] == ["before"]  # readers need not write
        with archiving(disk / "archive") as opened:
            for number in range(1, 11):
                opened.archive.put(part(number))
            wait_for(lambda: opened.heard.warned("index") == ["begin"])
            wait_for(lambda: opened.heard.warned("pictures") == ["begin"])
            assert "Read-only file system" in opened.archive.warnings[0]
            wait_for(lambda: opened.archive.counts.queues.waiting_bytes == 0)
            remount(disk, "rw")
            wait_for(lambda: opened.archive.status.delivered == 10)
            wait_for(lambda: opened.archive.warnings == ())
            opened.archive.put(part(11))
        parts = check_whole(disk / "archive")
    assert [one.picture_state for one in parts] == ["kept", *["unwritable"] * 10, "kept"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with archiving(tmp_path / "file" / "archive") as opened:
        opened.archive.put(part(1))
        wait_for(lambda: opened.heard.warned("index") == ["begin"])
        (tmp_path / "file").unlink()
        wait_for(lambda: opened.archive.status.delivered == 1)
    check_whole(tmp_path / "file" / "archive")


@pytest.mark.slow
def test_a_folder_that_is_taken_away(tmp_path: Path) -> None:
    """The archive's folder is removed or renamed while the line runs: a new one is begun."""
    folder = tmp_path / "archive"
    with archiving(folder) as opened:
        opened.archive.put(part(1))
        wait_for(lambda: opened.archive.counts.kept == 1)
        folder.rename(tmp_path / "taken")
        for number in range(2, 12):
            opened.archive.put(part(number))
            time.sleep(0.1)
        wait_for((folder / "index.sqlite").exists)
        opened.archive.put(part(12))
    assert 12 in {one.number for one in rows(folder)}


# ---- slow --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_pictures_that_wait_are_bounded_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that stands still and 300 pictures of 3 MB: 20 MB are held, not 900."""
    go_on = threading.Event()

    def write(result: PartResult, options: ArchiveOptions) -> Files:
        go_on.wait(60)
        return write_part(result, options)

    monkeypatch.setattr("ast_edge.line.archive.writer.write_part", write)
    with archiving(tmp_path, queue_mb=20) as opened:
        tracemalloc.start()
        try:
            for number in range(1, 301):
                opened.archive.put(part(number, side=1000))
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 30e6
        counts = opened.archive.counts.queues
        assert counts.waiting_bytes <= 20e6
        assert counts.pictures["crowded"] == 294
        wait_for(lambda: opened.heard.warned("crowded") == ["begin"])
        wait_for(lambda: opened.archive.status.delivered == 300)
        go_on.set()
        wait_for(lambda: opened.heard.warned("crowded") == ["begin", "end"])
    states = [one.picture_state for one in check_whole(tmp_path)]
    assert states == ["kept"] * 6 + ["crowded"] * 294


def test_passes_leave_room_for_rejects() -> None:
    queues = Queues(room_bytes=100_000)
    for number in range(1, 11):
        result = part(number, "pass")
        queues.add(row_of(result.record, "waiting"), result)
    passes = queues.counts().pictures["crowded"]
    assert passes == 7
    for number in range(11, 14):
        result = part(number)
        queues.add(row_of(result.record, "waiting"), result)
    assert queues.counts().pictures["crowded"] == passes


def test_rows_that_wait_are_bounded_and_the_oldest_go() -> None:
    queues = Queues(room_bytes=10**9, room_rows=100)
    results = [part(number, "pass") for number in range(1, 151)]
    for result in results[:120]:
        queues.add(row_of(result.record, "none"), result)
    assert (queues.counts().waiting_rows, queues.counts().lost) == (100, 20)
    taken, _ = queues.take()
    for result in results[120:]:
        queues.add(row_of(result.record, "none"), result)
    queues.put_back(taken, [])
    assert (queues.counts().waiting_rows, queues.counts().lost) == (100, 50)
    assert [row.number for row in queues.take()[0]] == list(range(51, 151))
    assert queues.counts().parts == 150


@pytest.mark.slow
def test_outcomes_come_after_their_rows_and_are_bounded() -> None:
    queues = Queues(room_bytes=10**9, room_rows=5000)
    results = [part(number) for number in range(1, 2502)]
    for result in results:
        queues.add(row_of(result.record, "waiting"), result)
        queues.settle(result, Outcome("run", result.number, False, "kept"))
    rows_first, none_yet = queues.take()
    assert (len(rows_first), none_yet) == (2000, [])
    assert len(queues.take()[0]) == 501
    assert queues.counts().waiting_bytes == 0
    for result in results * 3:
        queues.settle(result, Outcome("run", result.number, False, "kept"))
    assert sum(len(queues.take()[1]) for _ in range(10)) == 5000


@pytest.mark.slow
@pytest.mark.skipif(os.cpu_count() == 1, reason="needs a second core")
def test_put_takes_no_time_while_pictures_are_written(tmp_path: Path) -> None:
    took = []
    with archiving(tmp_path, sync="full") as opened:
        for number in range(1, 16):
            result = part(number, side=500)
            before = time.perf_counter_ns()
            opened.archive.put(result)
            took.append(time.perf_counter_ns() - before)
            time.sleep(0.005)
    assert sorted(took)[7] < 1e6  # 1 ms; it is some 10 us
