"""Reference vectors: inputs of good and of disturbed parts with PyTorch's outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ast_edge.backends.base import Outputs
from ast_edge.data import Sample
from ast_edge.errors import DataError
from ast_edge.model.arrays import Array
from ast_edge.model.references import References
from ast_edge.train.config import TrainConfig
from ast_edge.train.features import network_inputs
from ast_edge.train.network import TorchBackend

GOOD, DISTURBED = 4, 2
MARGIN = 0.02  # twice the tolerance of FP16
DISTURBED_SHARES = (1 / 6, 1 / 3, 1 / 2, 1.0)


def reference_vectors(
    backend: TorchBackend, config: TrainConfig, holdout: Sequence[Sample], threshold: float
) -> References:
    """Return up to 4 held-out good parts, then up to 2 of them disturbed so that they are rejected.

    Without disturbed ones a proof would cover only one side of the threshold. A part whose score equals the
    threshold within the rounding of FP16 proves nothing about verdicts and is skipped. DataError when no part
    is left.
    """
    vectors = _Vectors(backend, config, holdout, threshold)
    chosen = [*_first(vectors.good(), GOOD), *_first(vectors.rejected(), DISTURBED)]
    if not chosen:
        raise DataError(
            f"{holdout[0].name}: this and all other held-out good parts score at the threshold "
            f"({threshold:.6g}), even when disturbed; give pictures that differ."
        )
    return References(
        {name: np.stack([answered.vector[name] for answered in chosen]) for name in chosen[0].vector},
        np.concatenate([answered.outputs.score for answered in chosen]),
        np.concatenate([answered.outputs.anomaly_map for answered in chosen]),
    )


def disturbed(vector: dict[str, Array], share: float) -> dict[str, Array]:
    """Return a copy with noise on a central square, `share` of the side: any colour, about 1 cm of depth."""
    out = {name: array.copy() for name, array in vector.items()}
    rng = np.random.default_rng(0)
    if "image" in out:
        image = out["image"]
        centre = _central(image.shape[0], share)
        image[centre, centre] = rng.integers(0, 256, image[centre, centre].shape, dtype=np.uint8)
    if "depth" in out:
        depth = out["depth"][0]
        centre = _central(depth.shape[0], share)
        depth[centre, centre] += rng.standard_normal(depth[centre, centre].shape, dtype=np.float32)
    return out


@dataclass(frozen=True, eq=False)
class _Answered:
    vector: dict[str, Array]
    outputs: Outputs

    @property
    def score(self) -> float:
        return float(self.outputs.score[0])


@dataclass(frozen=True)
class _Vectors:
    backend: TorchBackend
    config: TrainConfig
    holdout: Sequence[Sample]
    threshold: float

    def good(self) -> Iterator[_Answered]:
        """Yield held-out parts clearly on one side of the threshold."""
        for vector in self._inputs():
            answered = self._answer(vector)
            if abs(answered.score - self.threshold) > MARGIN * abs(self.threshold):
                yield answered

    def rejected(self) -> Iterator[_Answered]:
        """Yield each part with the smallest disturbance that puts it clearly above the threshold, if any."""
        for vector in self._inputs():
            for share in DISTURBED_SHARES:
                answered = self._answer(disturbed(vector, share))
                if answered.score - self.threshold > MARGIN * abs(self.threshold):
                    yield answered
                    break

    def _inputs(self) -> Iterator[dict[str, Array]]:
        for sample in self.holdout:
            yield network_inputs(sample, self.config.mode, self.config.preprocessing)

    def _answer(self, vector: dict[str, Array]) -> _Answered:
        return _Answered(vector, self.backend.run({name: array[None] for name, array in vector.items()}))


def _first(answers: Iterator[_Answered], count: int) -> list[_Answered]:
    return [answered for answered, _ in zip(answers, range(count), strict=False)]


def _central(size: int, share: float) -> slice:
    half = max(round(size * share / 2), 1)
    return slice(size // 2 - half, size // 2 + half)
