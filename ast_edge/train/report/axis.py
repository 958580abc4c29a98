"""Where a score lies on the report's charts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ast_edge.train.metrics import Scores

_FAR_APART = 5.0  # largest score over smallest, from which on the axis is logarithmic


@dataclass(frozen=True)
class Axis:
    """The position of a score on the charts, 0 to 1: linear, or logarithmic for a wide range."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def of(cls, scores: Scores, threshold: float) -> Axis:
        """Return an axis that includes all scores and the threshold."""
        values = np.append(scores, threshold)
        low, high = float(values.min()), float(values.max())
        logarithmic = low > 0 and high > _FAR_APART * low
        if logarithmic:
            return cls(low / 1.05, high * 1.05, logarithmic)
        room = 0.03 * (high - low) or 1.0
        return cls(low - room, high + room, logarithmic)

    def place(self, score: float) -> float:
        """Return the position of a score; left end 0, right end 1."""
        if self.logarithmic:
            return math.log(score / self.low) / math.log(self.high / self.low)
        return (score - self.low) / (self.high - self.low)

    def ticks(self) -> list[str]:
        """Return the scores at both ends and at the quarters."""
        return [f"{self.at(place):.3g}" for place in (0.0, 0.25, 0.5, 0.75, 1.0)]

    def at(self, place: float) -> float:
        """Return the score at a position; the inverse of `place`."""
        if self.logarithmic:
            return self.low * math.exp(place * math.log(self.high / self.low))
        return self.low + place * (self.high - self.low)
