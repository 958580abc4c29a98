"""Rates of rejects and faults per hour, with control limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ast_edge.verdict.scoring import Verdict

MOST_HOURS = 24
_HOUR_S = 3600


@dataclass
class Hour:
    """The parts of one hour; `start_s` is `time.time()` at its start."""

    start_s: int
    parts: int = 0
    rejects: int = 0
    faults: int = 0


class Rates:
    """Counts per hour of the wall clock, for the last 24 hours with parts."""

    def __init__(self) -> None:
        self._hours: dict[int, Hour] = {}  # oldest entry first

    def add(self, wall_s: float, verdict: Verdict) -> None:
        """Count one part."""
        start_s = int(wall_s // _HOUR_S) * _HOUR_S if math.isfinite(wall_s) else 0
        hour = self._hours.get(start_s)
        if hour is None:
            hour = self._hours[start_s] = Hour(start_s)
            while len(self._hours) > MOST_HOURS:
                del self._hours[next(iter(self._hours))]
        hour.parts += 1
        hour.rejects += verdict == "reject"
        hour.faults += verdict == "fault"

    def as_dict(self) -> dict[str, object]:
        """Return counts per hour, and for rejects and faults the centre line and each hour's limits."""
        hours = sorted(self._hours.values(), key=lambda hour: hour.start_s)
        return {
            "hours": [vars(hour).copy() for hour in hours],
            "rejects": p_chart([(hour.rejects, hour.parts) for hour in hours]).as_dict(),
            "faults": p_chart([(hour.faults, hour.parts) for hour in hours]).as_dict(),
        }


@dataclass(frozen=True)
class PChart:
    """Centre line and limits of a p-chart; rates from 0 to 1, one pair of limits for each group."""

    centre: float
    limits: tuple[tuple[float, float], ...]

    def as_dict(self) -> dict[str, object]:
        """Plain values."""
        return {"centre": self.centre, "limits": [list(pair) for pair in self.limits]}


def p_chart(groups: Sequence[tuple[int, int]]) -> PChart:
    """Compute Shewhart's p-chart (ISO 7870-2) of groups (nonconforming parts, parts).

    The centre is the rate over all groups; the limits are three standard deviations of a binomial proportion
    of that group's size from it, within 0 and 1. A group without parts has the limits 0 and 1.
    """
    total = sum(parts for _, parts in groups)
    centre = sum(bad for bad, _ in groups) / total if total else 0.0
    limits = []
    for _, parts in groups:
        if parts:
            spread = 3 * math.sqrt(centre * (1 - centre) / parts)
            limits.append((max(0.0, centre - spread), min(1.0, centre + spread)))
        else:
            limits.append((0.0, 1.0))
    return PChart(centre, tuple(limits))
