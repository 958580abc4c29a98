from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ast_edge.errors import FrameError
from ast_edge.verdict.scoring import aggregate, judge

MAPS = hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(0, 1000, width=32))


@given(maps=MAPS)
def test_without_foreground_the_score_is_numpys_mean_or_max(maps: np.ndarray) -> None:
    mean, largest = aggregate(maps, None, "mean"), aggregate(maps, None, "max")
    assert mean.dtype == largest.dtype == np.float32
    np.testing.assert_allclose(mean, maps.mean(axis=(1, 2), dtype=np.float64), rtol=1e-6, atol=1e-30)
    np.testing.assert_array_equal(largest, maps.max(axis=(1, 2)))


@given(maps=MAPS, part=hnp.arrays(np.bool_, (3, 4)))
def test_with_foreground_only_the_part_counts(maps: np.ndarray, part: np.ndarray) -> None:
    part[0, 0] = True
    foreground = np.broadcast_to(part, maps.shape).astype(np.float32)
    mean, largest = (aggregate(maps * foreground, foreground, kind) for kind in ("mean", "max"))
    np.testing.assert_allclose(mean, maps[:, part].mean(axis=1, dtype=np.float64), rtol=1e-6, atol=1e-30)
    np.testing.assert_array_equal(largest, maps[:, part].max(axis=1))


def test_fractional_weights_do_not_make_large_parts_worse() -> None:
    maps = np.array([[[1.0, 2.0], [0.5, 0.0]]], np.float32)
    weights = np.array([[[1.0, 1.0], [0.5, 0.0]]], np.float32)
    assert aggregate(maps, weights, "mean")[0] == pytest.approx(3.5 / 2.5)
    assert aggregate(maps, weights, "max")[0] == 2.0


@pytest.mark.parametrize("aggregation", ["mean", "max", "top2"])
def test_nothing_downstream_can_pass_an_empty_foreground(aggregation: str) -> None:
    for maps in (np.zeros((1, 2, 2), np.float32), np.ones((1, 2, 2), np.float32)):
        score = aggregate(maps, np.zeros_like(maps), aggregation)
        assert judge(float(score[0]), 1.0)[0] == "fault"


@pytest.mark.parametrize("aggregation", ["mean", "max", "top2"])
def test_a_nan_in_the_map_reaches_the_score(aggregation: str) -> None:
    maps = np.array([[[1.0, np.nan], [0.0, 3.0]]], np.float32)
    assert math.isnan(aggregate(maps, None, aggregation)[0])
    assert math.isnan(aggregate(maps, np.ones_like(maps), aggregation)[0])


@given(maps=MAPS, count=st.integers(1, 12))
def test_the_mean_of_the_largest_is_that_of_the_sorted_map(maps: np.ndarray, count: int) -> None:
    expected = np.sort(maps.reshape(2, -1).astype(np.float64), axis=1)[:, -count:].mean(axis=1)
    np.testing.assert_allclose(aggregate(maps, None, f"top{count}"), expected, rtol=1e-6, atol=1e-30)


def test_a_part_smaller_than_the_values_taken_is_a_fault() -> None:
    maps, part = np.ones((1, 2, 2), np.float32), np.array([[[1, 1], [0, 0]]], np.float32)
    assert aggregate(maps, part, "top2")[0] == 1.0
    assert judge(float(aggregate(maps, part, "top3")[0]), 2.0)[0] == "fault"
    with pytest.raises(FrameError, match="at least 5 pixels, found 4"):
        aggregate(maps, None, "top5")


def test_maps_of_another_shape_are_refused() -> None:
    with pytest.raises(FrameError, match=r"found \(2, 2\) and no"):
        aggregate(np.zeros((2, 2), np.float32), None, "mean")
    with pytest.raises(FrameError, match=r"found \(1, 2, 2\) and \(1, 1, 2, 2\)"):
        aggregate(np.zeros((1, 2, 2), np.float32), np.zeros((1, 1, 2, 2), np.float32), "mean")


def test_the_verdict_says_why() -> None:
    assert judge(0.5, 1.0) == ("pass", "score 0.5 is not above the threshold 1")
    assert judge(1.0, 1.0)[0] == "pass"
    assert judge(1.25, 1.0) == ("reject", "score 1.25 is above the threshold 1")


@given(score=st.floats(), threshold=st.floats())
def test_only_a_finite_score_under_a_finite_threshold_passes(score: float, threshold: float) -> None:
    verdict, _ = judge(score, threshold)
    assert (verdict == "fault") == (not (math.isfinite(score) and math.isfinite(threshold)))
    assert (verdict == "pass") == (math.isfinite(score) and math.isfinite(threshold) and score <= threshold)
