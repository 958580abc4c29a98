"""Several distances made one anomaly map: their weighted geometric mean.

The reference for the graph; NumPy only.

A network that judges a place by its student and by memories has one distance from each, in units of their
own. Their logarithms are comparable: a spread in one is as rare as a spread in another. The map is

    exp(sum_k w_k (log d_k - m_k)),  w_k = (1 / s_k) / sum_j (1 / s_j),

with m_k and s_k the mean and the standard deviation of log d_k over all places of good parts that were not
trained on. So it orders places as the sum of the standardised logarithms does; it is positive and about 1
where a good part is as usual; and since the weights add up to 1, its relative error is no larger than that of
the worst distance, which is why the tolerances of engines hold for it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FLOOR = 1e-6  # no distance counts for less: log 0 is no number
LEAST_SPREAD = 1e-3


@dataclass(frozen=True)
class Fusion:
    """Weights of K distances, which add up to 1, and what is taken from the weighted sum of logarithms."""

    weights: tuple[float, ...]
    offset: float


def fused(distances: Sequence[NDArray[np.float32]], fusion: Fusion) -> NDArray[np.float64]:
    """The anomaly map of distances of one shape [N,h,w]."""
    logs = [np.log(np.maximum(distance, FLOOR, dtype=np.float64)) for distance in distances]
    total = sum(weight * log for weight, log in zip(fusion.weights, logs, strict=True))
    return np.asarray(np.exp(total - fusion.offset), np.float64)


def fitted(logs: Sequence[NDArray[np.floating]]) -> Fusion:
    """Weights and offset from the logarithms of K distances at places of good parts, each of shape [P]."""
    means = [float(np.mean(log, dtype=np.float64)) for log in logs]
    inverse = [1 / max(float(np.std(log, dtype=np.float64)), LEAST_SPREAD) for log in logs]
    weights = tuple(value / sum(inverse) for value in inverse)
    return Fusion(weights, sum(weight * mean for weight, mean in zip(weights, means, strict=True)))
