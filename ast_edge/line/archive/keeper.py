"""The index's thread: rows are written in batches; in between, limits and leftovers are processed."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, NamedTuple

from ast_edge.backoff import Backoff
from ast_edge.errors import LineError, reason, sentence
from ast_edge.files import claim
from ast_edge.line.archive.clock import ArchiveClock
from ast_edge.line.archive.index import Index
from ast_edge.line.archive.leftovers import Found, Sweep
from ast_edge.line.archive.options import ArchiveOptions
from ast_edge.line.archive.queues import Queues
from ast_edge.line.archive.retention import Retention
from ast_edge.line.archive.row import Outcome, Row
from ast_edge.line.archive.schema import INDEX, is_damage, move_aside
from ast_edge.line.warned import Warnings

_TICK_S = 0.2  # rows wait this long for their batch
_BUDGET_S = 0.02  # share of a tick for limits and leftovers
_SAVE_S = 5.0
_LOCK = ".lock"
# SQLite errors about a value and not about the disk: only that row is at fault.
_BAD_ROW = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, OverflowError, ValueError)


class Run(NamedTuple):
    """The current run: its globally unique name, and the station's."""

    name: str
    station: str


class Keeper:
    """Owns the index while the station runs. Disk errors are retried; rows wait meanwhile.

    `note` receives one-time events: an index moved aside, leftovers found.
    """

    def __init__(
        self,
        options: ArchiveOptions,
        queues: Queues,
        warnings: Warnings,
        run: Run,
        note: Callable[[Mapping[str, object]], None],
    ) -> None:
        self._options, self._queues, self._warnings, self._run, self._note = (
            options,
            queues,
            warnings,
            run,
            note,
        )
        self._path = options.folder / INDEX
        self._index: Index | None = None
        self._inode = 0
        self._lock_file: IO[bytes] | None = None
        self._clock = ArchiveClock()
        self._backoff, self._upkeep_backoff = Backoff(0.2, 5.0), Backoff(0.5, 30.0)
        self._upkeep_at = self._saved_at = 0.0
        self._crowded = self._lost = 0
        self._reported_killed = False
        self._closing = threading.Event()
        self._end = 0.0
        self.retention = Retention(options, self._clock, self._free)
        self.sweep = Sweep(options.folder, run.name)
        self.found = Found()
        self.kept = 0
        self.last_error = ""
        self.thread = threading.Thread(target=self._work, name="ast-edge-archive-index", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether the index is open."""
        return self._index is not None

    def close(self, end: float) -> None:
        """Write waiting rows, retrying until `end` of the monotonic clock."""
        self._end = end
        self._closing.set()

    # ---- the thread ----------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._closing.wait(_TICK_S):
            if not self._tried(self._turn):
                self._closing.wait(self._backoff.next_s())
        while not self._tried(self._last_turn) and time.monotonic() < self._end:
            time.sleep(0.05)
        self._let_go()

    def _tried(self, work: Callable[[Index], None]) -> bool:
        """Run `work` and return whether it succeeded; a failure closes the index, to be opened again."""
        try:
            work(self._open())
        except Exception as exc:  # noqa: BLE001 (whatever it is, the line goes on and so does the thread)
            self._refused(exc)
            return False
        self._backoff.reset()
        self._warnings.end("index")
        return True

    def _turn(self, index: Index) -> None:
        if self._path.stat().st_ino != self._inode:
            raise LineError(f"{self._path}: was replaced by another file")
        self._write_all(index)
        if time.monotonic() >= self._saved_at + _SAVE_S:
            self._save(index, ended=False)
        if time.monotonic() >= self._upkeep_at:
            self._upkeep(index)
        self._judge_queues()
        self.kept = sum(index.kept.values())

    def _last_turn(self, index: Index) -> None:
        self._write_all(index)
        self._save(index, ended=True)
        self.kept = sum(index.kept.values())

    # ---- rows ----------------------------------------------------------------------------------------------

    def _write_all(self, index: Index) -> None:
        while True:
            rows, outcomes = self._queues.take()
            if not rows and not outcomes:
                return
            try:
                self._write(index, rows, outcomes)
            except BaseException:
                self._queues.put_back(rows, outcomes)
                raise

    def _write(self, index: Index, rows: list[Row], outcomes: list[Outcome]) -> None:
        try:
            new = index.write(rows, outcomes)
        except _BAD_ROW:
            new = sum(self._write_alone(index, [row], []) for row in rows)
            for outcome in outcomes:
                self._write_alone(index, [], [outcome])
        self._queues.wrote(new, len(rows) - new)

    def _write_alone(self, index: Index, rows: list[Row], outcomes: list[Outcome]) -> int:
        try:
            return index.write(rows, outcomes)
        except _BAD_ROW as exc:
            self.last_error = f"a part cannot be written to the index: {exc}"
            return 0

    def _save(self, index: Index, *, ended: bool) -> None:
        counts = self._queues.counts()
        index.save(self._run.name, counts.parts, counts.lost, ended=ended)
        self._saved_at = time.monotonic()

    def _judge_queues(self) -> None:
        counts = self._queues.counts()
        crowded, lost = counts.pictures.get("crowded", 0), counts.lost
        if crowded > self._crowded:
            self._warnings.begin("crowded", "pictures are lost: they arrive faster than they can be written")
        elif not counts.waiting_bytes:
            self._warnings.end("crowded")
        if lost > self._lost:
            self._warnings.begin("rows", "rows of parts are lost: the index could not be written in time")
        elif counts.waiting_rows < 100:
            self._warnings.end("rows")
        self._crowded, self._lost = crowded, lost

    # ---- upkeep --------------------------------------------------------------------------------------------

    def _upkeep(self, index: Index) -> None:
        try:
            self.retention.step(index, _BUDGET_S)
            if not self.sweep.done:
                self.sweep.step(index, _BUDGET_S)
                self._tell_leftovers()
        except OSError as exc:
            self._warnings.begin("upkeep", f"files cannot be removed: {sentence(exc)}")
            self._upkeep_at = time.monotonic() + self._upkeep_backoff.next_s()
            return
        self._upkeep_backoff.reset()
        self._warnings.end("upkeep")
        if self.retention.stopped:
            what = "rejects are protected" if self._options.protect_rejects else "no more can be removed"
            self._warnings.begin("stopped", f"no more pictures are stored: the limits are reached and {what}")
        else:
            self._warnings.end("stopped")

    def _tell_leftovers(self) -> None:
        if self.sweep.done:
            self.found = self.sweep.found
            if self.found.anything:
                self._note({"leftovers": vars(self.found)})

    def _free(self) -> int:
        return shutil.disk_usage(self._options.folder).free

    # ---- the file ------------------------------------------------------------------------------------------

    def _open(self) -> Index:
        if self._index is None:
            self._take_lock()
            self._index = Index(self._path, self._options.sync, self._clock)
            self._inode = self._path.stat().st_ino
            if self._index.moved is not None:
                self._note({"index": self._index.moved})
            self._tell_killed(self._index.killed_before(self._run.name))
            self._index.begin_run(self._run.name, self._run.station)
        return self._index

    def _tell_killed(self, killed: tuple[str, int] | None) -> None:
        """Report once that the previous run may lack its last rows, which were still in memory."""
        if killed is not None and not self._reported_killed:
            run, rows = killed
            may = f"rows of its last {_TICK_S:g} s may be missing"
            self._note({"killed_run": run, "rows": rows, "text": f"the previous run was killed: {may}"})
        self._reported_killed = True

    def _take_lock(self) -> None:
        """Lock the archive: two stations in one folder would remove each other's files."""
        if self._lock_file is not None:
            return
        try:
            self._lock_file = claim(self._options.folder / _LOCK)
        except BlockingIOError as exc:
            raise LineError(
                f"{self._options.folder}: another process writes this archive; give another folder."
            ) from exc

    def _refused(self, exc: Exception) -> None:
        self.last_error = sentence(exc)
        damaged = is_damage(exc)
        self._let_go(keep_lock=damaged)
        self._warnings.begin("index", f"the index cannot be written: {self.last_error}")
        if damaged:
            self._replace_damaged()

    def _replace_damaged(self) -> None:
        """Start a new index after damage was found during use."""
        try:
            target = move_aside(self._path)
        except OSError as exc:
            self.last_error = f"{self._path}: is damaged and cannot be moved aside ({reason(exc)})"
            return
        self.sweep = Sweep(self._options.folder, self._run.name)
        self._note({"index": f"the index was damaged and was moved to {target.name}; a new one was created"})

    def _let_go(self, *, keep_lock: bool = False) -> None:
        index, self._index = self._index, None
        self.sweep.restart()
        if index is not None:
            with contextlib.suppress(sqlite3.Error):
                index.close()
        if self._lock_file is not None and not keep_lock:
            self._lock_file.close()
            self._lock_file = None
