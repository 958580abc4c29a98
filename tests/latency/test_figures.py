from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.latency.figures import by_stage, figures, histogram, percentile
from tests.paths import ROOT


@pytest.mark.parametrize(
    ("count", "reported"),
    [
        (1, set()),
        (19, set()),
        (20, {"p50"}),
        (99, {"p50"}),
        (100, {"p50", "p90"}),
        (200, {"p50", "p90", "p95"}),
        (999, {"p50", "p90", "p95"}),
        (1000, {"p50", "p90", "p95", "p99"}),
        (9999, {"p50", "p90", "p95", "p99"}),
        (10_000, {"p50", "p90", "p95", "p99", "p999"}),
    ],
)
def test_a_percentile_is_reported_only_with_ten_times_beyond_it(count: int, reported: set[str]) -> None:
    found = figures(np.arange(count, dtype=np.float64)).model_dump()
    assert {name for name in ("p50", "p90", "p95", "p99", "p999") if found[name] is not None} == reported
    assert (found["min"], found["max"]) == (0, count - 1)


@pytest.mark.parametrize(("percent", "count"), [(1, 1000), (25, 40), (50, 20), (75, 40), (99, 1000)])
def test_a_percentile_needs_ten_values_on_its_nearer_side(percent: float, count: int) -> None:
    values = np.arange(count, dtype=np.float64)
    assert percentile(values, percent) == pytest.approx(np.percentile(values, percent), abs=1e-4)
    assert percentile(values[1:], percent) is None


def test_nothing_else_computes_percentiles_of_times() -> None:
    """In `latency` and in the benchmarks there is one rule for which percentiles are given."""
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("ast_edge/latency", "ast_edge/line", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if "np.percentile(" in path.read_text(encoding="utf-8")
    }
    assert found == {"ast_edge/latency/figures.py"}


def test_figures_are_numpys_percentiles() -> None:
    times = np.random.default_rng(0).gamma(2.0, 3.0, 20_000)
    found = figures(times)
    assert found.p50 == pytest.approx(np.median(times), abs=1e-4)
    assert found.p999 == pytest.approx(np.quantile(times, 0.999), abs=1e-4)
    assert found.mean == pytest.approx(times.mean(), abs=1e-4)
    assert found.jitter == pytest.approx(np.quantile(times, 0.99) / np.median(times), rel=1e-3)


def test_no_jitter_without_a_p99() -> None:
    assert figures([1.0] * 500).jitter is None


@given(st.lists(st.floats(0.001, 1e4), min_size=1, max_size=300))
def test_a_histogram_loses_nothing(times: list[float]) -> None:
    found = histogram(times)
    assert sum(found.counts) + found.beyond == len(times)
    assert len(found.edges_ms) == len(found.counts) + 1
    assert list(found.edges_ms) == sorted(found.edges_ms)


def test_stages_keep_their_order_and_their_times() -> None:
    columns = by_stage([{"preprocess": 1.0, "engine": 2.0}, {"preprocess": 3.0, "engine": 4.0}])
    assert list(columns) == ["preprocess", "engine"]
    assert columns["engine"].tolist() == [2.0, 4.0]
