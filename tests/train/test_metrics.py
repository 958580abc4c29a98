"""Figures of merit against values worked out by hand, scikit-learn and anomalib."""

from __future__ import annotations

import hashlib
import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score, roc_curve

from ast_edge.train.metrics import (
    BINS,
    Scores,
    auroc,
    average_precision,
    escape_at_false_reject,
    f1,
    f1_max,
    false_reject_at_escape,
    histogram_edges,
    pixel_figures,
    share,
)
from tests.paths import ROOT

DATA = ROOT / "tests" / "data"

# Ranked from the top: defective, good, defective, good. Three of the four pairs are in order.
DEFECTIVE = np.array([True, False, True, False])
SCORES = np.array([0.9, 0.8, 0.4, 0.1])


def flags(*values: int) -> NDArray[np.bool_]:
    return np.array(values, dtype=np.bool_)


def values(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)


@st.composite
def scored_parts(draw: st.DrawFn) -> tuple[NDArray[np.bool_], Scores]:
    """At least one part of either kind, with ties."""
    rows = draw(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=40))
    kinds, scores = zip(*rows, (True, 5), (False, 4), strict=True)
    return np.array(kinds), np.array(scores, np.float64)


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    assert auroc(DEFECTIVE, SCORES) == 3 / 4


def test_auroc_counts_a_tie_as_half_a_pair() -> None:
    # Pairs of a defective and a good one: 0.5 > 0.2 in order, 0.5 = 0.5 tied.
    assert auroc(flags(1, 0, 0), np.array([0.5, 0.5, 0.2])) == 3 / 4


def test_average_precision() -> None:
    # Recall 1/2 at precision 1/1, recall 1 at precision 2/3.
    assert average_precision(DEFECTIVE, SCORES) == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)


def test_f1_max() -> None:
    # F1 with the top 1, 2, 3, 4 called defective: 2/3, 1/2, 4/5, 2/3.
    assert f1_max(DEFECTIVE, SCORES) == pytest.approx(4 / 5)


def test_f1_max_where_the_top_is_good_has_no_division_by_zero() -> None:
    # F1 with the top 1 and both called defective: 0 and 2/3.
    assert f1_max(flags(1, 0), np.array([0.1, 0.9])) == pytest.approx(2 / 3)


def test_perfect_and_reversed_order() -> None:
    assert auroc(flags(1, 1, 0), np.array([3.0, 2.0, 1.0])) == 1.0
    assert auroc(flags(1, 1, 0), np.array([1.0, 2.0, 3.0])) == 0.0
    assert f1_max(flags(1, 1, 0), np.array([3.0, 2.0, 1.0])) == 1.0


@pytest.mark.parametrize("figure", [auroc, average_precision, f1_max])
@pytest.mark.parametrize("defective", [flags(1, 1), flags(0, 0), flags()])
def test_no_figure_is_computed_from_one_kind_alone(figure: object, defective: NDArray[np.bool_]) -> None:
    assert callable(figure)
    assert figure(defective, np.zeros(len(defective))) is None


@given(scored=scored_parts(), rate=st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.3, 1.0]))
def test_rates_against_scikit_learns_roc_curve(scored: tuple[NDArray[np.bool_], Scores], rate: float) -> None:
    defective, scores = scored
    false_positive, true_positive, _ = roc_curve(defective, scores, drop_intermediate=False)
    escape = 1 - true_positive
    expected = false_positive[escape <= rate + 1e-12].min()
    assert false_reject_at_escape(defective, scores, rate) == pytest.approx(expected)
    expected = escape[false_positive <= rate + 1e-12].min()
    assert escape_at_false_reject(defective, scores, rate) == pytest.approx(expected, abs=1e-12)


def pictures(seed: int, count: int = 6) -> tuple[list[NDArray[np.bool_]], list[NDArray[np.float32]]]:
    """The recipe of tests/data/aupro_anomalib.json: maps of noise with a hint of the mask in them."""
    rng = np.random.default_rng(seed)
    masks, maps = [], []
    for number in range(count):
        mask = np.zeros((40, 48), np.bool_)
        for _ in range(2 if number % 3 else 0):
            y, x = (int(start) for start in rng.integers(0, 28, 2))
            mask[y : y + int(rng.integers(2, 12)), x : x + int(rng.integers(2, 12))] = True
        masks.append(mask)
        maps.append((rng.random((40, 48)) + 0.4 * mask).astype(np.float32))
    return masks, maps


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("digits", [1, 3, 9])  # few values, with many ties, and as many as there are pixels
def test_pixel_figures_against_scikit_learn(seed: int, digits: int) -> None:
    masks, maps = pictures(seed)
    rounded: list[NDArray[np.float32]] = [np.round(values, digits).astype(np.float32) for values in maps]
    flat = np.concatenate([mask.ravel() for mask in masks])
    scores = np.concatenate([level.ravel() for level in rounded])
    found = pixel_figures(zip(masks, rounded, strict=True), np.unique(scores))
    assert found is not None
    assert found.auroc == pytest.approx(roc_auc_score(flat, scores), abs=1e-12)
    assert found.ap == pytest.approx(average_precision_score(flat, scores), abs=1e-12)


