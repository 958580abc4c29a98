"""Alarms on unusual verdicts: the fraction of faults and rejects among the last parts.

A line whose parts are all faults still gives every part its verdict, but is useless; so is one that rejects
everything or, if rejects are known to occur, nothing. An alarm stops nothing: it is an event, a warning on
the page, a metric, and a state of the station shown by every output.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from typing_extensions import override

from ast_edge.line.config.options import Options
from ast_edge.line.outputs.base import Output, OutputStatus
from ast_edge.line.part import PartResult
from ast_edge.line.status import AlarmKind, StationView
from ast_edge.line.warned import Warnings
from ast_edge.verdict.scoring import Verdict


class AlarmOptions(Options):
    """`parts`: the number of last parts considered. `max_faults`, `max_rejects`: the fraction of faults and
    of rejects above which an alarm begins, 1 to disable it; it ends at half of that fraction.

    `stuck_parts`: this many parts in a row without a reject raise an alarm, for a line on which rejects are
    known to occur; without it a line may pass everything forever.
    """

    parts: Annotated[int, Field(ge=5, le=10_000)] = 50
    max_faults: Annotated[float, Field(gt=0, le=1)] = 0.2
    max_rejects: Annotated[float, Field(gt=0, le=1)] = 0.5
    stuck_parts: Annotated[int, Field(ge=10, le=1_000_000_000)] | None = None


class AlarmGuard(Output):
    """Counts the last verdicts; `alarms` are active now. An event "alarm" reports begin and end of one.

    An alarm begins as soon as faults, or rejects, exceed their fraction of `parts`, even if fewer parts were
    seen so far.
    """

    name = "alarms"

    def __init__(self, options: AlarmOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._last: deque[Verdict] = deque(maxlen=options.parts)
        self._passed = 0  # parts since the last reject
        self._warnings = Warnings("alarm", {}, lambda: self.report)

    def start(self, station: StationView) -> None:
        """Do nothing: there is no thread to start."""

    @override
    def put(self, result: PartResult) -> None:
        with self._lock:
            self._last.append(result.verdict)
            self._passed = 0 if result.verdict == "reject" else self._passed + 1
            faults, rejects = self._last.count("fault"), self._last.count("reject")
            passed, seen = self._passed, len(self._last)
        self._look("faults", faults, self._options.max_faults, seen)
        self._look("rejects", rejects, self._options.max_rejects, seen)
        self._look_stuck(passed)

    @property
    def alarms(self) -> Mapping[AlarmKind, str]:
        """Return the active alarms, a sentence each."""
        return self._warnings.by_key  # type: ignore[return-value]  # only these keys are begun

    @property
    @override
    def status(self) -> OutputStatus:
        return OutputStatus(connected=True)

    def close(self, timeout_s: float) -> None:
        """Do nothing: there is no queue to flush."""

    def _look(self, kind: AlarmKind, count: int, share: float, seen: int) -> None:
        limit = share * self._options.parts
        if count > limit:
            what = "could not be judged" if kind == "faults" else "were rejected"
            self._warnings.begin(
                kind,
                f"{count} of the last {seen} parts {what}, the limit is {share:.0%} of {self._options.parts}",
            )
        elif count <= limit / 2:
            self._warnings.end(kind)

    def _look_stuck(self, passed: int) -> None:
        limit = self._options.stuck_parts
        if limit is not None and passed >= limit:
            self._warnings.begin(
                "stuck", f"no part was rejected for {limit} parts: test with a part that is known to be bad"
            )
        elif passed == 0:
            self._warnings.end("stuck")
