"""What good parts say about a model: the evidence a threshold rests on, p-values, and its revisions.

Training and `ast-edge calibrate` make their calibrations here, so the two cannot drift apart.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import UsageError
from ast_edge.frames.levels import GreyLevels
from ast_edge.model.manifest import (
    QUANTILE_LEVELS,
    Calibration,
    CalibrationMethod,
    Manifest,
    ModelSpec,
    PastCalibration,
    Precision,
)
from ast_edge.verdict.margin import SCORE_TOLERANCE
from ast_edge.verdict.threshold import conformal_threshold, threshold_by_hand

KEPT_SCORES = 1000


@dataclass(frozen=True)
class GoodParts:
    """How a model judged good parts that it was not trained on.

    `scores` and `map_maxima` have one value per part; `levels` too, or are empty in mode depth.
    """

    scores: Sequence[float]
    map_maxima: Sequence[float]
    levels: Sequence[GreyLevels]
    sha256: str


@dataclass(frozen=True)
class Origin:
    """Who made a calibration, how and when (UTC); training names neither person nor time."""

    how: str
    operator: str | None = None
    made: str | None = None


def calibrate(
    parts: GoodParts,
    origin: Origin,
    *,
    false_reject_rate: float,
    confidence: float = 0.95,
    precision: Precision = "fp32",
    method: CalibrationMethod = "split",
) -> PastCalibration:
    """Threshold and evidence of `parts`, as revision 1, for a network in `precision`.

    Raises what `conformal_threshold` raises.
    """
    scores = np.array(parts.scores, np.float64)
    brightness = [level.brightness for level in parts.levels]
    sharpness = [level.sharpness for level in parts.levels]
    threshold = conformal_threshold(
        scores,
        np.array(parts.map_maxima, np.float64),
        false_reject_rate=false_reject_rate,
        confidence=confidence,
        tolerance=SCORE_TOLERANCE[precision],
        method=method,
    )
    calibration = Calibration(
        revision=1,
        origin=origin.how,
        operator=origin.operator,
        made=origin.made,
        parts_sha256=parts.sha256,
        scores=_kept(np.sort(scores)),
        score_quantiles=_quantiles(scores),
        brightness_quantiles=_quantiles(brightness) if brightness else None,
        sharpness_quantiles=_quantiles(sharpness) if sharpness else None,
    )
    return PastCalibration(threshold=threshold, calibration=calibration)


def p_value(score: float, spec: ModelSpec) -> float | None:
    """The share of good parts, this one counted among them, that score no less; None without calibration.

    For a good part the p-value is at most p with probability at most p (split-conformal prediction). Where
    only the largest score of each group was kept, whole groups count, so it errs towards a larger p-value.
    """
    if spec.calibration is None:
        return None
    kept, parts = spec.calibration.scores, spec.threshold.good_parts
    no_less = len(kept) - bisect_left(kept, score)
    return (1 + no_less * parts / len(kept)) / (parts + 1)


def revised(manifest: Manifest, new: PastCalibration) -> Manifest:
    """`manifest` with `new` in force as its next revision; the one in force until now goes to the earlier."""
    if manifest.calibration is None:
        earlier = manifest.earlier
    else:
        past = PastCalibration(threshold=manifest.threshold, calibration=manifest.calibration)
        earlier = (*manifest.earlier, past)
    revision = max((past.calibration.revision for past in earlier), default=0) + 1
    return manifest.model_copy(
        update={
            "threshold": new.threshold,
            "calibration": new.calibration.model_copy(update={"revision": revision}),
            "earlier": earlier,
        }
    )


def restored(manifest: Manifest, revision: int, origin: Origin) -> Manifest:
    """`manifest` with an earlier revision in force again, as a new one. UsageError when there is none."""
    for past in manifest.earlier:
        if past.calibration.revision == revision:
            again = past.calibration.model_copy(
                update={"origin": origin.how, "operator": origin.operator, "made": origin.made}
            )
            return revised(manifest, PastCalibration(threshold=past.threshold, calibration=again))
    known = ", ".join(str(past.calibration.revision) for past in manifest.earlier) or "none"
    raise UsageError(f"--restore {revision}: there is no such earlier revision (there are: {known}).")


def set_by_hand(manifest: Manifest, value: float, origin: Origin) -> Manifest:
    """`manifest` with the threshold `value` in force, as a new revision; see `threshold_by_hand`.

    UsageError for a model that contains no scores of good parts.
    """
    if manifest.calibration is None:
        raise UsageError(
            f"--threshold {value:g}: this model contains no scores of good parts, so nothing is known of "
            "what the threshold would reject; calibrate it with good parts first."
        )
    threshold = threshold_by_hand(manifest.threshold, manifest.calibration.scores, value)
    same = manifest.calibration.model_copy(
        update={"origin": origin.how, "operator": origin.operator, "made": origin.made}
    )
    return revised(manifest, PastCalibration(threshold=threshold, calibration=same))


def _kept(rising: NDArray[np.float64]) -> tuple[float, ...]:
    if rising.size <= KEPT_SCORES:
        return tuple(rising.tolist())
    last = -(-np.arange(1, KEPT_SCORES + 1) * rising.size // KEPT_SCORES) - 1
    return tuple(rising[last].tolist())


def _quantiles(values: NDArray[np.float64] | list[float]) -> tuple[float, ...]:
    return tuple(np.quantile(values, QUANTILE_LEVELS).tolist())
