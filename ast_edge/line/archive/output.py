"""The archive as an output of the line."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ast_edge.line.archive.keeper import Keeper, Run
from ast_edge.line.archive.leftovers import Found
from ast_edge.line.archive.options import ArchiveOptions
from ast_edge.line.archive.queues import Counts, Queues
from ast_edge.line.archive.row import PictureState, row_of
from ast_edge.line.archive.writer import PictureWriter
from ast_edge.line.outputs.base import Output, OutputStatus
from ast_edge.line.part import PartResult
from ast_edge.line.status import StationView
from ast_edge.line.warned import Warnings


@dataclass(frozen=True, kw_only=True)
class ArchiveCounts:
    """Counts of the archive since it was started.

    `kept` parts have pictures now, `expired` were removed by the limits, as were `rows_removed` rows; `found`
    are leftovers of an earlier process, `swept` is whether the search for them is complete; `failures` are
    pictures that could not be drawn.
    """

    queues: Counts
    kept: int
    expired: int
    rows_removed: int
    found: Found
    swept: bool
    failures: int


class Archive(Output):
    """Stores a row for every part, and pictures of rejects, faults and every n-th pass; see `ArchiveOptions`.

    Rows are written within about 0.2 s by their own thread, so that they never wait for a picture; those of
    the last moment are lost when the process is killed, which the next start reports. A fault without a frame
    has only its row. An event "archive" is reported when a warning begins or ends, when a damaged index is
    moved aside, and for leftovers of an earlier process.
    """

    def __init__(self, options: ArchiveOptions, name: str = "archive") -> None:
        self.name = name
        self.options = options
        self._passes = 0
        self._passes_lock = threading.Lock()
        self._queues = Queues(int(options.queue_mb * 1e6))
        self._warnings = Warnings("archive", {"archive": name}, lambda: self.report)
        self._keeper: Keeper | None = None
        self._writer: PictureWriter | None = None

    def start(self, station: StationView) -> None:
        """Start the threads, which create the folder, open the index and find leftovers."""
        now = station.status()
        self._keeper = keeper = Keeper(
            self.options, self._queues, self._warnings, Run(now.run, now.name), self._tell
        )
        self._writer = PictureWriter(self.options, self._queues, self._warnings, keeper.retention.refused)
        keeper.thread.start()
        self._writer.thread.start()

    def put(self, result: PartResult) -> None:
        """Queue the row and the picture of a part; takes some microseconds."""
        self._queues.add(row_of(result.record, self._wanted(result)), result)

    def _wanted(self, result: PartResult) -> PictureState:
        if result.verdict == "pass" and not self._is_nth_pass():
            return "none"
        if result.frame is None:
            return "none"
        stopped = self._keeper is not None and self._keeper.retention.stopped
        return "stopped" if stopped else "waiting"

    def _is_nth_pass(self) -> bool:
        with self._passes_lock:
            self._passes += 1
            every = self.options.every_nth_pass
            return every > 0 and (self._passes - 1) % every == 0

    @property
    def status(self) -> OutputStatus:
        """Status of rows; `connected` while the index can be written and no warning is in force."""
        counts, keeper, warnings = self._queues.counts(), self._keeper, self.warnings
        connected = keeper is not None and keeper.connected and not warnings
        error = warnings[0] if warnings else keeper.last_error if keeper is not None else ""
        return OutputStatus(
            connected=connected,
            delivered=counts.written,
            undelivered=counts.lost,
            queued=counts.waiting_rows,
            last_error=error,
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Current problems, a sentence each."""
        return tuple(f"{self.name}: {sentence}" for sentence in self._warnings.now)

    @property
    def counts(self) -> ArchiveCounts:
        """Return the counts; from any thread."""
        counts, keeper, writer = self._queues.counts(), self._keeper, self._writer
        if keeper is None or writer is None:
            return ArchiveCounts(
                queues=counts, kept=0, expired=0, rows_removed=0, found=Found(), swept=False, failures=0
            )
        retention = keeper.retention
        return ArchiveCounts(
            queues=counts,
            kept=keeper.kept,
            expired=retention.expired,
            rows_removed=retention.rows_removed,
            found=keeper.found,
            swept=keeper.sweep.done,
            failures=writer.failures,
        )

    def close(self, timeout_s: float) -> None:
        """Write what waits: pictures get two thirds of the time, rows the rest."""
        self._queues.close()
        keeper, writer = self._keeper, self._writer
        if keeper is None or writer is None:
            return
        now = time.monotonic()
        writer.close(now + timeout_s * 2 / 3)
        writer.thread.join(timeout_s + 1.0)
        keeper.close(max(now + timeout_s, time.monotonic() + timeout_s / 3))
        keeper.thread.join(timeout_s + 1.0)
        self._queues.give_up()

    def _tell(self, details: Mapping[str, object]) -> None:
        self.report("archive", {"archive": self.name, **details})
