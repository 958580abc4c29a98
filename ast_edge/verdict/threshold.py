"""The threshold from good parts, and what it promises. NumPy only."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import DataError, UsageError
from ast_edge.model.manifest import CalibrationMethod, Threshold
from ast_edge.verdict.margin import SCORE_TOLERANCE, threshold_above
from ast_edge.verdict.rates import beta_quantile

USUAL_FALSE_REJECT_RATE, USUAL_HOLDOUT = 0.01, 0.1  # of training
FEWEST_HELD_OUT = 2  # one score has no spread from which to set a threshold
FEWEST_TRAINED = 2


def conformal_threshold(
    scores: NDArray[np.floating],
    pixel_maxima: NDArray[np.floating],
    *,
    false_reject_rate: float,
    confidence: float = 0.95,
    tolerance: float = SCORE_TOLERANCE["fp32"],
    method: CalibrationMethod = "split",
) -> Threshold:
    """Threshold from good parts that were not trained on (split-conformal prediction).

    `scores` [n] are their image scores, `pixel_maxima` [n] the largest values of their maps. The threshold
    lies just above the k-th smallest score, k = ceil((n+1)(1-rate)), or the largest where there are too few
    parts for the rate asked: by the relative `tolerance` that engines are held to (see `threshold_above`).
    For exchangeable parts a new good part is rejected with probability at most (n+1-k)/(n+1), and
    the rate of this very threshold follows at worst Beta(n+1-k, k), whose quantile at `confidence` is
    `upper_false_reject_rate`. Raises DataError for fewer than two parts or scores that are not finite,
    UsageError for a rate or confidence outside (0, 1).
    """
    _check_scores(scores, pixel_maxima)
    parts = int(scores.size)
    promised = promise(parts, false_reject_rate, confidence)
    score = float(np.sort(scores)[promised.rank - 1])
    value = threshold_above(score, scores, tolerance)
    return Threshold(
        value=value,
        margin=value - score,
        pixel_value=float(np.sort(pixel_maxima)[promised.rank - 1]),
        target_false_reject_rate=float(false_reject_rate),
        expected_false_reject_rate=promised.expected,
        upper_false_reject_rate=promised.upper,
        confidence=float(confidence),
        good_parts=parts,
        good_parts_needed=promised.needed,
        method=method,
    )


class Promise(NamedTuple):
    """What a number of good parts supports: the rank k of the score, 1 for the smallest, and its bounds."""

    rank: int
    expected: float
    upper: float
    needed: int  # parts for the rate asked for


def promise(parts: int, false_reject_rate: float, confidence: float = 0.95) -> Promise:
    """What a threshold from `parts` good parts promises (see `conformal_threshold`).

    Raises UsageError for a rate or confidence outside (0, 1).
    """
    for name, value in (("false_reject_rate", false_reject_rate), ("confidence", confidence)):
        if not 0 < value < 1:
            raise UsageError(f"{name}: expected a fraction between 0 and 1, both excluded, found {value}.")
    # The decimal number that was typed: in binary, 1 % of 100 parts may come out as 2 rejects.
    rate = Fraction(repr(float(false_reject_rate)))
    rank = min(parts, math.ceil((parts + 1) * (1 - rate)))
    return _promise_of(rank, parts, confidence, needed=math.ceil(1 / rate) - 1)


def _promise_of(rank: int, parts: int, confidence: float, *, needed: int) -> Promise:
    above = parts + 1 - rank
    return Promise(rank, above / (parts + 1), beta_quantile(above, rank, confidence), needed)


def held_out_count(parts: int, fraction: float) -> int:
    """How many of `parts` good parts, at least 4, training holds out for the threshold: at least 2, and all
    but 2 at most.
    """
    return min(max(FEWEST_HELD_OUT, round(fraction * parts)), parts - FEWEST_TRAINED)


def parts_to_hold_out(count: int, fraction: float) -> int:
    """Return the fewest good parts of which training holds out `count` or more."""
    most = math.ceil((count + 1) / fraction) + FEWEST_TRAINED
    least = max(count + FEWEST_TRAINED, FEWEST_HELD_OUT + FEWEST_TRAINED)
    parts = range(least, max(most, least) + 1)
    return parts[bisect_left(parts, count, key=lambda number: held_out_count(number, fraction))]


def threshold_by_hand(old: Threshold, scores: Sequence[float], value: float) -> Threshold:
    """`value` as threshold, with what the good parts behind `old` say about it.

    `scores` are those of the calibration, rising; the bounds are those of `conformal_threshold` for a value
    that was not chosen by these parts. The pixel threshold stays. Raises UsageError for a value that is not
    finite, or that every one of the parts exceeds: nothing but rejects is known of it.
    """
    if not math.isfinite(value) or value < scores[0]:
        raise UsageError(
            f"--threshold {value:g}: expected a score of at least {scores[0]:.6g}, that of the held-out good "
            "part with the smallest one: below it every good part would be rejected."
        )
    lower = bisect_right(scores, value)
    # Where only the largest score of each group was kept, whole groups count as rejected.
    rejected = -(-(len(scores) - lower) * old.good_parts // len(scores))
    rank = old.good_parts - rejected
    needed = -(-(old.good_parts + 1) // (rejected + 1)) - 1
    promised = _promise_of(rank, old.good_parts, old.confidence, needed=needed)
    return old.model_copy(
        update={
            "value": value,
            "margin": value - scores[lower - 1],
            "target_false_reject_rate": promised.expected,
            "expected_false_reject_rate": promised.expected,
            "upper_false_reject_rate": promised.upper,
            "good_parts_needed": max(1, promised.needed),
            "by_hand": True,
        }
    )


def statement(threshold: Threshold) -> str:
    """What the threshold promises, in words for a quality engineer."""
    parts = threshold.good_parts
    unseen = (
        " that were not trained on"
        if threshold.method == "split"
        else ", each judged by a network that has not seen it"
    )
    origin = (
        f"Set by hand. By {parts} good parts{unseen}, if it was not chosen by them,"
        if threshold.by_hand
        else f"Set from {parts} good parts{unseen}:"
    )
    text = (
        f"{origin} of new good parts about "
        f"{percent(threshold.expected_false_reject_rate)} will be rejected, and with "
        f"{percent(threshold.confidence)} confidence not more than "
        f"{percent(threshold.upper_false_reject_rate)}."
    )
    if parts >= threshold.good_parts_needed:
        return text
    return (
        f"{text} For the {percent(threshold.target_false_reject_rate)} asked for, "
        f"{threshold.good_parts_needed} good parts are needed and there were {parts}, so the threshold lies "
        "just above their largest score."
    )


def percent(rate: float) -> str:
    """A fraction in percent, with three significant digits."""
    return f"{100 * rate:.3g} %"


def _check_scores(scores: NDArray[np.floating], pixel_maxima: NDArray[np.floating]) -> None:
    if scores.ndim != 1 or scores.shape != pixel_maxima.shape:
        raise DataError(
            "calibration expects one score and one map maximum per part, "
            f"found arrays of shape {scores.shape} and {pixel_maxima.shape}."
        )
    if scores.size < 2:
        raise DataError(
            f"calibration expects at least 2 good parts that were not trained on, "
            f"found {scores.size}; add good parts."
        )
    bad = np.flatnonzero(~(np.isfinite(scores) & np.isfinite(pixel_maxima)))
    if bad.size:
        raise DataError(
            f"calibration expects finite scores, found {scores[bad[0]]} (map maximum "
            f"{pixel_maxima[bad[0]]}) for good part number {bad[0]}; look at that picture and its depth map."
        )
