"""The index as written by the station; for one thread."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from ast_edge.line.archive.clock import ArchiveClock
from ast_edge.line.archive.row import COLUMNS, Files, Outcome, PictureState, Row
from ast_edge.line.archive.schema import connect

_INSERT = (
    f"INSERT OR IGNORE INTO parts (run_id, archive_s, {', '.join(COLUMNS.values())}) "  # noqa: S608
    f"VALUES (?, ?{', ?' * len(COLUMNS)})"
)
_OUTCOME = """UPDATE parts SET picture_state = ?, picture = ?, overlay = ?, depth = ?, json = ?, bytes = ?
    WHERE run_id = ? AND number = ?"""
_GONE = """UPDATE parts SET picture_state = ?, picture = NULL, overlay = NULL, depth = NULL, json = NULL,
    bytes = 0 WHERE id = ?"""
_KEPT = """SELECT id, verdict = 'pass', archive_s, picture, overlay, depth, json, bytes FROM parts
    WHERE picture_state = 'kept'"""
_COUNT_KEPT = "SELECT count(*) FROM parts WHERE picture_state = 'kept' AND (verdict = 'pass') = ?"


class Kept(NamedTuple):
    """A part with pictures; `archive_s` is its time by the archive's own clock."""

    id: int
    passed: bool
    archive_s: float
    files: Files


class Stored(NamedTuple):
    """What the index records about a part's pictures."""

    state: PictureState
    files: Files


class Index:
    """Inserts rows, records pictures and selects what to remove. Every method may raise sqlite3.Error.

    `moved` describes what was moved aside when the index was opened; None if nothing was.
    """

    def __init__(self, path: Path, sync: Literal["full", "normal"], clock: ArchiveClock) -> None:
        self._clock = clock
        self._runs: dict[str, int] = {}
        self._db, self.moved = connect(path, sync)
        try:
            (saved,) = self._db.execute("SELECT archive_s, wall_s FROM archive")
            clock.resume(saved[0], saved[1], time.time())
            self.rows = self._count("SELECT count(*) FROM parts")
            # Of passes, and of rejects and faults; kept up to date from here on.
            self.kept = {passed: self._count(_COUNT_KEPT, passed) for passed in (True, False)}
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file; its write-ahead log is merged into it."""
        self._db.close()

    # ---- what the line says --------------------------------------------------------------------------------

    def write(self, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> int:
        """Add rows, then the outcomes of pictures, in one transaction; return the number of new rows."""
        now = self._clock.now_s()
        new, kept = 0, {True: 0, False: 0}
        with self._transaction():
            for row in rows:
                values = [getattr(row, name) for name in COLUMNS]
                new += self._db.execute(_INSERT, (self._run_id(row.run), now, *values)).rowcount
            for outcome in outcomes:
                settled = (outcome.state, *outcome.files, self._run_id(outcome.run), outcome.number)
                found = self._db.execute(_OUTCOME, settled).rowcount
                kept[outcome.passed] += found * (outcome.state == "kept")
        self.rows += new
        for passed, count in kept.items():
            self.kept[passed] += count
        return new

    def killed_before(self, name: str) -> tuple[str, int] | None:
        """Return the run before `name` and its number of rows if it was killed; None if it ended normally."""
        query = """SELECT name, ended, (SELECT count(*) FROM parts WHERE run_id = runs.id) FROM runs
            WHERE name <> ? ORDER BY id DESC LIMIT 1"""
        found = self._db.execute(query, (name,)).fetchone()
        return None if found is None or found[1] is not None else (found[0], found[2])

    def begin_run(self, name: str, station: str) -> None:
        """Record the run that starts."""
        with self._transaction():
            run_id = self._run_id(name)
            self._db.execute("UPDATE runs SET station = ? WHERE id = ?", (station, run_id))

    def save(self, run: str, parts: int, lost: int, *, ended: bool) -> None:
        """Record the archive's time, and how many parts of the run were handed over and lost so far."""
        wall_s = time.time()
        with self._transaction():
            self._db.execute("UPDATE archive SET archive_s = ?, wall_s = ?", (self._clock.now_s(), wall_s))
            self._db.execute(
                "UPDATE runs SET parts = ?, lost = ?, ended = ? WHERE id = ?",
                (parts, lost, wall_s if ended else None, self._run_id(run)),
            )

    # ---- what the limits remove ----------------------------------------------------------------------------

    def oldest_kept(self, count: int, *, passes: bool) -> list[Kept]:
        """Return the oldest parts with pictures: passes, or rejects and faults."""
        return self._kept("AND (verdict = 'pass') = ? ORDER BY id LIMIT ?", passes, count)

    def expire(self, parts: Sequence[Kept], state: PictureState = "expired") -> None:
        """Record that the pictures of these parts were removed."""
        with self._transaction():
            self._db.executemany(_GONE, [(state, part.id) for part in parts])
        for part in parts:
            self.kept[part.passed] -= 1

    def oldest_rows(self, count: int) -> list[int]:
        """Return the oldest parts without pictures."""
        query = "SELECT id FROM parts WHERE picture_state NOT IN ('kept', 'waiting') ORDER BY id LIMIT ?"
        return [part for (part,) in self._db.execute(query, (count,))]

    def delete(self, ids: Sequence[int]) -> None:
        """Delete these parts."""
        with self._transaction():
            self._db.executemany("DELETE FROM parts WHERE id = ?", [(part,) for part in ids])
        self.rows -= len(ids)

    # ---- what a killed process left ------------------------------------------------------------------------

    def find(self, run: str, number: int) -> Stored | None:
        """Return what the index records about a part; None if it has no row."""
        query = """SELECT picture_state, picture, overlay, depth, json, bytes FROM parts
            WHERE run_id = (SELECT id FROM runs WHERE name = ?) AND number = ?"""
        row = self._db.execute(query, (run, number)).fetchone()
        return None if row is None else Stored(row[0], Files(*row[1:]))

    def interrupt_waiting(self, running: str) -> int:
        """Mark pictures still waiting from earlier runs as interrupted; return their number."""
        query = """UPDATE parts SET picture_state = 'interrupted' WHERE picture_state = 'waiting'
            AND run_id <> ?"""
        with self._transaction():
            return self._db.execute(query, (self._run_id(running),)).rowcount

    def kept_after(self, part: int, count: int) -> list[Kept]:
        """Return parts with pictures and ids above `part`."""
        return self._kept("AND id > ? ORDER BY id LIMIT ?", part, count)

    # ---- inside --------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._runs.clear()  # a run inserted by the rolled-back transaction no longer exists
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _run_id(self, name: str) -> int:
        if name not in self._runs:
            self._db.execute(
                "INSERT OR IGNORE INTO runs (name, station, started) VALUES (?, '', ?)", (name, time.time())
            )
            (self._runs[name],) = self._db.execute("SELECT id FROM runs WHERE name = ?", (name,)).fetchone()
        return self._runs[name]

    def _count(self, query: str, *values: object) -> int:
        (count,) = self._db.execute(query, values).fetchone()
        return int(count)

    def _kept(self, which: str, *values: object) -> list[Kept]:
        found = self._db.execute(f"{_KEPT} {which}", values).fetchall()
        return [Kept(row[0], bool(row[1]), row[2], Files(*row[3:])) for row in found]
