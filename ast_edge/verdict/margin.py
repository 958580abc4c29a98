"""How far a threshold stays above the good part that it was taken from.

An engine is the same network as long as its scores are within a tolerance of the model's (`SCORE_TOLERANCE`).
A threshold that is equal to a part's score would leave that part's verdict to the last bit of the engine, so
the threshold lies above the score by the tolerance, and away from other parts' scores in that range.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ast_edge.model.manifest import ModelSpec, Precision

# Largest relative error of a score that is still the same network.
SCORE_TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "fp16": 1e-2, "int8": 5e-2}
_SMALLEST = 1e-12  # errors of smaller scores count as if the score were this large
_ROUNDING = 1e-6  # a score at exactly the tolerance from the threshold is outside the margin

Spec = TypeVar("Spec", bound=ModelSpec)


def threshold_above(score: float, scores: Sequence[float] | NDArray[np.floating], tolerance: float) -> float:
    """A threshold above the good part's `score` that keeps away from all `scores` of good parts.

    It lies in the middle of the widest gap between the scores from `score` to twice the tolerance above it:
    where no other part scores in that range, above `score` by exactly the tolerance, which is relative.
    """
    top = score + 2 * tolerance * max(abs(score), _SMALLEST)
    values = np.asarray(scores, np.float64)
    edges = np.unique([score, *values[(values > score) & (values < top)], top])
    widest = int(np.argmax(np.diff(edges)))
    return float((edges[widest] + edges[widest + 1]) / 2)


def for_precision(spec: Spec, precision: Precision) -> Spec:
    """`spec` with its threshold above the same good part's score by the tolerance of another precision."""
    threshold = spec.threshold
    score = threshold.value - threshold.margin
    kept = spec.calibration.scores if spec.calibration is not None else ()
    value = threshold_above(score, kept, SCORE_TOLERANCE[precision])
    return spec.model_copy(
        update={"threshold": threshold.model_copy(update={"value": value, "margin": value - score})}
    )


def undecided_parts(spec: ModelSpec, precision: Precision) -> int:
    """How many of the calibration's scores are closer to the threshold than engines may be apart.

    Two engines that are both within the tolerance could give such a part different verdicts.
    """
    if spec.calibration is None:
        return 0
    scores = np.array(spec.calibration.scores)
    allowed = SCORE_TOLERANCE[precision] * np.maximum(np.abs(scores), _SMALLEST)
    return int(np.sum(np.abs(scores - spec.threshold.value) < allowed * (1 - _ROUNDING)))
