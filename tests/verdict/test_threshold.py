from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ast_edge.errors import DataError, UsageError
from ast_edge.model.manifest import Threshold
from ast_edge.verdict.threshold import conformal_threshold, statement, threshold_by_hand


def ramp(count: int, rate: float, confidence: float = 0.95) -> Threshold:
    scores = np.arange(1, count + 1, dtype=np.float32)
    rng = np.random.default_rng(count)
    return conformal_threshold(
        rng.permutation(scores),
        rng.permutation(10 * scores),
        false_reject_rate=rate,
        confidence=confidence,
    )


@pytest.mark.parametrize(
    ("count", "rate", "value", "expected", "needed"),
    [
        (99, 0.01, 99, 0.01, 99),
        (199, 0.01, 198, 0.01, 99),
        (98, 0.01, 98, 1 / 99, 99),
        (10, 0.01, 10, 1 / 11, 99),
        (9, 0.1, 9, 0.1, 9),
        (19, 0.1, 18, 0.1, 9),
        (699, 0.07, 651, 0.07, 14),
        (2, 0.5, 2, 1 / 3, 1),
        (3, 0.999, 1, 0.75, 1),
    ],
)
def test_calibration_by_hand(count: int, rate: float, value: int, expected: float, needed: int) -> None:
    threshold = ramp(count, rate)
    assert threshold.value == pytest.approx(value * (1 + 1e-4), rel=1e-12)
    assert threshold.margin == pytest.approx(value * 1e-4)
    assert threshold.pixel_value == 10 * value
    assert threshold.expected_false_reject_rate == pytest.approx(expected)
    assert threshold.target_false_reject_rate == rate
    assert (threshold.good_parts, threshold.good_parts_needed) == (count, needed)


@given(count=st.integers(2, 400), rate=st.decimals("0.001", "0.9", places=3))
def test_the_rate_asked_for_is_kept_wherever_there_are_enough_parts(count: int, rate: object) -> None:
    exact = Fraction(str(rate))
    threshold = ramp(count, float(exact))
    enough = count >= threshold.good_parts_needed
    assert enough == (threshold.expected_false_reject_rate <= float(exact) * (1 + 1e-12))
    assert enough == (math.ceil((count + 1) * (1 - exact)) <= count)
    assert threshold.expected_false_reject_rate <= threshold.upper_false_reject_rate < 1
    rejected = count - int(threshold.value)
    assert rejected / count <= float(exact)


@settings(max_examples=30)
@given(count=st.integers(2, 3000), rate=st.floats(0.001, 0.9), confidence=st.floats(0.5, 0.9999))
def test_the_upper_rate_is_the_quantile_of_the_beta_distribution(
    count: int, rate: float, confidence: float
) -> None:
    threshold = ramp(count, rate, confidence)
    rank = int(threshold.value)
    upper = stats.beta(count + 1 - rank, rank).ppf(confidence)
    assert threshold.upper_false_reject_rate == pytest.approx(upper, rel=1e-7)


def test_the_promised_rate_holds_on_new_parts() -> None:
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(400):
        good = rng.exponential(size=60)
        threshold = conformal_threshold(good, good, false_reject_rate=0.05)
        rates.append(math.exp(-threshold.value))  # the true rate of this threshold
    assert np.mean(rates) == pytest.approx(threshold.expected_false_reject_rate, abs=0.004)
    assert np.mean(np.array(rates) <= threshold.upper_false_reject_rate) == pytest.approx(0.95, abs=0.03)


def test_calibration_on_what_cannot_be_judged_is_refused() -> None:
    one, nan = np.ones(1), np.array([1.0, np.nan])
    with pytest.raises(DataError, match="at least 2 good parts"):
        conformal_threshold(one, one, false_reject_rate=0.01)
    with pytest.raises(DataError, match="good part number 1;"):
        conformal_threshold(nan, np.ones(2), false_reject_rate=0.01)
    with pytest.raises(DataError, match="good part number 1;"):
        conformal_threshold(np.ones(2), nan, false_reject_rate=0.01)
    with pytest.raises(DataError, match=r"shape \(2,\) and \(3,\)"):
        conformal_threshold(np.ones(2), np.ones(3), false_reject_rate=0.01)
    for wrong in (0.0, 1.0, -0.1, 2.0, math.nan):
        with pytest.raises(UsageError, match="false_reject_rate: expected a fraction"):
            conformal_threshold(np.ones(2), np.ones(2), false_reject_rate=wrong)
        with pytest.raises(UsageError, match="confidence: expected a fraction"):
            conformal_threshold(np.ones(2), np.ones(2), false_reject_rate=0.1, confidence=wrong)


def test_the_statement_says_how_many_parts_are_missing() -> None:
    assert statement(ramp(299, 0.01)) == (
        "Set from 299 good parts that were not trained on: of new good parts about 1 % will be rejected, and "
        "with 95 % confidence not more than 2.09 %."
    )
    assert statement(ramp(20, 0.01)).endswith(
        "For the 1 % asked for, 99 good parts are needed and there were 20, so the threshold lies "
        "just above their largest score."
    )


@given(
    st.lists(st.floats(0.1, 10.0), min_size=2, max_size=60, unique=True),
    st.sampled_from([0.01, 0.05, 0.2, 0.5]),
)
def test_the_same_threshold_by_hand_has_the_same_bounds(scores: list[float], rate: float) -> None:
    values = np.sort(np.array(scores))
    old = conformal_threshold(values, values, false_reject_rate=rate)
    between = values[values > old.value - old.margin]
    if between.size and between[0] <= old.value:
        return  # two scores closer than the engines' tolerance: the threshold is above both
    again = threshold_by_hand(old, values.tolist(), old.value)
    assert statement(again).startswith(
        f"Set by hand. By {old.good_parts} good parts that were not trained on, if"
    )
    assert statement(old).startswith(f"Set from {old.good_parts} good parts that were not trained on: of")
    assert again.expected_false_reject_rate == pytest.approx(old.expected_false_reject_rate)
    assert again.upper_false_reject_rate == pytest.approx(old.upper_false_reject_rate)
    assert again.value == old.value
    assert again.margin == pytest.approx(old.margin)
    assert again.good_parts >= again.good_parts_needed


def test_where_groups_of_scores_were_kept_whole_groups_count_as_rejected() -> None:
    scores = np.arange(1.0, 3001.0)
    old = conformal_threshold(scores, scores, false_reject_rate=0.1)
    kept = scores[2::3].tolist()  # the largest of each three
    found = threshold_by_hand(old, kept, 2999.5)
    assert found.expected_false_reject_rate == pytest.approx((3 + 1) / 3001)
    assert found.upper_false_reject_rate == pytest.approx(stats.beta.ppf(0.95, 4, 2997), rel=1e-6)
