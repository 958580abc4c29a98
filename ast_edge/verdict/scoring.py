"""From an anomaly map to a verdict: image score, threshold, calibration from good parts.

The reference for the exported graph (image score) and for every place that decides (verdict). NumPy only.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import DataError, FrameError, UsageError
from ast_edge.model.manifest import Aggregation, Threshold
from ast_edge.verdict.margin import SCORE_TOLERANCE, threshold_above

Verdict = Literal["pass", "reject", "fault"]


def aggregate(
    anomaly_map: NDArray[np.float32], foreground: NDArray[np.float32] | None, aggregation: Aggregation
) -> NDArray[np.float32]:
    """Image scores [N] of anomaly maps [N,h,w] (AST, WACV 2023, "Student").

    The map already carries the mask weights `foreground` [N,h,w]. `mean` is its sum over the sum of the
    weights, so the score does not depend on the part's size; `max` is the largest value where the weight is
    above zero, and `topK` the mean of the K largest there. A map whose foreground is empty, or smaller than
    K, gives NaN or -inf, which `judge` calls a fault. Raises FrameError when the shapes do not fit together
    or a map has fewer than K pixels.
    """
    if anomaly_map.ndim != 3 or (foreground is not None and foreground.shape != anomaly_map.shape):
        other = "no" if foreground is None else str(foreground.shape)
        raise FrameError(
            f"expected maps and foreground of one shape [N,h,w], found {anomaly_map.shape} and {other}"
        )
    values: NDArray[np.float64] = anomaly_map.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if aggregation != "mean":
            inside = values if foreground is None else np.where(foreground > 0, values, -np.inf)
            return np.asarray(_largest(inside, top_count(aggregation)).mean(axis=1), np.float32)
        weights = np.ones_like(values) if foreground is None else foreground.astype(np.float64)
        return np.asarray(values.sum(axis=(1, 2)) / weights.sum(axis=(1, 2)), np.float32)


def top_count(aggregation: Aggregation) -> int:
    """How many of the map's largest values `max` and `topK` take."""
    return 1 if aggregation == "max" else int(aggregation.removeprefix("top"))


def _largest(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    flat = values.reshape(len(values), -1)
    if count > flat.shape[1]:
        raise FrameError(f"expected maps of at least {count} pixels, found {flat.shape[1]}")
    return np.partition(flat, flat.shape[1] - count, axis=1)[:, -count:]


def judge(score: float, threshold: float) -> tuple[Verdict, str]:
    """Verdict and reason: reject above the threshold, fault when the score is no finite number."""
    if not math.isfinite(score):
        return "fault", f"the network gave no usable score ({score})"
    if not math.isfinite(threshold):
        return "fault", f"the threshold is no finite number ({threshold})"
    if score > threshold:
        return "reject", f"score {score:.6g} is above the threshold {threshold:.6g}"
    return "pass", f"score {score:.6g} is not above the threshold {threshold:.6g}"


def calibrate(
    scores: NDArray[np.floating],
    pixel_maxima: NDArray[np.floating],
    *,
    false_reject_rate: float,
    confidence: float = 0.95,
    tolerance: float = SCORE_TOLERANCE["fp32"],
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
    for name, value in (("false_reject_rate", false_reject_rate), ("confidence", confidence)):
        if not 0 < value < 1:
            raise UsageError(f"{name}: expected a fraction between 0 and 1, both excluded, found {value}.")
    _check_scores(scores, pixel_maxima)
    parts = int(scores.size)
    # The decimal number that was typed: in binary, 1 % of 100 parts may come out as 2 rejects.
    rate = Fraction(repr(float(false_reject_rate)))
    rank = min(parts, math.ceil((parts + 1) * (1 - rate)))
    score = float(np.sort(scores)[rank - 1])
    value = threshold_above(score, scores, tolerance)
    return Threshold(
        value=value,
        margin=value - score,
        pixel_value=float(np.sort(pixel_maxima)[rank - 1]),
        target_false_reject_rate=float(false_reject_rate),
        expected_false_reject_rate=(parts + 1 - rank) / (parts + 1),
        upper_false_reject_rate=_beta_quantile(parts + 1 - rank, rank, confidence),
        confidence=float(confidence),
        good_parts=parts,
        good_parts_needed=math.ceil(1 / rate) - 1,
    )


def statement(threshold: Threshold) -> str:
    """What the threshold promises, in words for a quality engineer."""
    parts = threshold.good_parts
    text = (
        f"Set from {parts} good parts that were not trained on: of new good parts about "
        f"{_percent(threshold.expected_false_reject_rate)} will be rejected, and with "
        f"{_percent(threshold.confidence)} confidence not more than "
        f"{_percent(threshold.upper_false_reject_rate)}."
    )
    if parts >= threshold.good_parts_needed:
        return text
    return (
        f"{text} For the {_percent(threshold.target_false_reject_rate)} asked for, "
        f"{threshold.good_parts_needed} good parts are needed and there were {parts}, so the threshold lies "
        "just above their largest score."
    )


def _percent(rate: float) -> str:
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


def _beta_quantile(a: int, b: int, probability: float) -> float:
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
