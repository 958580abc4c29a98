"""Results for outputs, and a station that only has a status."""

from __future__ import annotations

import math
import time

import numpy as np

from ast_edge.cameras.base import Frame
from ast_edge.inspector import Inspection
from ast_edge.line.part import PartResult, Trigger
from ast_edge.line.status import Balance, StationStatus
from ast_edge.verdict.scoring import Verdict


def part_result(
    number: int = 1,
    verdict: Verdict = "pass",
    *,
    encoder: int | None = None,
    external_id: str | None = None,
    run: str = "run",
    at_ns: int | None = None,
) -> PartResult:
    """A part as the station gives it: with frame and inspection, but for a fault without an inspection."""
    score = {"pass": 0.2, "reject": 2.0, "fault": math.nan}[verdict]
    reason = "no frame arrived in time (camera lost)" if verdict == "fault" else ""
    at_ns = time.monotonic_ns() if at_ns is None else at_ns
    rng = np.random.default_rng(number)
    frame = Frame(rng.integers(90, 166, (48, 64, 3), dtype=np.uint8), "rgb", number, None, at_ns, "bench")
    grid = np.full((4, 4), score, np.float32)
    inspection = Inspection(verdict, score, 1.0, reason, grid, {"preprocess": 0.5, "engine": 3.0})
    trigger = Trigger(
        number=number,
        at_ns=at_ns,
        wall_s=time.time(),
        encoder=encoder,
        source="test",
        external_id=external_id,
    )
    return PartResult(
        run=run,
        trigger=trigger,
        recipe="first",
        verdict=verdict,
        reason=reason,
        score=score,
        threshold=1.0,
        latency_ms=4.2,
        stages_ms=inspection.stages_ms,
        frame=frame,
        inspection=None if verdict == "fault" else inspection,
    )


class StillStation:
    """A `StationView` that always says the same, until the test sets `now`."""

    def __init__(self) -> None:
        balance = Balance(triggers=12, verdicts={"pass": 9, "reject": 2, "fault": 1}, open=0)
        self.now = StationStatus(
            name="bench",
            run="run",
            state="running",
            recipe="first",
            threshold=1.0,
            camera="live",
            frame_age_s=0.1,
            balance=balance,
            waiting=0,
            failures=0,
            last_failure="",
        )

    def status(self) -> StationStatus:
        return self.now
