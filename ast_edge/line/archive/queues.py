"""Queues between the line and the archive's threads: bounded in number and bytes; every loss is counted."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from ast_edge.line.archive.row import Outcome, PictureState, Row
from ast_edge.line.part import PartResult

ROOM_ROWS = 20_000
_BATCH = 2_000
_OVERHEAD = 4_096  # bytes of a waiting part besides its arrays


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Counts since the archive was started: parts handed over, rows written, rows lost, rows and bytes of
    pictures waiting now; outcomes of pictures, by `PictureState`.
    """

    parts: int
    written: int
    lost: int
    waiting_rows: int
    waiting_bytes: int
    pictures: Mapping[PictureState, int]


def picture_bytes(result: PartResult) -> int:
    """Return the memory that a part uses while its picture waits."""
    arrays = []
    if result.frame is not None:
        arrays += [result.frame.pixels, result.frame.depth_m]
    if result.inspection is not None:
        arrays.append(result.inspection.anomaly_map)
    return _OVERHEAD + sum(array.nbytes for array in arrays if array is not None)


class Queues:
    """Queues of rows for the index's thread, parts for the pictures' thread, and outcomes of pictures.

    A pass is queued only while less than half of `room_bytes` is used, which reserves room for rejects.
    """

    def __init__(self, room_bytes: int, room_rows: int = ROOM_ROWS) -> None:
        self._room_bytes = room_bytes
        self._room_rows = room_rows
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._rows: deque[Row] = deque()
        self._outcomes: deque[Outcome] = deque()
        self._pictures: deque[PartResult] = deque()
        self._bytes = 0
        self._parts = self._written = self._lost = 0
        self._states: Counter[PictureState] = Counter()
        self._closed = False

    # ---- the line ------------------------------------------------------------------------------------------

    def add(self, row: Row, result: PartResult) -> None:
        """Add a part's row, and its picture if the row says that it waits."""
        size = picture_bytes(result) if row.picture_state == "waiting" else 0
        room = self._room_bytes // 2 if row.verdict == "pass" else self._room_bytes
        with self._lock:
            self._parts += 1
            if self._closed:
                self._lost += 1
                return
            if size and self._bytes + size > room:
                row, size = replace(row, picture_state="crowded"), 0
            if len(self._rows) >= self._room_rows:
                self._rows.popleft()
                self._lost += 1
            self._rows.append(row)
            if size:
                self._bytes += size
                self._pictures.append(result)
                self._news.notify()
            else:
                self._states[row.picture_state] += 1

    def close(self) -> None:
        """Accept no more; wakes a thread that waits for a picture."""
        with self._lock:
            self._closed = True
            self._news.notify_all()

    def give_up(self) -> None:
        """Count waiting rows as lost, after both threads have ended."""
        with self._lock:
            self._lost += len(self._rows)
            self._rows.clear()

    def counts(self) -> Counts:
        """Return the counts; from any thread."""
        with self._lock:
            return Counts(
                parts=self._parts,
                written=self._written,
                lost=self._lost,
                waiting_rows=len(self._rows),
                waiting_bytes=self._bytes,
                pictures=dict(self._states),
            )

    # ---- the pictures' thread ------------------------------------------------------------------------------

    def next_picture(self, timeout_s: float) -> PartResult | None:
        """Return the oldest part with a waiting picture; None if none arrives within `timeout_s`."""
        with self._lock:
            if not self._pictures and not self._closed:
                self._news.wait(timeout_s)
            return self._pictures.popleft() if self._pictures else None

    def settle(self, result: PartResult, outcome: Outcome) -> None:
        """Record the outcome for a picture of `next_picture`."""
        with self._lock:
            self._bytes -= picture_bytes(result)
            self._states[outcome.state] += 1
            self._outcomes.append(outcome)
            # Without an index to write to: the files have their JSON and are found at the next start.
            if len(self._outcomes) > self._room_rows:
                self._outcomes.popleft()

    # ---- the index's thread --------------------------------------------------------------------------------

    def take(self) -> tuple[list[Row], list[Outcome]]:
        """Return rows and outcomes for one transaction, oldest first; an outcome never precedes its row."""
        with self._lock:
            rows = [self._rows.popleft() for _ in range(min(len(self._rows), _BATCH))]
            if self._rows:
                return rows, []
            return rows, [self._outcomes.popleft() for _ in range(min(len(self._outcomes), _BATCH))]

    def put_back(self, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> None:
        """Queue again what could not be written; without room the oldest rows are dropped."""
        with self._lock:
            self._outcomes.extendleft(reversed(outcomes))
            kept = max(self._room_rows - len(self._rows), 0)
            first = max(len(rows) - kept, 0)
            self._lost += first
            self._rows.extendleft(reversed(list(islice(rows, first, None))))

    def wrote(self, rows: int, lost: int) -> None:
        """Record the number of rows in the index, and of rows that it refused."""
        with self._lock:
            self._written += rows
            self._lost += lost
