"""A situation of the line with random times, and an undisturbed part."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.line.bench import Bench, Plan, wait_for

Drawn = dict[str, float]  # milliseconds
_MOST_CALM = 200
_READY_S = 90.0


@dataclass(frozen=True)
class Chance:
    """Draws random times; a `long` run may take longer."""

    rng: random.Random
    long: bool

    def wait(self, low_ms: float, high_ms: float) -> float:
        """Sleep for a random time; return it, in milliseconds."""
        drawn_ms = self.rng.uniform(low_ms, high_ms)
        time.sleep(drawn_ms / 1e3)
        return round(drawn_ms, 1)


@dataclass(frozen=True)
class Scenario:
    """`do` runs in a line of this plan and returns the random times."""

    what: str
    plan: Plan
    do: Callable[[Bench, Chance], Drawn]


def calm(bench: Bench) -> None:
    """Produce undisturbed parts until one is judged: on a busy machine some are seen too late.

    Raises RuntimeError if none is judged: a line that judges nothing is never wrong.
    """
    wait_for(bench.ready, _READY_S, "the station does not become ready again")
    reason = ""
    for _ in range(_MOST_CALM):
        seen = bench.verdict(bench.part())
        if seen.verdict != "fault":
            return
        reason = seen.reason
        time.sleep(bench.plan.stay_ms / 1e3)
    raise RuntimeError(f"{_MOST_CALM} undisturbed parts were faults, the last one: {reason}")
