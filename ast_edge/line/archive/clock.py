"""The archive's own time, which cannot be set; the age of pictures is measured in it."""

from __future__ import annotations

import time
from collections.abc import Callable

_MOST_REST_S = 7 * 86_400.0


def resumed_s(saved_s: float, saved_wall_s: float, wall_s: float) -> float:
    """Return the archive's time at a start, from the saved archive and system times.

    The time in between counts, but never backwards and never more than a week: a system clock that was set
    meanwhile, or starts in 1970 for lack of a battery, makes nothing expire at once.
    """
    return saved_s + min(max(wall_s - saved_wall_s, 0.0), _MOST_REST_S)


class ArchiveClock:
    """Seconds that the archive has run, over all its runs; call `resume` once the saved time is known."""

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._began = steady()
        self._before = 0.0
        self._resumed = False

    def resume(self, saved_s: float, saved_wall_s: float, wall_s: float) -> None:
        """Continue from the saved time; a second call does nothing."""
        if not self._resumed and saved_wall_s > 0:
            self._before += resumed_s(saved_s, saved_wall_s, wall_s)
        self._resumed = True

    def now_s(self) -> float:
        """Return the archive's time."""
        return self._before + self._steady() - self._began
