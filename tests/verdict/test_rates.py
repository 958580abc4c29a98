"""Rates and McNemar's test, against SciPy's own distributions and by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

from ast_edge.verdict.rates import mcnemar, parts_to_show, rate_at_most, rate_interval, rate_text


@pytest.mark.parametrize(("count", "parts"), [(0, 21), (3, 21), (21, 21), (5, 16)])
def test_a_rates_interval_is_clopper_and_pearsons(count: int, parts: int) -> None:
    low = beta.ppf(0.025, count, parts - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, parts - count) if count < parts else 1.0
    assert rate_interval(count, parts) == pytest.approx((low, high))
    most = beta.ppf(0.95, count + 1, parts - count) if count < parts else 1.0
    assert rate_at_most(count, parts) == pytest.approx(most)


def test_the_rule_of_three() -> None:
    """About 3 / limit parts without an error show the limit with 95 % confidence."""
    assert [parts_to_show(limit) for limit in (0.05, 0.01, 0.001)] == [59, 299, 2995]
    for limit in (0.3, 0.05, 0.01):
        needed = parts_to_show(limit)
        assert rate_at_most(0, needed) <= limit < rate_at_most(0, needed - 1)


@given(st.integers(1, 3000).flatmap(lambda parts: st.tuples(st.integers(0, parts), st.just(parts))))
def test_every_interval_is_that_of_scipy(share: tuple[int, int]) -> None:
    count, parts = share
    exact = binomtest(count, parts).proportion_ci(confidence_level=0.95, method="exact")
    found = rate_interval(count, parts)
    assert found == pytest.approx((exact.low, exact.high), rel=1e-9, abs=1e-12)
    assert found.low <= count / parts <= found.high
    most = binomtest(count, parts, alternative="less").proportion_ci(confidence_level=0.95, method="exact")
    assert rate_at_most(count, parts) == pytest.approx(most.high, rel=1e-9)


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_mcnemar_is_the_exact_binomial_test(first: int, second: int) -> None:
    found = mcnemar(first, second)
    if found is None:
        assert first + second == 0
        return
    assert found == pytest.approx(binomtest(first, first + second).pvalue, rel=1e-9)
    assert found == mcnemar(second, first)
    assert 0 <= found <= 1


@given(st.integers(0, 300), st.integers(1, 50))
def test_the_same_difference_on_one_side_only_is_never_less_surprising(first: int, more: int) -> None:
    """Every part more that only the model errs on that erred more often makes chance less likely."""
    before, after = mcnemar(first, first + more), mcnemar(first, first + more + 1)
    assert before is not None
    assert after is not None
    assert after <= before


def test_mcnemar_by_hand() -> None:
    """One of six fair tosses, or none, in either direction: 2 * (1 + 6) / 64."""
    assert mcnemar(1, 5) == 14 / 64
    assert mcnemar(0, 5) == 2 / 32
    assert mcnemar(3, 3) == 1.0
    assert mcnemar(0, 10_000) == pytest.approx(math.ldexp(1, -9999), abs=1e-300)


def test_a_rate_is_written_with_its_interval() -> None:
    assert rate_text(5, 16) == "31.3 %, 95 % confidence 11.0 to 58.7 %"
