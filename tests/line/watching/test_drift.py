"""The drift guard: silent without drift, and prompt with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ast_edge.frames.levels import GreyLevels
from ast_edge.line.part import PartResult
from ast_edge.line.watching.drift import ALARM, DriftGuard, DriftOptions, alarming_count
from ast_edge.model.manifest import ModelSpec
from ast_edge.verdict.calibration import GoodParts, Origin, calibrate
from tests.line.parts import part_result
from tests.tiny import tiny_spec


def calibrated(rng: np.random.Generator, good: int) -> ModelSpec:
    """A model whose good parts have scores, brightness and sharpness about 1, 100 and 10."""
    scores = rng.normal(1, 0.1, good)
    levels = [
        GreyLevels(b, 20, s) for b, s in zip(rng.normal(100, 3, good), rng.normal(10, 1, good), strict=True)
    ]
    parts = GoodParts(scores.tolist(), scores.tolist(), levels, "0" * 64)
    found = calibrate(parts, Origin("test"), false_reject_rate=0.01)
    return tiny_spec().model_copy(update={"threshold": found.threshold, "calibration": found.calibration})


class Line:
    """Parts of any score and sharpness, and what the guard reports."""

    def __init__(self, spec: ModelSpec, rng: np.random.Generator, window: int = 200) -> None:
        self.guard = DriftGuard(DriftOptions(window=window))
        self.reported: list[tuple[int, str, str]] = []
        self.guard.report = self._hear
        self.spec, self.rng, self.parts = spec, rng, 0
        self._some = part_result(1)

    def _hear(self, kind: str, details: object) -> None:
        assert kind == "drift"
        assert isinstance(details, dict)
        self.reported.append((self.parts, str(details["warning"]), str(details["change"])))

    def run(self, count: int, *, light: float = 100, score: float = 1, sharp: float = 10) -> None:
        scores = self.rng.normal(score, 0.1, count)
        lights, sharps = self.rng.normal(light, 3, count), self.rng.normal(sharp, 1, count)
        for one, brightness, sharpness in zip(scores, lights, sharps, strict=True):
            self.parts += 1
            self.guard.put(self.part(float(one), GreyLevels(brightness, 20, sharpness)))

    def part(self, score: float, levels: GreyLevels, verdict: str = "pass") -> PartResult:
        assert self._some.inspection is not None
        inspection = replace(self._some.inspection, levels=levels)
        return replace(self._some, score=score, spec=self.spec, inspection=inspection, verdict=verdict)  # type: ignore[arg-type]


@pytest.mark.parametrize(("window", "good"), [(200, 23), (200, 100), (50, 1000), (1000, 300)])
def test_the_count_is_that_of_the_beta_binomial_distribution(window: int, good: int) -> None:
    beyond = 0.05 * good + 0.95
    count = alarming_count(window, good)
    tail = stats.betabinom(window, beyond, good + 1 - beyond)
    assert tail.sf(count - 1) <= ALARM * 1.0001
    assert tail.sf(count - 2) > ALARM


@pytest.mark.parametrize("good", [23, 100, 500])
def test_no_alarm_while_nothing_changes(good: int) -> None:
    """Twenty lines with their own calibrations, a thousand parts each."""
    for seed in range(20):
        rng = np.random.default_rng([good, seed])
        line = Line(calibrated(rng, good), rng)
        line.run(1000)
        assert line.reported == [], f"seed {seed}"


def test_a_lamp_that_grows_dim_is_reported_once_and_so_is_its_end() -> None:
    rng = np.random.default_rng(1)
    line = Line(calibrated(rng, 300), rng)
    line.run(400)
    line.run(300, light=94)  # two standard deviations
    assert [(key, change) for _, key, change in line.reported] == [("brightness below", "begin")]
    assert line.reported[0][0] - 400 <= 120
    assert "brightness below" in line.guard.warnings[0]
    gauges = line.guard.gauges()
    assert gauges["brightness_p50"] == pytest.approx(94, abs=1)
    assert gauges["score_p50"] == pytest.approx(1, abs=0.1)
    line.run(400)
    assert [change for _, _, change in line.reported] == ["begin", "end"]
    assert line.guard.warnings == ()


def test_scores_that_creep_up_and_pictures_that_blur_are_reported() -> None:
    rng = np.random.default_rng(2)
    line = Line(calibrated(rng, 300), rng)
    line.run(300, score=1.25, sharp=7)
    assert {key for _, key, _ in line.reported} == {"score above", "sharpness below"}


def test_a_bad_batch_is_no_drift_of_the_score() -> None:
    rng = np.random.default_rng(3)
    line = Line(calibrated(rng, 300), rng)
    line.run(200)
    for _ in range(400):
        line.guard.put(line.part(50.0, GreyLevels(100, 20, 10), "reject"))
    assert not any(key.startswith("score") for _, key, _ in line.reported)


def test_another_model_resets_the_watch_and_one_without_calibration_says_so() -> None:
    rng = np.random.default_rng(4)
    line = Line(calibrated(rng, 300), rng)
    line.run(300, light=80)
    assert line.guard.warnings
    line.spec = tiny_spec().model_copy(update={"calibration": None})
    line.run(30)
    assert list(line.guard.warnings) == ["drift: this model has no calibration to compare parts with"]
    assert line.guard.gauges() == {}
    line.spec = calibrated(rng, 300)
    line.run(150, light=80)
    assert not line.guard.warnings, "the window is not full yet"
    line.run(100, light=80)
    assert len(line.guard.warnings) == 1


def test_faults_are_not_looked_at() -> None:
    guard = DriftGuard(DriftOptions())
    guard.put(part_result(1, "fault"))
    assert guard.warnings == ()
    assert guard.status.connected
    guard.close(0)
