"""Rates of parts: exact intervals (Clopper and Pearson), and McNemar's exact test of two models."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ast_edge.wording import percent_text

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """Both ends of a two-sided interval, as fractions."""

    low: float
    high: float


def rate_interval(count: int, parts: int) -> Interval:
    """Return the exact interval of a rate: `count` of `parts`."""
    tail = (1 - CONFIDENCE) / 2
    # The lower end is 1 less the upper end of the rest.
    return Interval(1 - _upper_bound(parts - count, parts, tail), _upper_bound(count, parts, tail))


def rate_at_most(count: int, parts: int) -> float:
    """Return the one-sided upper bound of a rate: with 95 % confidence it is not more than this."""
    return _upper_bound(count, parts, 1 - CONFIDENCE)


def parts_to_show(limit: float) -> int:
    """Return how many parts show that a rate is at most `limit` if it occurs on none of them."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-limit) - 1e-9)


def mcnemar(only_first: int, only_second: int) -> float | None:
    """Return the p-value of McNemar's exact test: of a fair coin, both tails; None without a differing part.

    The arguments count the parts on which one of two models errs and the other does not. Q. McNemar, "Note
    on the sampling error of the difference between correlated proportions or percentages", Psychometrika 12
    (1947); the exact test is the binomial one.
    """
    differing, fewer = only_first + only_second, min(only_first, only_second)
    if not differing:
        return None
    tail = sum(math.comb(differing, heads) for heads in range(fewer + 1))
    tosses = 1 << differing
    return min(1.0, 2 * tail / tosses)


def rate_text(count: int, parts: int) -> str:
    """Format a rate with its 95 % Clopper-Pearson interval, in percent."""
    return f"{percent_text(count, parts)}, 95 % confidence {interval_text(rate_interval(count, parts))}"


def interval_text(interval: Interval | None) -> str:
    """Format an interval in percent, each end rounded outwards; empty for None."""
    if interval is None:
        return ""
    low, high = math.floor(1000 * interval.low + 1e-9) / 10, math.ceil(1000 * interval.high - 1e-9) / 10
    return f"{low:.1f} to {high:.1f} %"


def chance_text(p_value: float) -> str:
    """A p-value of McNemar's test in words."""
    return (
        f"a difference of this size or more comes about by chance with probability {p_value:.2g} "
        "(McNemar's exact test)"
    )


def beta_quantile(a: int, b: int, probability: float) -> float:
    """Smallest u with P(Beta(a, b) <= u) >= probability, from the binomial tail P(Bin(a+b-1, u) >= a)."""
    trials = a + b - 1
    successes = np.arange(a)
    log_choose = np.array(
        [math.lgamma(trials + 1) - math.lgamma(j + 1) - math.lgamma(trials - j + 1) for j in range(a)]
    )
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        log_terms = log_choose + successes * math.log(middle) + (trials - successes) * math.log1p(-middle)
        if math.fsum(np.exp(log_terms)) <= 1 - probability:
            high = middle
        else:
            low = middle
    return high


def _upper_bound(count: int, parts: int, tail: float) -> float:
    return 1.0 if count == parts else beta_quantile(count + 1, parts - count, 1 - tail)
