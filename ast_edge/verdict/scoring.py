"""From an anomaly map to a verdict: the image score and its comparison with the threshold.

The reference for the exported graph (image score) and for every place that decides (verdict). NumPy only.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import FrameError
from ast_edge.model.manifest import Aggregation

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
