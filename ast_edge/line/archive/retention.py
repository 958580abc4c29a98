"""Which picture to remove next: a decision from a few numbers, and its execution."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ast_edge.line.archive.clock import ArchiveClock
from ast_edge.line.archive.index import Index, Kept
from ast_edge.line.archive.options import ArchiveOptions
from ast_edge.line.archive.pictures import place_of
from ast_edge.line.archive.row import Files

# pass, other: remove the oldest pass, or the oldest reject or fault; stop: a limit is exceeded and nothing
# may be removed; none: within the limits.
Step = Literal["pass", "other", "stop", "none"]
_STEP = 50  # parts per transaction
_ROWS_STEP = 1000
_PAUSE_S = 30.0


@dataclass(frozen=True)
class Limits:
    """Limits as in `ArchiveOptions`; `min_free_bytes` 0 and None mean no limit."""

    keep_s: float | None
    keep_parts: int | None
    min_free_bytes: int
    protect_rejects: bool


@dataclass(frozen=True)
class Holding:
    """Parts with pictures, ages in seconds of the archive's clock; None without such parts.

    `refused_bytes` were refused by a full disk although enough seemed to be free (because of a quota, say).
    """

    passes: int
    others: int
    oldest_pass_s: float | None
    oldest_other_s: float | None
    free_bytes: int
    refused_bytes: int = 0


def next_step(holding: Holding, limits: Limits) -> Step:
    """Return what must be removed before another picture is stored."""
    count = holding.passes + holding.others
    crowded = limits.keep_parts is not None and count > limits.keep_parts
    short = holding.free_bytes < limits.min_free_bytes or (
        limits.min_free_bytes > 0 and holding.refused_bytes > 0
    )
    may_go = holding.others > 0 and not limits.protect_rejects
    if crowded or short:
        return "pass" if holding.passes else "other" if may_go else "stop"
    if _old(holding.oldest_pass_s, limits):
        return "pass"
    return "other" if may_go and _old(holding.oldest_other_s, limits) else "none"


def _old(age_s: float | None, limits: Limits) -> bool:
    return age_s is not None and limits.keep_s is not None and age_s > limits.keep_s


class Retention:
    """Removes pictures and rows in small steps of at most about `budget_s`.

    `free` returns the free bytes of the disk. Some file systems free the blocks of a file only seconds after
    its removal; the next removal then waits, unless a write was refused meanwhile.
    """

    def __init__(self, options: ArchiveOptions, clock: ArchiveClock, free: Callable[[], int]) -> None:
        self._folder = options.folder
        self._limits = Limits(
            options.keep_s, options.keep_parts, options.min_free_bytes, options.protect_rejects
        )
        self._keep_rows = options.keep_rows
        self._clock = clock
        self._free = free
        self._refused = 0
        self._patient_until = 0.0
        self.stopped = False
        self.expired = 0
        self.rows_removed = 0

    def refused(self, count: int) -> None:
        """Record how many bytes a full disk refused, 0 once it accepts them again; from any thread."""
        self._refused = count

    def step(self, index: Index, budget_s: float) -> None:
        """Remove what the limits require, within the budget. Raises OSError or sqlite3.Error."""
        gone: list[Kept] = []
        try:
            self._remove_pictures(index, time.monotonic() + budget_s, gone)
        finally:
            if gone:
                index.expire(gone)
                self.expired += len(gone)
        surplus = min(index.rows - self._keep_rows, _ROWS_STEP)
        if surplus > 0:
            oldest = index.oldest_rows(surplus)
            index.delete(oldest)
            self.rows_removed += len(oldest)

    def _remove_pictures(self, index: Index, end: float, gone: list[Kept]) -> None:
        waiting = {passed: index.oldest_kept(_STEP, passes=passed) for passed in (True, False)}
        counts = dict(index.kept)
        free, freed = self._free(), 0
        while True:
            step = next_step(self._holding(waiting, counts, free + freed, freed), self._limits)
            self.stopped = step == "stop"
            passed = step == "pass"
            if step not in {"pass", "other"} or not waiting[passed] or time.monotonic() >= end:
                break
            part = waiting[passed].pop(0)
            remove_files(self._folder, part.files)
            gone.append(part)
            counts[passed] -= 1
            freed += part.files.bytes
        self._refused = max(self._refused - freed, 0)
        if freed and self._free() - free < freed // 2:
            self._patient_until = time.monotonic() + _PAUSE_S

    def _holding(
        self, waiting: dict[bool, list[Kept]], counts: dict[bool, int], free: int, freed: int
    ) -> Holding:
        now = self._clock.now_s()
        ages = {passed: now - parts[0].archive_s if parts else None for passed, parts in waiting.items()}
        if time.monotonic() < self._patient_until:
            free = max(free, self._limits.min_free_bytes)
        return Holding(
            counts[True], counts[False], ages[True], ages[False], free, max(self._refused - freed, 0)
        )


def remove_files(folder: Path, files: Files) -> None:
    """Remove a part's files, the JSON file first: without it the others are an incomplete part.

    Paths outside the archive, from a damaged or forged index, are left alone. Raises OSError for a disk
    error.
    """
    places = [place for path in files.paths if (place := place_of(folder, path)) is not None]
    for place in places:
        place.unlink(missing_ok=True)
    if places:
        try:
            places[0].parent.rmdir()
        except OSError:
            return  # usually not empty yet
