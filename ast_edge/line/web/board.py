"""The data of the last parts for the operator's page."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ast_edge.line.outputs.base import Output, OutputStatus
from ast_edge.line.outputs.reasons import reason_code
from ast_edge.line.part import PartRecord, PartResult
from ast_edge.line.status import StationView
from ast_edge.line.web.pictures import KEPT_BAD, Pictures
from ast_edge.line.web.rates import Rates
from ast_edge.model.manifest import ModelSpec

MOST_SCORES = 200
HOLD_NS = 2_000_000_000
_LAST = 20
_BARS = 24


class _Entry(NamedTuple):
    """A judged part; `at_ns` is its trigger's `time.monotonic_ns()`."""

    at_ns: int
    record: PartRecord

    @property
    def code(self) -> int:
        return reason_code(self.record.verdict, self.record.reason)


class Board(Output):
    """Receives every result and keeps little of it: plain values, a few small pictures, counts by hour.

    `put` takes microseconds; pictures are made elsewhere. All methods may be called from any thread.
    """

    name = "page"

    def __init__(self) -> None:
        self.pictures = Pictures()
        self._lock = threading.Lock()
        self._recent: deque[_Entry] = deque(maxlen=MOST_SCORES)  # newest first
        self._bad: deque[_Entry] = deque(maxlen=KEPT_BAD)  # newest first
        self._last: deque[PartResult] = deque(maxlen=_LAST)  # newest first, without pictures
        self._rates = Rates()
        self._bad_count = self._acknowledged = 0
        self._spec: ModelSpec | None = None
        self._histogram: tuple[ModelSpec, Mapping[str, object]] | None = None

    def start(self, station: StationView) -> None:  # noqa: ARG002 (results are enough)
        """Start to make pictures."""
        self.pictures.report = self.report
        self.pictures.start()

    def put(self, result: PartResult) -> None:
        """Keep the data of one part."""
        entry, light = _Entry(result.trigger.at_ns, result.record), result.without_pictures()
        with self._lock:
            self._recent.appendleft(entry)
            self._last.appendleft(light)
            self._rates.add(entry.record.time_s, result.verdict)
            self._spec = result.spec or self._spec
            if result.verdict != "pass":
                self._bad.appendleft(entry)
                self._bad_count += 1
        self.pictures.offer(result)

    @property
    def status(self) -> OutputStatus:
        """Always there."""
        return OutputStatus(connected=True)

    def close(self, timeout_s: float) -> None:
        """End the thread that makes pictures."""
        self.pictures.close(timeout_s)

    # ---- what can be asked ---------------------------------------------------------------------------------

    @property
    def last_parts(self) -> list[dict[str, object]]:
        """Return the last 20 parts, newest first."""
        with self._lock:
            last = list(self._last)
        return [result.as_dict() for result in last]

    def acknowledge(self) -> int:
        """Mark rejects and faults so far as seen; return how many were new."""
        with self._lock:
            new = self._bad_count - self._acknowledged
            self._acknowledged = self._bad_count
        return new

    def as_dict(self) -> dict[str, object]:
        """Return plain values for the page. While it is requested, passed parts get pictures too."""
        self.pictures.watched()
        with self._lock:
            recent, bad = list(self._recent), list(self._bad)
            rates, spec = self._rates.as_dict(), self._spec
            new = self._bad_count - self._acknowledged
        shown = self._shown(recent, bad)
        return {
            "shown": None if shown is None else self._part(shown),
            "bad": [self._part(entry) for entry in bad],
            "scores": _scores(recent),
            "calibration": self._calibration(spec),
            "rates": rates,
            "unacknowledged": new,
        }

    def _part(self, entry: _Entry) -> dict[str, object]:
        record = entry.record
        return {**record.as_dict(), "code": entry.code, "picture": self.pictures.has(record.part_id)}

    def _shown(self, recent: list[_Entry], bad: list[_Entry]) -> _Entry | None:
        """Return the part for the page's large picture.

        The last reject or fault while it is less than two seconds older than the last part, so that it is
        visible on a fast line; else the last part with a picture, under the same condition; else the last
        part. Picture and verdict always belong to the same part.
        """
        if not recent:
            return None
        last = recent[0]
        if bad and last.at_ns - bad[0].at_ns <= HOLD_NS:
            return bad[0]
        pictured = self.pictures.newest_passed()
        fitting = (entry for entry in recent if entry.record.part_id == pictured)
        found = next(fitting, last)
        return found if last.at_ns - found.at_ns <= HOLD_NS else last

    def _calibration(self, spec: ModelSpec | None) -> Mapping[str, object] | None:
        """Return a histogram of the good parts' scores from which the threshold was set."""
        if spec is None or spec.calibration is None:
            return None
        known = self._histogram
        if known is None or known[0] is not spec:
            counts, edges = np.histogram(np.array(spec.calibration.scores), bins=_BARS)
            known = self._histogram = (spec, {"counts": counts.tolist(), "edges": edges.tolist()})
        return known[1]


def _scores(recent: list[_Entry]) -> list[list[object]]:
    """Return number, score and verdict, oldest first, of parts with the current recipe and threshold."""
    if not recent:
        return []
    last = recent[0].record
    return [
        [entry.record.number, entry.record.score, entry.record.verdict]
        for entry in reversed(recent)
        if (entry.record.recipe, entry.record.threshold) == (last.recipe, last.threshold)
    ]