def test_pixels_without_a_value_do_not_count() -> None:
    masks, maps = pictures(1)
    half = masks[0].shape[1] // 2
    partly = [np.where(np.arange(level.shape[1]) < half, level, np.float32(np.nan)) for level in maps]
    edges = np.unique(np.concatenate(maps))
    left = zip([mask[:, :half] for mask in masks], [level[:, :half] for level in maps], strict=True)
    expected = pixel_figures(left, edges, 0.5)
    assert expected is not None
    assert pixel_figures(zip(masks, partly, strict=True), edges, 0.5) == expected


@pytest.mark.parametrize("threshold", [0.2, 0.9, 2.0])
def test_f1_at_a_threshold_against_scikit_learn(threshold: float) -> None:
    masks, maps = pictures(2)
    found = pixel_figures(zip(masks, maps, strict=True), np.array([0.0, 0.5], np.float32), threshold)
    assert found is not None
    flat = np.concatenate([mask.ravel() for mask in masks])
    scores = np.concatenate([level.ravel() for level in maps])
    assert found.f1 == pytest.approx(f1_score(flat, scores > threshold), abs=1e-12)
    assert pixel_figures(zip(masks, maps, strict=True), np.unique(maps[0])).f1 is None  # type: ignore[union-attr]


def test_f1_of_the_verdicts() -> None:
    # Of two defective parts one is rejected, of two good ones one: precision and recall are a half.
    assert f1(DEFECTIVE, flags(1, 1, 0, 0)) == 0.5
    assert f1(DEFECTIVE, DEFECTIVE) == 1.0
    assert f1(DEFECTIVE, ~DEFECTIVE) == 0.0
    assert f1(flags(1, 1), flags(1, 1)) is None


def test_aupro_of_one_region_is_the_partial_area_under_the_roc_curve() -> None:
    """With one region overlap is recall; scikit-learn gives the ROC curve to integrate."""
    masks, maps = pictures(1, count=1)
    masks[0][10:20, 10:20] = True
    found = pixel_figures(zip(masks, maps, strict=True), np.unique(maps[0]))
    assert found is not None
    x, y, _ = roc_curve(masks[0].ravel(), maps[0].ravel(), drop_intermediate=False)
    for limit, area in found.aupro.items():
        steps = np.append(x[x <= limit], limit)
        heights = np.append(y[x <= limit], np.interp(limit, x, y))
        assert area == pytest.approx(np.sum(np.diff(steps) * (heights[1:] + heights[:-1]) / 2) / limit)


def test_aupro_is_anomalibs() -> None:
    """tests/data/aupro_anomalib.json says how its figures were made."""
    stored = json.loads((DATA / "aupro_anomalib.json").read_text())
    for case in stored["cases"]:
        masks, maps = pictures(case["seed"])
        assert [hashlib.sha256(values.tobytes()).hexdigest() for values in maps] == case["maps_sha256"]
        found = pixel_figures(zip(masks, maps, strict=True), np.unique(maps))
        assert found is not None
        for limit, area in case["aupro"].items():
            assert found.aupro[float(limit)] == pytest.approx(area, abs=stored["tolerance"]), case["seed"]


def test_regions_count_alike_and_touch_over_corners() -> None:
    # Two regions: one pixel found, and four of which none is found before the good pixels are.
    mask = flags(1, 0, 0, 0, 1, 1, 0, 1, 1).reshape(3, 3)
    scores = values([0.9, 0.5, 0.5], [0.5, 0.1, 0.1], [0.5, 0.1, 0.1])
    mask[1, 1] = False  # 0.1, the lowest: now one and three
    found = pixel_figures([(mask, scores)], np.unique(scores))
    assert found is not None
    assert found.aupro[0.3] == pytest.approx(1 / 2)
    mask[1, 1] = True  # over the corner all five are one region
    found = pixel_figures([(mask, scores)], np.unique(scores))
    assert found is not None
    assert found.aupro[0.3] == pytest.approx(1 / 5)


@pytest.mark.slow
def test_histogram_edges_keep_the_figures() -> None:
    rng = np.random.default_rng(0)
    small = [rng.random((24, 24)).astype(np.float32) for _ in range(60)]
    maps: list[NDArray[np.float32]] = [
        cv2.resize(values, (96, 96), interpolation=cv2.INTER_LINEAR).astype(np.float32) for values in small
    ]
    masks = [values > 0.7 + 0.2 * rng.random(values.shape) for values in maps]
    edges = histogram_edges(np.concatenate([values.ravel() for values in small]))
    assert BINS / 2 < edges.size <= BINS
    coarse = pixel_figures(zip(masks, maps, strict=True), edges)
    exact = pixel_figures(zip(masks, maps, strict=True), np.unique(maps))
    assert coarse is not None
    assert exact is not None
    assert coarse.auroc == pytest.approx(exact.auroc, abs=3e-4)
    assert coarse.ap == pytest.approx(exact.ap, abs=3e-4)
    assert coarse.aupro == pytest.approx(exact.aupro, abs=3e-4)


def test_pixel_figures_without_pictures_or_without_a_defect() -> None:
    assert pixel_figures([], values([0.5])[0]) is None
    assert pixel_figures([(flags(0, 0).reshape(1, 2), values([0.1, 0.2]))], values([0.1])[0]) is None
    assert pixel_figures([(flags(1, 1).reshape(1, 2), values([0.1, 0.2]))], values([0.1])[0]) is None


def test_share() -> None:
    assert share(flags(1, 0, 0, 0)) == 1 / 4
    assert share(flags()) is None
