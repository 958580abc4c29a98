"""Counts by hour and their usual limits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.line.web.rates import MOST_HOURS, Rates, p_chart


def test_the_chart_of_a_textbook() -> None:
    """Ten samples of 100 with 80 nonconforming items: p = 0.08, limits 0.08 -+ 3 sqrt(0.08 0.92 / 100)."""
    chart = p_chart([(8, 100)] * 10)
    assert chart.centre == pytest.approx(0.08)
    for low, high in chart.limits:
        assert low == 0.0  # -0.0014 is no rate
        assert high == pytest.approx(0.161387, abs=1e-6)


def test_a_larger_hour_has_narrower_limits() -> None:
    chart = p_chart([(10, 100), (1000, 10_000), (0, 0)])
    (low_small, high_small), (low_large, high_large), empty = chart.limits
    assert low_small < low_large < chart.centre < high_large < high_small
    assert empty == (0.0, 1.0)
    assert p_chart([]).centre == 0.0


@given(
    st.lists(st.integers(0, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), max_size=30)
)
def test_limits_are_rates_around_the_centre(groups: list[tuple[int, int]]) -> None:
    chart = p_chart(groups)
    assert len(chart.limits) == len(groups)
    for low, high in chart.limits:
        assert 0 <= low <= chart.centre + 1e-12
        assert chart.centre - 1e-12 <= high <= 1


def test_hours_are_counted_and_bounded() -> None:
    rates = Rates()
    for hour in range(100):
        rates.add(hour * 3600 + 5.0, "pass")
        rates.add(hour * 3600 + 3599.0, "reject" if hour % 2 else "fault")
    rates.add(math.nan, "pass")
    found = rates.as_dict()
    hours = found["hours"]
    assert isinstance(hours, list)
    assert len(hours) == MOST_HOURS
    assert hours[-1] == {"start_s": 99 * 3600, "parts": 2, "rejects": 1, "faults": 0}
