"""Calibrations: thresholds with their evidence, p-values with their guarantee, and revisions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.errors import DataError, UsageError
from ast_edge.frames.levels import GreyLevels
from ast_edge.model.manifest import QUANTILE_LEVELS, Manifest, ModelSpec, PastCalibration
from ast_edge.model.onnx_file import read_model_file
from ast_edge.verdict.calibration import GoodParts, Origin, calibrate, p_value, restored, revised
from ast_edge.verdict.threshold import conformal_threshold
from tests.tiny import tiny_spec, write_tiny_model

LEVELS = [GreyLevels(100.0 + i, 20.0, 3.0 + i) for i in range(5)]


def made(scores: list[float], levels: list[GreyLevels] | None = None) -> PastCalibration:
    parts = GoodParts(scores, [2 * score for score in scores], levels or [], "a" * 64)
    return calibrate(parts, Origin("test", "an operator", "2026-01-01"), false_reject_rate=0.1)


def spec_with(past: PastCalibration) -> ModelSpec:
    return tiny_spec().model_copy(update={"threshold": past.threshold, "calibration": past.calibration})


def test_the_threshold_is_the_conformal_one() -> None:
    scores = np.random.default_rng(0).random(50)
    past = made(scores.tolist())
    assert past.threshold == conformal_threshold(scores, 2 * scores, false_reject_rate=0.1)
    assert past.calibration.scores == tuple(sorted(scores.tolist()))
    assert (past.calibration.operator, past.calibration.revision) == ("an operator", 1)


def test_quantiles_are_numpys() -> None:
    past = made([1.0, 2.0, 4.0, 3.0, 9.0], LEVELS).calibration
    assert past.score_quantiles == tuple(np.quantile([1, 2, 3, 4, 9], QUANTILE_LEVELS))
    assert past.brightness_quantiles == tuple(np.quantile([100, 101, 102, 103, 104], QUANTILE_LEVELS))
    assert past.sharpness_quantiles == tuple(np.quantile([3, 4, 5, 6, 7], QUANTILE_LEVELS))
    assert made([1.0, 2.0]).calibration.brightness_quantiles is None


def test_unusable_scores_are_refused() -> None:
    with pytest.raises(DataError, match="at least 2 good parts"):
        made([1.0])
    with pytest.raises(DataError, match="good part number 1"):
        made([1.0, float("nan")])


@given(scores=st.lists(st.integers(0, 9).map(float), min_size=3, max_size=30))
def test_a_good_parts_p_value_is_small_as_seldom_as_it_says(scores: list[float]) -> None:
    """Each part in turn is the new one among the others: no more than p of them have a p-value up to p."""
    values = []
    for index, score in enumerate(scores):
        found = p_value(score, spec_with(made(scores[:index] + scores[index + 1 :])))
        assert found is not None
        values.append(found)
    for p in (0.05, 0.1, 0.25, 0.5, 0.9):
        assert np.mean(np.array(values) <= p + 1e-12) <= p + 1e-9


def test_a_p_value_counts_scores_that_are_no_less() -> None:
    spec = spec_with(made([1.0, 2.0, 3.0, 4.0]))
    assert [p_value(score, spec) for score in (0.5, 2.0, 3.5, 9.0)] == [1.0, 4 / 5, 2 / 5, 1 / 5]
    assert p_value(1.0, tiny_spec()) is None


@pytest.mark.parametrize("count", [1001, 1500, 2000, 4321])
def test_of_many_parts_a_thousand_scores_are_kept_and_no_p_value_becomes_smaller(count: int) -> None:
    scores = np.sort(np.random.default_rng(count).random(count))
    past = made(scores.tolist())
    spec = spec_with(past)
    assert len(past.calibration.scores) == 1000
    assert past.calibration.scores[-1] == scores[-1]
    for score in np.random.default_rng(1).random(200):
        exact = (1 + np.sum(scores >= score)) / (count + 1)
        found = p_value(float(score), spec)
        assert found is not None
        assert exact - 1e-12 <= found <= exact + 2e-3


@pytest.fixture
def one(tmp_path: Path) -> Manifest:
    """The manifest of a model in its first revision."""
    return revised(read_model_file(write_tiny_model(tmp_path)).manifest, made([1.0, 2.0, 3.0]))


def test_a_new_revision_keeps_the_old_ones(one: Manifest) -> None:
    two = revised(one, made([5.0, 6.0, 7.0]))
    three = revised(two, made([8.0, 9.0]))
    assert [m.calibration.revision for m in (one, two, three) if m.calibration] == [1, 2, 3]
    assert [past.calibration.revision for past in three.earlier] == [1, 2]
    assert (three.earlier[0].threshold, three.earlier[0].calibration) == (one.threshold, one.calibration)
    assert Manifest.from_json(three.to_json().encode(), "m.onnx") == three


def test_an_earlier_revision_comes_back_as_a_new_one(one: Manifest) -> None:
    two = revised(one, made([5.0, 6.0, 7.0]))
    back = restored(two, 1, Origin("revision 1 restored", "operator", "2026-02-02"))
    assert back.threshold == one.threshold
    assert back.calibration is not None
    assert (back.calibration.revision, back.calibration.scores) == (3, (1.0, 2.0, 3.0))
    assert (back.calibration.origin, back.calibration.operator) == ("revision 1 restored", "operator")
    assert [past.calibration.revision for past in back.earlier] == [1, 2]


def test_a_revision_that_never_was(one: Manifest) -> None:
    with pytest.raises(UsageError, match=r"--restore 2: there is no such earlier revision .*none"):
        restored(one, 2, Origin("test"))
