"""Retention: oldest passes first, independent of jumps of the system's clock."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.line.archive.clock import ArchiveClock, resumed_s
from ast_edge.line.archive.index import Index
from ast_edge.line.archive.options import ArchiveOptions
from ast_edge.line.archive.pictures import write_part
from ast_edge.line.archive.retention import Holding, Limits, Retention, next_step
from ast_edge.line.archive.row import Files, Outcome, row_of
from ast_edge.line.archive.schema import INDEX
from ast_edge.line.part import Trigger
from ast_edge.verdict.scoring import Verdict
from tests.line.archive.bench import archiving, check_whole, part, rows
from tests.waiting import wait_for

DAY = 86_400.0


@dataclass(eq=False)  # two parts may have the same age
class Kept:
    passed: bool
    age_s: float
    size: int = 10


def settle(parts: list[Kept], limits: Limits, disk: int) -> tuple[list[Kept], str]:
    """Remove what `next_step` says from `parts` (oldest first) until it says no more."""
    parts, step = list(parts), ""
    for _ in range(len(parts) + 1):
        ages = {kind: [one.age_s for one in parts if one.passed == kind] for kind in (True, False)}
        free = disk - sum(one.size for one in parts)
        holding = Holding(
            len(ages[True]),
            len(ages[False]),
            ages[True][0] if ages[True] else None,
            ages[False][0] if ages[False] else None,
            free,
        )
        step = next_step(holding, limits)
        if step not in {"pass", "other"}:
            return parts, step
        parts.remove(next(one for one in parts if one.passed == (step == "pass")))
    raise AssertionError("it never ends")


LIMITS = st.builds(
    Limits,
    st.none() | st.floats(1, 100),
    st.none() | st.integers(1, 20),
    st.integers(0, 300),
    st.booleans(),
)


@given(
    st.lists(st.booleans(), max_size=25),
    st.lists(st.floats(0, 200), max_size=25),
    LIMITS,
    st.integers(0, 600),
)
def test_the_choice(passed: list[bool], ages: list[float], limits: Limits, disk: int) -> None:
    parts = [Kept(*one) for one in zip(passed, sorted(ages, reverse=True), strict=False)]
    left, step = settle(parts, limits, disk)
    gone = [one for one in parts if not any(one is other for other in left)]
    free = disk - 10 * len(left)
    exceeded = (
        limits.keep_parts is not None and len(left) > limits.keep_parts
    ) or free < limits.min_free_bytes
    # At the end the limits hold, or it says that it must stop.
    assert (step == "stop") == exceeded
    if exceeded:
        assert not [one for one in left if one.passed]
        assert limits.protect_rejects or not left
    else:
        old = [one for one in left if limits.keep_s is not None and one.age_s > limits.keep_s]
        assert not [one for one in old if one.passed or not limits.protect_rejects]
    # Of each kind the oldest go first.
    for kind in (True, False):
        of_kind = [one for one in parts if one.passed == kind]
        assert [one for one in of_kind if one in gone] == of_kind[: sum(one.passed == kind for one in gone)]
    # A reject goes only when it is old itself, or no pass was left to satisfy the limit.
    rejects = [one for one in gone if not one.passed]
    if limits.protect_rejects:
        assert not rejects
    for reject in rejects:
        aged = limits.keep_s is not None and reject.age_s > limits.keep_s
        assert aged or not [one for one in left if one.passed]
    # And nothing goes for nothing: the last that went was one too many.
    if gone and not exceeded:
        restored = disk - 10 * (len(left) + 1) < limits.min_free_bytes or (
            limits.keep_parts is not None and len(left) + 1 > limits.keep_parts
        )
        assert restored or any(limits.keep_s is not None and one.age_s > limits.keep_s for one in gone)


def test_what_a_disk_refused_counts_as_missing_room() -> None:
    holding = Holding(1, 1, 0.0, 0.0, 1000, refused_bytes=5)
    assert next_step(holding, Limits(None, None, 10, protect_rejects=False)) == "pass"
    assert next_step(holding, Limits(None, None, 0, protect_rejects=False)) == "none"


@given(st.floats(0, 1e9), st.floats(-1e10, 1e10), st.floats(-1e10, 1e10))
def test_the_archives_time_never_runs_back_and_never_jumps(saved: float, wall: float, now: float) -> None:
    resumed = resumed_s(saved, wall, now)
    assert saved <= resumed <= saved + 7 * DAY
    if 0 <= now - wall <= 7 * DAY:
        assert resumed == pytest.approx(saved + (now - wall))


def test_the_archives_time_goes_on_between_runs(tmp_path: Path) -> None:
    steady = [100.0]
    path = tmp_path / INDEX
    clock = ArchiveClock(lambda: steady[0])
    index = Index(path, "normal", clock)
    steady[0] += 50
    index.save("first", 0, 0, ended=True)
    index.close()
    later = ArchiveClock(lambda: steady[0])
    Index(path, "normal", later).close()
    assert 50 <= later.now_s() < 60


# ---- the whole archive -------------------------------------------------------------------------------------


def pictured(folder: Path, *, passes: bool) -> list[int]:
    return [one.number for one in rows(folder) if one.files.json and (one.verdict == "pass") == passes]


def test_by_count_passes_go_first_then_the_oldest_rejects(tmp_path: Path) -> None:
    with archiving(tmp_path, every_nth_pass=1, keep_parts=6) as opened:
        for number in range(1, 9):
            opened.archive.put(part(number, "reject" if number in {1, 4, 7} else "pass"))
        wait_for(lambda: opened.archive.counts.kept == 6 and opened.archive.counts.expired == 2)
        assert pictured(tmp_path, passes=False) == [1, 4, 7]
        assert pictured(tmp_path, passes=True) == [5, 6, 8]
        for number in range(9, 14):
            opened.archive.put(part(number, "reject" if number % 2 else "fault"))
        wait_for(lambda: opened.archive.counts.expired == 7)
        assert pictured(tmp_path, passes=True) == []
        assert pictured(tmp_path, passes=False) == [7, 9, 10, 11, 12, 13]
    parts = check_whole(tmp_path)
    assert len(parts) == 13
    assert parts[0].picture_state == "expired"


def test_protected_rejects_stay_and_no_more_pictures_are_taken(tmp_path: Path) -> None:
    with archiving(tmp_path, every_nth_pass=1, keep_parts=3, protect_rejects=True) as opened:
        for number in range(1, 6):
            opened.archive.put(part(number, "reject" if number < 5 else "pass"))
        wait_for(lambda: opened.heard.warned("stopped") == ["begin"])
        assert "rejects are protected" in opened.archive.warnings[0]
        wait_for(lambda: opened.archive.counts.expired == 1)
        opened.archive.put(part(6))
        wait_for(lambda: opened.archive.status.queued == 0)
    states = [one.picture_state for one in check_whole(tmp_path)]
    assert states == ["kept"] * 4 + ["expired", "stopped"]
    # With more room it goes on by itself.
    with archiving(tmp_path, "next", keep_parts=10, protect_rejects=True) as opened:
        opened.archive.put(part(1, run="next"))
    assert rows(tmp_path)[-1].picture_state == "kept"


def backdated(folder: Path, ages_days: dict[tuple[int, Verdict], float]) -> None:
    """An archive with parts that came so many days ago by its own clock."""
    options = ArchiveOptions(folder=folder, sync="normal")
    steady = [0.0]
    clock = ArchiveClock(lambda: steady[0])
    folder.mkdir(exist_ok=True)
    index = Index(folder / INDEX, "normal", clock)
    for (number, verdict), age in sorted(ages_days.items(), key=lambda item: -item[1]):
        steady[0] = (100 - age) * DAY
        result = part(number, verdict, run="old")
        files = write_part(result, options)
        index.write(
            [row_of(result.record, "waiting")], [Outcome("old", number, verdict == "pass", "kept", files)]
        )
    steady[0] = 100 * DAY
    index.save("old", len(ages_days), 0, ended=True)
    index.close()


OLD: dict[tuple[int, Verdict], float] = {
    (1, "reject"): 40,
    (2, "pass"): 35,
    (3, "pass"): 31,
    (4, "fault"): 29,
    (5, "pass"): 1,
}


@pytest.mark.parametrize(("protect", "left"), [(False, [4, 5]), (True, [1, 4, 5])])
def test_by_days(tmp_path: Path, protect: bool, left: list[int]) -> None:
    backdated(tmp_path, OLD)
    with archiving(tmp_path, keep_days=30, protect_rejects=protect) as opened:
        wait_for(lambda: opened.archive.counts.kept == len(left))
        wait_for(lambda: opened.archive.counts.swept)
    assert [one.number for one in check_whole(tmp_path) if one.files.json] == left


def left_of_old(folder: Path, run: str) -> list[int]:
    """Which old parts have their pictures still, after one more run with one part of its own."""
    with archiving(folder, run, keep_days=30) as opened:
        opened.archive.put(part(1, run=run))
        wait_for(lambda: opened.archive.counts.swept and opened.archive.counts.kept)
        time.sleep(0.5)
    return sorted(one.number for one in check_whole(folder) if one.files.json and one.run == "old")


@pytest.mark.slow
@pytest.mark.parametrize("years", [-20, 30])
def test_a_clock_that_jumps_between_runs_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    """A jump by years counts as a week of rest, at the first start that is later than the one before."""
    backdated(tmp_path, {**OLD, (6, "pass"): 22.9, (7, "pass"): 23.1})
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + years * 365 * DAY)
    assert left_of_old(tmp_path, "first") == ([5, 6] if years > 0 else [4, 5, 6, 7])
    monkeypatch.setattr(time, "time", real)
    assert left_of_old(tmp_path, "second") == [5, 6]
    assert left_of_old(tmp_path, "third") == [5, 6]


def test_a_clock_that_jumps_while_it_runs_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, jump = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + jump[0])
    with archiving(tmp_path, every_nth_pass=1, keep_days=1) as opened:
        for number, years in enumerate((0, 30, -20, 0, 100, 0), 1):
            jump[0] = years * 365 * DAY
            result = part(number, "pass")
            assert abs(result.trigger.wall_s - time.time()) < 60
            opened.archive.put(result)
            wait_for(lambda: opened.archive.counts.kept == number)  # noqa: B023 (it is waited for here)
        time.sleep(0.5)
    parts = check_whole(tmp_path)
    assert [one.picture_state for one in parts] == ["kept"] * 6
    assert len({Path(str(one.files.json)).parent for one in parts}) > 3


def test_a_time_that_is_none_stops_nothing(tmp_path: Path) -> None:
    with archiving(tmp_path) as opened:
        for number, wall_s in enumerate((1e18, -1e18, float("nan"), 0.0), 1):
            opened.archive.put(replace(part(number), trigger=Trigger(number=number, at_ns=0, wall_s=wall_s)))
    assert [one.picture_state for one in check_whole(tmp_path)] == ["unwritable"] * 3 + ["kept"]


@pytest.mark.slow
def test_rows_are_bounded_too(tmp_path: Path) -> None:
    with archiving(tmp_path, every_nth_pass=0, keep_rows=1000) as opened:
        opened.archive.put(part(1))
        for number in range(2, 3000):
            opened.archive.put(part(number, "pass"))
        wait_for(lambda: opened.archive.counts.rows_removed == 1999)
    numbers = [one.number for one in check_whole(tmp_path)]
    # A part with a picture stays until its picture goes.
    assert numbers == [1, *range(2001, 3000)]


def retention(folder: Path, free: list[int], **options: Any) -> tuple[Retention, Index]:
    clock = ArchiveClock()
    folder.mkdir(exist_ok=True)
    index = Index(folder / INDEX, "normal", clock)
    results = [part(number, "pass") for number in range(1, 201)]
    index.write(
        [row_of(result.record, "waiting") for result in results],
        [
            Outcome("run", result.number, True, "kept", Files(json=f"pictures/d/{result.number}", bytes=1000))
            for result in results
        ],
    )
    return Retention(
        ArchiveOptions(folder=folder, min_free_gb=1e-5, **options), clock, lambda: free[0]
    ), index


def test_a_disk_that_frees_late_does_not_cost_the_whole_archive(tmp_path: Path) -> None:
    """10 000 bytes are wanted, 5 000 are free, each part has 1 000: five go, and no more until it shows."""
    free = [5_000]
    limits, index = retention(tmp_path, free)
    for _ in range(20):
        limits.step(index, 1.0)
    assert index.kept[True] == 195
    # Unless something was refused meanwhile: then the room is needed for certain.
    limits.refused(3_000)
    limits.step(index, 1.0)
    assert index.kept[True] == 192
    index.close()


def test_removal_goes_in_small_steps(tmp_path: Path) -> None:
    limits, index = retention(tmp_path, [0], keep_days=None)
    limits.step(index, 0.0)
    assert index.kept[True] == 200
    while index.kept[True] > 190:
        before = index.kept[True]
        limits.step(index, 1.0)
        assert before - index.kept[True] <= 50
    index.close()
