from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ast_edge
from ast_edge import Inspector
from ast_edge.backends.base import Outputs
from ast_edge.backends.fake import FakeBackend
from ast_edge.errors import BackendError, FrameError, ModelError
from ast_edge.frames.depth import depth_input
from ast_edge.frames.preprocess import image_input
from ast_edge.inspector import NO_PART
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import Crop, Mode
from ast_edge.model.onnx_file import read_model_file
from ast_edge.model.references import load_references
from ast_edge.verdict.scoring import aggregate
from tests.tiny import bumpy_part, flat_part, grey, tiny_spec, white, write_tiny_model

GOOD: dict[Mode, dict[str, Any]] = {
    "rgb": {"frame": grey(), "colour": "rgb"},
    "depth": {"depth_m": flat_part()},
    "rgbd": {"frame": grey(), "colour": "rgb", "depth_m": flat_part()},
}
BAD: dict[Mode, dict[str, Any]] = {
    "rgb": {"frame": white(), "colour": "rgb"},
    "depth": {"depth_m": bumpy_part()},
    "rgbd": {"frame": grey(), "colour": "rgb", "depth_m": bumpy_part()},
}
NOTHING = (np.zeros(1, np.float32), np.zeros((1, 4, 4), np.float32))
MODES: tuple[Mode, ...] = ("rgb", "depth", "rgbd")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batch", [1, 4, -1])
def test_a_good_part_passes_and_a_bad_one_is_rejected(tmp_path: Path, mode: Mode, batch: int) -> None:
    with Inspector.open(write_tiny_model(tmp_path, mode, batch=batch), threads=1) as inspector:
        good, bad = inspector.inspect(**GOOD[mode]), inspector.inspect(**BAD[mode])
    assert (good.verdict, bad.verdict) == ("pass", "reject")
    assert good.score < 1e-4
    assert bad.score > 0.1
    assert good.threshold == bad.threshold == 0.1
    assert "is above the threshold 0.1" in bad.reason
    assert good.anomaly_map.shape == (4, 4)
    assert good.anomaly_map.dtype == np.float32
    assert list(good.stages_ms) == ["hand_off", "preprocess", "engine", "score", "verdict"]
    assert all(0 < ms < 10_000 for ms in good.stages_ms.values())


@pytest.mark.parametrize("mode", MODES)
def test_the_graph_scores_as_the_reference_does(tiny_models: dict[Mode, Path], mode: Mode) -> None:
    spec = tiny_spec(mode)
    rng = np.random.default_rng(3)
    depth_m = flat_part() + rng.normal(0, 0.005, (40, 48)).astype(np.float32)
    frame = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
    given: dict[str, Any] = {} if mode == "depth" else {"frame": frame, "colour": "rgb"}
    foreground = None
    if mode != "rgb":
        given["depth_m"] = depth_m
        foreground = depth_input(depth_m, spec.preprocessing).foreground
    with Inspector.open(tiny_models[mode], threads=1) as inspector:
        found = inspector.inspect(**given)
    expected = aggregate(found.anomaly_map[None], foreground, spec.aggregation)
    assert found.score == pytest.approx(float(expected[0]), rel=1e-6)


def test_the_colour_order_is_the_callers_word(tiny_rgb: Path) -> None:
    seen: list[Array] = []

    def answer(inputs: Mapping[str, Array]) -> Outputs:
        seen.append(inputs["image"])
        return Outputs(*NOTHING)

    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
    with Inspector(tiny_spec(), FakeBackend(tiny_spec(), answer)) as inspector:
        inspector.inspect(frame, colour="rgb")
        inspector.inspect(frame[:, :, ::-1], colour="bgr")
        inspector.inspect(frame[:, :, 0], colour="mono")
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0][0], image_input(frame, "rgb", tiny_spec().preprocessing))
    np.testing.assert_array_equal(seen[2][..., 0], seen[2][..., 2])


