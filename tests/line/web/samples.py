"""Sample parts for the page: pictures with a defect, scores, a calibrated model."""

from __future__ import annotations

import math
import time

import numpy as np

from ast_edge.cameras.base import Frame
from ast_edge.inspector import Inspection
from ast_edge.line.part import PartResult, Trigger
from ast_edge.model.manifest import QUANTILE_LEVELS, Calibration, ModelSpec
from ast_edge.verdict.scoring import Verdict
from tests.tiny import tiny_spec

THRESHOLD = 0.3333333333333333


def calibrated(spec: ModelSpec, scores: tuple[float, ...]) -> ModelSpec:
    """`spec` with the evidence of good parts' scores."""
    quantiles = tuple(float(value) for value in np.quantile(scores, QUANTILE_LEVELS))
    evidence = Calibration(
        revision=1,
        origin="test",
        operator=None,
        made=None,
        parts_sha256="0" * 64,
        scores=scores,
        score_quantiles=quantiles,
        brightness_quantiles=None,
        sharpness_quantiles=None,
    )
    return spec.model_copy(update={"calibration": evidence})


def model() -> ModelSpec:
    """A calibrated model whose threshold has 16 digits."""
    spec = tiny_spec()
    threshold = spec.threshold.model_copy(update={"value": THRESHOLD, "pixel_value": 0.5})
    scores = tuple(np.linspace(0.1, 0.33, 100).tolist())
    return calibrated(spec.model_copy(update={"threshold": threshold}), scores)


def shown_part(
    number: int,
    verdict: Verdict = "pass",
    *,
    reason: str = "",
    at_ns: int | None = None,
    frame: Frame | None = None,
    spec: ModelSpec | None = None,
) -> PartResult:
    """A part of 96x64 pixels; a fault has no picture."""
    spec = spec or model()
    grid = np.full((spec.preprocessing.map_size,) * 2, 0.05, np.float32)
    if verdict == "reject":
        grid[grid.shape[0] // 2, grid.shape[1] // 2] = 1.5
    score = {"pass": 0.2, "reject": 0.55, "fault": math.nan}[verdict]
    inspection = Inspection(verdict, score, spec.threshold.value, reason, grid, {"engine": 3.0})
    if frame is None and verdict != "fault":
        pixels = np.random.default_rng(number).integers(90, 160, (64, 96, 3), np.uint8)
        frame = Frame(pixels, "rgb", number, None, time.monotonic_ns(), "")
    now = time.monotonic_ns()
    return PartResult(
        run="run",
        trigger=Trigger(number=number, at_ns=now if at_ns is None else at_ns, wall_s=time.time()),
        recipe="cap-blue",
        verdict=verdict,
        reason=reason,
        score=score,
        threshold=spec.threshold.value,
        latency_ms=23.4,
        stages_ms=inspection.stages_ms,
        frame=frame,
        inspection=None if verdict == "fault" else inspection,
        spec=spec,
    )
