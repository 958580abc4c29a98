"""Delays between retries: exponential, with jitter so that clients do not retry in step."""

from __future__ import annotations

import random


class Backoff:
    """The delay doubles from `first_s` to `most_s`; each wait is a random half to all of it."""

    def __init__(self, first_s: float = 0.25, most_s: float = 10.0, *, seed: int | None = None) -> None:
        self._first_s, self._most_s = first_s, most_s
        self._next_s = first_s
        self._random = random.Random(seed)  # noqa: S311 (jitter, no secret)

    def next_s(self) -> float:
        """Return the seconds to wait before the next attempt."""
        wait = self._next_s * self._random.uniform(0.5, 1.0)
        self._next_s = min(2 * self._next_s, self._most_s)
        return wait

    def reset(self) -> None:
        """Reset after a success: the next failure waits `first_s` again."""
        self._next_s = self._first_s