def test_only_the_crop_is_looked_at() -> None:
    spec = tiny_spec()
    crop = Crop(x=8, y=4, width=16, height=16)
    spec = spec.model_copy(update={"preprocessing": spec.preprocessing.model_copy(update={"crop": crop})})
    frame = white()
    frame[4:20, 8:24] = 128

    def answer(inputs: Mapping[str, Array]) -> Outputs:
        distance = np.abs(inputs["image"].astype(np.float32) - 128).mean()
        return Outputs(distance.reshape(1), np.zeros((1, 4, 4), np.float32))

    with Inspector(spec, FakeBackend(spec, answer)) as inspector:
        assert inspector.inspect(frame, colour="rgb").score == 0


@pytest.mark.parametrize("mode", ["depth", "rgbd"])
def test_an_empty_conveyor_is_a_fault_and_the_engine_is_not_run(mode: Mode) -> None:
    def answer(inputs: Mapping[str, Array]) -> Outputs:
        raise AssertionError("the engine was run")

    spec = tiny_spec(mode)
    given = {**GOOD[mode], "depth_m": np.full((40, 48), 0.5, np.float32)}
    with Inspector(spec, FakeBackend(spec, answer)) as inspector:
        found = inspector.inspect(**given)
    assert (found.verdict, found.reason) == ("fault", NO_PART)
    assert math.isnan(found.score)
    assert found.anomaly_map.shape == (4, 4)
    assert np.isnan(found.anomaly_map).all()
    assert {found.stages_ms[name] for name in ("engine", "score", "verdict")} == {0}


def constant(score: float, pixel: float) -> Inspector:
    def answer(inputs: Mapping[str, Array]) -> Outputs:
        return Outputs(np.full(1, score, np.float32), np.full((1, 4, 4), pixel, np.float32))

    return Inspector(tiny_spec(), FakeBackend(tiny_spec(), answer))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_faults(wrong: float) -> None:
    score = constant(wrong, 0.0).inspect(grey(), colour="rgb")
    assert score.verdict == "fault"
    assert "no usable score" in score.reason
    pixel = constant(0.0, wrong).inspect(grey(), colour="rgb")
    assert pixel.verdict == "fault"
    assert "anomaly map" in pixel.reason


