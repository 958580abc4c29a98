"""Whether there are enough good parts for the false-reject rate asked for, by the rule of the threshold."""

from __future__ import annotations

from dataclasses import dataclass

from ast_edge.verdict.threshold import (
    FEWEST_HELD_OUT,
    FEWEST_TRAINED,
    USUAL_HOLDOUT,
    parts_to_hold_out,
    percent,
    promise,
)


@dataclass(frozen=True)
class Needed:
    """Good parts that a threshold at `rate` takes: `crossed` if every part is used for it, by
    `train --calibration cross`, and `held_out` if training holds out its usual share for it.
    """

    rate: float
    crossed: int
    held_out: int

    @classmethod
    def for_rate(cls, rate: float) -> Needed:
        """Raises UsageError for a rate outside (0, 1)."""
        judged = max(promise(1, rate).needed, FEWEST_HELD_OUT)
        crossed = max(judged, FEWEST_HELD_OUT + FEWEST_TRAINED)
        return cls(rate, crossed, parts_to_hold_out(judged, USUAL_HOLDOUT))

    @property
    def steps(self) -> tuple[int, int]:
        """The numbers of parts at which the sentence changes."""
        return self.crossed, self.held_out

    def sentence(self, parts: int) -> str:
        """Say what so many good parts are enough for."""
        rate = percent(self.rate)
        if parts >= self.held_out:
            return f"{parts} good parts are enough for a false-reject rate of {rate}"
        if parts >= self.crossed:
            return (
                f"{parts} good parts are enough for a false-reject rate of {rate} with `train --calibration "
                f"cross`; without it, {self.held_out} are needed, since {percent(USUAL_HOLDOUT)} of them are "
                "held out for the threshold"
            )
        return (
            f"a false-reject rate of {rate} needs {self.crossed} good parts with `train --calibration "
            f"cross`, {self.held_out} without it; there are {parts}"
        )
