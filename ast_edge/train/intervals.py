"""Confidence intervals of AUROCs (DeLong).

E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, "Comparing the areas under two or more correlated receiver
operating characteristic curves: a nonparametric approach", Biometrics 44 (1988).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from ast_edge.train.metrics import Flags, Scores
from ast_edge.verdict.rates import CONFIDENCE, Interval, rate_interval

_FEWEST = 2  # parts of a kind: one has no variance


class Difference(NamedTuple):
    """One AUROC less another on the same parts, and its interval."""

    value: float
    interval: Interval


def auroc_interval(defective: Flags, scores: Scores) -> Interval | None:
    """Return DeLong's interval of the AUROC within 0 to 1; None with fewer than two parts of either kind.

    DeLong's variance is 0 where no pair of a good and a defective part is out of order. Then the interval is
    the exact one of as many disjoint pairs as there are, all in order.
    """
    if _too_few(defective):
        return None
    bad, good = _placements(defective, scores)
    area, variance = float(bad.mean()), _variance(bad, good)
    if variance == 0:
        pairs = min(bad.size, good.size)
        return rate_interval(round(area * pairs), pairs)
    return _within(area, math.sqrt(variance), 0.0)


def auroc_difference(defective: Flags, first: Scores, second: Scores) -> Difference | None:
    """Return the AUROC of `first` less that of `second`, both scores of the same parts; None as above.

    None, too, where DeLong's variance is 0, as for two models that separate all parts: that says nothing
    about other parts.
    """
    if _too_few(defective):
        return None
    (bad, good), (other_bad, other_good) = (_placements(defective, scores) for scores in (first, second))
    value = float(bad.mean() - other_bad.mean())
    variance = _variance(bad - other_bad, good - other_good)
    if variance == 0:
        return None
    return Difference(value, _within(value, math.sqrt(variance), -1.0))


def _too_few(defective: Flags) -> bool:
    return min(int(defective.sum()), int((~defective).sum())) < _FEWEST


def _placements(defective: Flags, scores: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for every defective part the share of good ones below it, and the reverse; ties count half."""
    bad, good = scores[defective], scores[~defective]
    ranks = rankdata(np.concatenate([bad, good]))
    below = (ranks[: bad.size] - rankdata(bad)) / good.size
    above = 1 - (ranks[bad.size :] - rankdata(good)) / bad.size
    return below, above


def _variance(bad: NDArray[np.float64], good: NDArray[np.float64]) -> float:
    return float(bad.var(ddof=1) / bad.size + good.var(ddof=1) / good.size)


def _within(value: float, deviation: float, lowest: float) -> Interval:
    reach = float(norm.ppf((1 + CONFIDENCE) / 2)) * deviation
    return Interval(max(lowest, value - reach), min(1.0, value + reach))
