"""Percentiles, left blank where too few samples support them, and a histogram."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ast_edge.machine.record import Strict

# A percentile is given if at least this many samples lie beyond it: p50 needs 20 samples, p25 40, p99 1000.
BEYOND = 10
PERCENTILES: Mapping[str, float] = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
_BINS = 60


class Figures(Strict):
    """Statistics of many times in milliseconds; a percentile that too few samples support is None."""

    min: float
    mean: float
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    p999: float | None
    max: float

    @property
    def jitter(self) -> float | None:
        """p99 over p50."""
        return self.p99 / self.p50 if self.p99 is not None and self.p50 else None


class Histogram(Strict):
    """Counts of times in equal bins: `counts` between neighbouring `edges_ms`, and `beyond` the last edge.

    The last edge is about the 99.5th percentile, so that one outlier does not flatten the rest.
    """

    edges_ms: tuple[float, ...]
    counts: tuple[int, ...]
    beyond: int


def percentile(values: Sequence[float] | NDArray[np.float64], percent: float) -> float | None:
    """Return the percentile rounded to four digits; None if fewer than `BEYOND` values lie beyond it."""
    if not supports(len(values), percent):
        return None
    return round(float(np.percentile(np.asarray(values, np.float64), percent)), 4)


def supports(count: int, percent: float) -> bool:
    """Return whether `BEYOND` of `count` values lie beyond the percentile, on its nearer side."""
    return count * min(percent, 100.0 - percent) >= 100.0 * BEYOND - 1e-6


def figures(times_ms: Sequence[float] | NDArray[np.float64]) -> Figures:
    """Return the statistics of at least one time, rounded to 0.1 microseconds."""
    times = np.asarray(times_ms, np.float64)
    found: dict[str, Any] = {name: percentile(times, percent) for name, percent in PERCENTILES.items()}
    for name, value in (("min", times.min()), ("mean", times.mean()), ("max", times.max())):
        found[name] = round(float(value), 4)
    return Figures(**found)


def histogram(times_ms: Sequence[float] | NDArray[np.float64]) -> Histogram:
    """Return the histogram of at least one time."""
    times = np.asarray(times_ms, np.float64)
    low, high = float(times.min()), float(np.percentile(times, 99.5))
    edges = np.linspace(low, max(high, low + 1e-3), _BINS + 1)
    counts, _ = np.histogram(times, edges)
    return Histogram(
        edges_ms=tuple(round(float(edge), 5) for edge in edges),
        counts=tuple(int(count) for count in counts),
        beyond=int(times.size - counts.sum()),
    )


def by_stage(rows: Iterable[Mapping[str, float]]) -> dict[str, NDArray[np.float64]]:
    """Return the times of each stage, in the order of the stages."""
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return {name: np.array(column) for name, column in columns.items()}
