"""The proof of an engine: it must reproduce the model's reference vectors before it is used."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ast_edge.backends.base import Backend
from ast_edge.model.manifest import ModelSpec
from ast_edge.model.references import References
from ast_edge.verdict.margin import SCORE_TOLERANCE as SCORE_TOLERANCE  # noqa: PLC0414 - callers of prove
from ast_edge.verdict.scoring import judge

if TYPE_CHECKING:
    from ast_edge.model.engine_info import Proven


@dataclass(frozen=True)
class Parity:
    """How well an engine reproduces reference vectors.

    `max_relative_score_error` is a fraction, `max_absolute_map_error` is in the map's own unit; both are
    infinite when the engine gave a number that is not finite.
    """

    count: int
    max_relative_score_error: float
    max_absolute_map_error: float
    flipped_verdicts: int
    tolerance: float

    @property
    def ok(self) -> bool:
        """True when every score is within the tolerance, no verdict differs and every map is finite."""
        return (
            self.count > 0
            and self.max_relative_score_error <= self.tolerance
            and math.isfinite(self.max_absolute_map_error)
            and not self.flipped_verdicts
        )

    @property
    def proven(self) -> Proven:
        """The record of a proof that is ok."""
        from ast_edge.model.engine_info import Proven  # noqa: PLC0415 (its models cost at every import)

        return Proven(
            vectors=self.count,
            max_relative_score_error=self.max_relative_score_error,
            max_absolute_map_error=self.max_absolute_map_error,
            tolerance=self.tolerance,
        )

    @property
    def differences(self) -> str:
        """The figures in words, for an error."""
        return (
            f"score off by {self.max_relative_score_error:.2g} relative (allowed {self.tolerance:g}), map by "
            f"{self.max_absolute_map_error:.2g}, {self.flipped_verdicts} of {self.count} verdicts differ"
        )


def prove(backend: Backend, references: References, spec: ModelSpec, tolerance: float) -> Parity:
    """Run every vector through `backend` one by one and compare; `tolerance` is relative, on the score.

    Verdicts are those at the threshold that the vectors were chosen for, whatever is in force since. A
    batch that must be larger than one is filled with copies of the vector, as `Inspector` does.
    """
    score_error = map_error = 0.0
    flipped = 0
    for index in range(len(references)):
        vector = references.subset([index] * backend.least_batch)
        outputs = backend.run(vector.inputs)
        expected, found = float(vector.score[0]), float(outputs.score[0])
        score_error = max(score_error, _finite_or_inf(abs(found - expected) / max(abs(expected), 1e-12)))
        difference = np.abs(outputs.anomaly_map[0].astype(np.float64) - vector.anomaly_map[0])
        map_error = max(map_error, _finite_or_inf(float(difference.max())))
        limit = spec.reference_threshold
        flipped += judge(found, limit)[0] != judge(expected, limit)[0]
    return Parity(len(references), score_error, map_error, flipped, tolerance)


def _finite_or_inf(value: float) -> float:
    # max() with NaN on the right keeps the left: a NaN must not hide behind a good vector.
    return value if math.isfinite(value) else math.inf
