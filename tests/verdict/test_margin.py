"""The threshold's margin: engines within the tolerance agree on every good part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.model.manifest import ModelSpec, Precision
from ast_edge.verdict.calibration import GoodParts, Origin, calibrate
from ast_edge.verdict.margin import SCORE_TOLERANCE, for_precision, threshold_above, undecided_parts
from ast_edge.verdict.scoring import judge
from tests.tiny import tiny_spec

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
scores_of_parts = st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=40)


def spec_of(scores: list[float], rate: float = 0.3, precision: Precision = "fp32") -> ModelSpec:
    parts = GoodParts(scores, scores, [], "a" * 64)
    made = calibrate(parts, Origin("test"), false_reject_rate=rate, precision=precision)
    return tiny_spec().model_copy(update={"threshold": made.threshold, "calibration": made.calibration})


def test_alone_the_threshold_is_above_the_score_by_the_tolerance() -> None:
    assert threshold_above(2.0, [1.0, 2.0, 5.0], 1e-2) == pytest.approx(2.02, rel=1e-12)
    assert threshold_above(-2.0, [-2.0], 1e-2) == pytest.approx(-1.98, rel=1e-12)
    assert threshold_above(0.0, [0.0], 1e-2) == pytest.approx(1e-14)


def test_other_parts_in_the_range_are_kept_away_from() -> None:
    assert threshold_above(1.0, [1.0, 1.01], 1e-2) == pytest.approx(1.005)
    assert threshold_above(1.0, [1.0, 1.002, 1.004, 1.018], 1e-2) == pytest.approx(1.011)
    assert threshold_above(1.0, [1.0, 1.019, 1.0195], 1e-2) == pytest.approx(1.0095)


@given(scores=scores_of_parts, rate=st.floats(0.01, 0.9), precision=st.sampled_from(PRECISIONS))
def test_the_part_that_the_threshold_comes_from_passes_and_the_rate_holds(
    scores: list[float], rate: float, precision: Precision
) -> None:
    threshold = spec_of(scores, rate, precision).threshold
    part = threshold.value - threshold.margin
    assert min(abs(part - score) for score in scores) <= 1e-9 * part
    assert 0 < threshold.margin <= 2 * SCORE_TOLERANCE[precision] * part * (1 + 1e-9)
    assert all(judge(score, threshold.value)[0] == "pass" for score in scores if score <= part)
    rejected = sum(judge(score, threshold.value)[0] == "reject" for score in scores)
    assert rejected <= max(rate * (len(scores) + 1), 0)


@given(scores=scores_of_parts, rate=st.floats(0.01, 0.9), seed=st.integers(0, 99))
@pytest.mark.parametrize("precision", PRECISIONS)
def test_engines_within_the_tolerance_agree_about_every_part_outside_the_margin(
    precision: Precision, scores: list[float], rate: float, seed: int
) -> None:
    spec = spec_of(scores, rate, precision)
    limit, tolerance = spec.threshold.value, SCORE_TOLERANCE[precision] * (1 - 1e-5)
    errors = np.random.default_rng(seed).uniform(-tolerance, tolerance, len(scores))
    differing = [
        score
        for score, error in zip(scores, errors, strict=True)
        if judge(score, limit)[0] != judge(score * (1 + error), limit)[0]
    ]
    assert len(differing) <= undecided_parts(spec, precision)


def test_parts_that_engines_may_judge_differently_are_counted() -> None:
    assert undecided_parts(spec_of([1.0, 2.0, 3.0]), "fp32") == 0
    close = spec_of([1.0, 2.0, 2.00005, 3.0, 4.0], rate=0.7)
    assert close.threshold.value == pytest.approx(2.000225, rel=1e-9)
    assert undecided_parts(close, "fp32") == 1
    assert undecided_parts(close, "int8") == 2
    assert undecided_parts(tiny_spec(), "fp32") == 0


def test_another_precision_has_its_own_margin_above_the_same_part() -> None:
    full = spec_of([1.0, 2.0, 3.0], rate=0.5)
    half = for_precision(full, "fp16")
    assert (full.threshold.value, half.threshold.value) == pytest.approx((2.0002, 2.02), rel=1e-9)
    assert half.reference_threshold == pytest.approx(full.reference_threshold, rel=1e-12)
    assert for_precision(half, "fp32").threshold.value == pytest.approx(full.threshold.value, rel=1e-12)


def test_a_threshold_without_evidence_gets_the_tolerance() -> None:
    assert for_precision(tiny_spec(), "fp16").threshold.value == pytest.approx(0.101, rel=1e-12)
