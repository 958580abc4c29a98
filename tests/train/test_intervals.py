"""Confidence intervals against SciPy's own distributions, a bootstrap and the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap, norm
from sklearn.metrics import roc_auc_score

from ast_edge.train.intervals import auroc_difference, auroc_interval
from ast_edge.train.metrics import Flags, Scores


def parts(good: int, bad: int, apart: float, seed: int) -> tuple[Flags, Scores]:
    rng = np.random.default_rng(seed)
    defective = np.repeat([True, False], [bad, good])
    return defective, rng.normal(size=good + bad) + apart * defective


def area(bad: Scores, good: Scores, axis: int = -1) -> Scores:
    """The AUROC as the share of pairs that are in order, for SciPy's bootstrap."""
    pairs = np.moveaxis(bad, axis, -1)[..., :, None] - np.moveaxis(good, axis, -1)[..., None, :]
    return np.asarray(((pairs > 0) + 0.5 * (pairs == 0)).mean(axis=(-2, -1)))


@pytest.mark.slow
@pytest.mark.parametrize(("good", "bad", "apart"), [(60, 40, 1.0), (200, 150, 0.5), (80, 80, 1.8)])
def test_delong_agrees_with_a_bootstrap(good: int, bad: int, apart: float) -> None:
    defective, scores = parts(good, bad, apart, seed=good)
    found = auroc_interval(defective, scores)
    drawn = bootstrap(
        (scores[defective], scores[~defective]),
        area,
        n_resamples=3000,
        batch=100,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    width = drawn.high - drawn.low
    assert found is not None
    assert found == pytest.approx((drawn.low, drawn.high), abs=0.12 * width)


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 1000))
def test_delong_is_the_variance_of_its_definition(good: int, bad: int, seed: int) -> None:
    """With the placements counted pair by pair; scores of few values, so that there are ties."""
    rng = np.random.default_rng(seed)
    defective = np.repeat([True, False], [bad, good])
    scores = rng.integers(0, 6, good + bad).astype(np.float64)
    order = [
        [1.0 if b > g else 0.5 if b == g else 0.0 for g in scores[~defective]] for b in scores[defective]
    ]
    pairs = np.array(order)
    variance = pairs.mean(axis=1).var(ddof=1) / bad + pairs.mean(axis=0).var(ddof=1) / good
    found = auroc_interval(defective, scores)
    assert found is not None
    middle = roc_auc_score(defective, scores)
    assert found.low <= middle <= found.high
    if variance > 1e-12:
        reach = norm.ppf(0.975) * math.sqrt(variance)
        assert found == pytest.approx((max(0, middle - reach), min(1, middle + reach)))


def test_without_a_pair_out_of_order_the_interval_is_not_a_point() -> None:
    defective, scores = parts(20, 8, 100.0, seed=0)
    assert auroc_interval(defective, scores) == pytest.approx((0.025 ** (1 / 8), 1.0))
    assert auroc_interval(defective, -scores) == pytest.approx((0.0, 1 - 0.025 ** (1 / 8)))
    assert auroc_interval(defective[7:], scores[7:]) is None  # one defective part


def test_the_true_auroc_is_inside_about_as_often_as_promised() -> None:
    true = float(norm.cdf(1 / math.sqrt(2)))
    inside = 0
    for seed in range(400):
        found = auroc_interval(*parts(50, 50, 1.0, seed))
        assert found is not None
        inside += found.low <= true <= found.high
    assert 0.92 <= inside / 400 <= 0.98


@pytest.mark.slow
def test_the_difference_of_two_models_knows_that_the_parts_are_the_same() -> None:
    defective, first = parts(80, 80, 1.0, seed=1)
    second = first + np.random.default_rng(2).normal(scale=0.3, size=first.size)
    found = auroc_difference(defective, first, second)
    one, other = auroc_interval(defective, first), auroc_interval(defective, second)
    assert found is not None
    assert one is not None
    assert other is not None
    assert found.value == pytest.approx(roc_auc_score(defective, first) - roc_auc_score(defective, second))
    assert found.interval.low <= found.value <= found.interval.high
    # Far narrower than for two samples of parts.
    assert found.interval.high - found.interval.low < 0.5 * (one.high - one.low)
    rng = np.random.default_rng(3)
    bad, good = (rng.choice(np.flatnonzero(kind), (1500, 80)) for kind in (defective, ~defective))
    resampled = area(first[bad], first[good]) - area(second[bad], second[good])
    expected = np.quantile(resampled, [0.025, 0.975])
    assert found.interval == pytest.approx(expected, abs=0.2 * (expected[1] - expected[0]))


def test_no_difference_is_claimed_where_delong_sees_no_variance() -> None:
    defective = np.array([False, False, False, True, True, True])
    ordered = np.arange(6.0)
    assert auroc_difference(defective, ordered, ordered**2) is None
    assert auroc_difference(defective, ordered, -ordered) is None
