"""When an engine has warmed up."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

WINDOW = 10
_STEADY = 0.05


def settled(times: Sequence[float]) -> bool:
    """Whether the medians of the last two windows of ten times differ by at most 5 %."""
    if len(times) < 2 * WINDOW:
        return False
    before, last = median(times[-2 * WINDOW : -WINDOW]), median(times[-WINDOW:])
    return abs(last - before) <= _STEADY * before