REFUSED: dict[str, tuple[Mode, dict[str, Any], str]] = {
    "nothing": ("rgb", {}, "mode rgb of this model needs `frame`"),
    "no colour": ("rgb", {"frame": grey()}, "needs `colour`"),
    "colour unknown": ("rgb", {"frame": grey(), "colour": "BGR"}, "BGR"),
    "depth in mode rgb": ("rgb", {**GOOD["rgb"], "depth_m": flat_part()}, "does not use `depth_m`"),
    "frame in mode depth": ("depth", {"frame": grey(), "depth_m": flat_part()}, "does not use `frame`"),
    "colour in mode depth": ("depth", {"colour": "rgb", "depth_m": flat_part()}, "does not use `colour`"),
    "no depth": ("rgbd", GOOD["rgb"], "needs `depth_m`"),
    "sizes": ("rgbd", {**GOOD["rgb"], "depth_m": flat_part(48, 40)}, r"\[40, 48\] and \[48, 40\]"),
    "empty frame": ("rgb", {"frame": np.zeros((0, 4, 3), np.uint8), "colour": "rgb"}, "ound"),
    "float frame": ("rgb", {"frame": grey().astype(np.float32), "colour": "rgb"}, "uint8"),
    "16-bit frame": ("rgb", {"frame": grey().astype(np.uint16), "colour": "rgb"}, "uint8"),
    "planes first": ("rgb", {"frame": grey().transpose(2, 0, 1), "colour": "rgb"}, "ound"),
    "alpha": ("rgb", {"frame": np.zeros((8, 8, 4), np.uint8), "colour": "rgb"}, "ound"),
    "mono as colour": ("rgb", {"frame": np.zeros((8, 8), np.uint8), "colour": "rgb"}, "ound"),
    "NaN depth": ("depth", {"depth_m": np.full((8, 8), np.nan, np.float32)}, "NaN"),
    "depth in millimetres": ("depth", {"depth_m": np.full((8, 8), 500, np.uint16)}, "ound"),
    "depth with channels": ("depth", {"depth_m": np.zeros((8, 8, 3), np.float32)}, "ound"),
    "no array": ("rgb", {"frame": [[1, 2], [3]], "colour": "rgb"}, "ound"),
    "no depth array": ("rgbd", {**GOOD["rgb"], "depth_m": [[1, 2], [3]]}, "ound"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_judged_is_refused(tiny_models: dict[Mode, Path], case: str) -> None:
    mode, given, words = REFUSED[case]
    with Inspector.open(tiny_models[mode], threads=1) as inspector:
        with pytest.raises(FrameError, match=words):
            inspector.inspect(**given)
        assert inspector.inspect(**GOOD[mode]).verdict == "pass"


def test_a_closed_inspector_judges_nothing(tiny_rgb: Path) -> None:
    inspector = Inspector.open(str(tiny_rgb), threads=1)
    inspector.close()
    inspector.close()
    with pytest.raises(BackendError, match="the inspector was closed"):
        inspector.inspect(grey(), colour="rgb")


def test_the_map_belongs_to_the_caller() -> None:
    shared = np.zeros((1, 4, 4), np.float32)
    backend = FakeBackend(tiny_spec(), lambda _: Outputs(np.zeros(1, np.float32), shared))
    found = Inspector(tiny_spec(), backend).inspect(grey(), colour="rgb")
    shared[:] = 1
    assert found.anomaly_map.max() == 0


def test_an_engine_of_another_model_is_refused() -> None:
    backend = FakeBackend(tiny_spec("depth"), lambda _: Outputs(*NOTHING))
    with pytest.raises(BackendError, match="built for other tensors than a rgb model's"):
        Inspector(tiny_spec("rgb"), backend)


def test_opening_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such file"):
        Inspector.open(tmp_path / "absent.onnx")
    with pytest.raises(ModelError, match="made by `ast-edge build-engine"):
        Inspector.open(tmp_path / "model.engine")


def test_the_reference_pictures_get_their_reference_scores(tiny_rgb: Path) -> None:
    """A picture of the network's own size passes preprocessing unchanged, so its score is known."""
    with Inspector.open(tiny_rgb, threads=1) as inspector:
        references, _ = load_references(read_model_file(tiny_rgb))
        for picture, score in zip(references.inputs["image"], references.score, strict=True):
            assert inspector.inspect(picture, colour="rgb").score == pytest.approx(float(score), rel=1e-6)


@pytest.mark.slow
def test_the_package_imports_lazily() -> None:
    script = (
        "import sys, ast_edge; assert 'numpy' not in sys.modules and 'pydantic' not in sys.modules;"
        "assert {'Inspector', 'Inspection', '__version__'} <= set(dir(ast_edge));"
        "from ast_edge import Inspector, Inspection; assert 'onnxruntime' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        ast_edge.Nonsense  # noqa: B018


def test_closing_waits_for_the_part_that_another_thread_has_judged() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def answer(inputs: Mapping[str, Array]) -> Outputs:
        begun.set()
        assert go_on.wait(20)
        return Outputs(np.zeros(1, np.float32), np.zeros((1, 4, 4), np.float32))

    class Watched(FakeBackend):
        closed_while_running = False

        def _close(self) -> None:
            self.closed_while_running = not go_on.is_set()

    spec = tiny_spec()
    backend = Watched(spec, answer)
    inspector = Inspector(spec, backend)
    with ThreadPoolExecutor(2) as pool:
        judged = pool.submit(inspector.inspect, **GOOD["rgb"])
        assert begun.wait(20)
        closing = pool.submit(inspector.close)
        time.sleep(0.05)
        assert not closing.done()
        go_on.set()
        closing.result(20)
        assert judged.result(20).verdict == "pass"
    assert not backend.closed_while_running


def test_a_crop_that_no_camera_has_costs_nothing() -> None:
    crop = Crop(x=0, y=0, width=2_000_000, height=2_000_000)
    spec = tiny_spec()
    spec = spec.model_copy(update={"preprocessing": spec.preprocessing.model_copy(update={"crop": crop})})
    with (
        Inspector(spec, FakeBackend(spec, lambda _: Outputs(*NOTHING))) as inspector,
        pytest.raises(FrameError, match="too small for the model's crop"),
    ):
        inspector.inspect(**GOOD["rgb"])
