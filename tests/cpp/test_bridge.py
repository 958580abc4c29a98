"""C++ and Python on the same models and parts: the same scores, maps, verdicts and reasons."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ast_edge.cli import main
from ast_edge.errors import AstEdgeError, FrameError
from ast_edge.frames.reading import list_images, read_image, read_xyz, xyz_beside
from ast_edge.inspector import Inspection, Inspector
from ast_edge.model.manifest import Mode, PastCalibration
from ast_edge.model.onnx_file import read_model_file, rewrite_manifest
from ast_edge.verdict.calibration import revised
from tests import tiny
from tests.cpp.bridge import SOURCE, Model, Result
from tests.real_data import cable_gland
from tests.small import disturbed

MODES: tuple[Mode, ...] = ("rgb", "depth", "rgbd")
SCORE_TOLERANCE = 1e-4


def assert_same(found: Result, expected: Inspection) -> None:
    assert found.status == 0, found.reason
    assert found.verdict == expected.verdict, (found, expected)
    assert found.threshold == expected.threshold
    np.testing.assert_allclose(found.score, expected.score, rtol=SCORE_TOLERANCE)
    np.testing.assert_allclose(found.map, expected.anomaly_map, rtol=1e-3, atol=1e-4)
    assert found.p_value == pytest.approx(expected.p_value)
    if expected.levels is None:
        assert found.levels is None
    else:
        assert found.levels == pytest.approx(tuple(expected.levels), rel=1e-12, abs=1e-9)
    if expected.verdict == "fault":
        assert found.reason == expected.reason


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("precision", ["", ".fp16"])
def test_trained_models_reproduce_every_reference_vector(
    models: dict[Mode, Path], library: ctypes.CDLL, mode: Mode, precision: str
) -> None:
    with Model(library, models[mode].with_suffix(f"{precision}.onnx")) as model:
        status, parity = model.verify()
    assert status == 0
    assert parity.vectors >= 3
    assert parity.tolerance == (1e-2 if precision else 1e-4)
    assert parity.max_relative_score_error <= parity.tolerance
    assert parity.flipped_verdicts == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("good", [True, False])
def test_tiny_models_judge_alike(
    tiny_models: dict[Mode, Path], library: ctypes.CDLL, mode: Mode, good: bool
) -> None:
    part = tiny.part(mode, good=good)
    with Inspector.open(tiny_models[mode]) as inspector, Model(library, tiny_models[mode]) as model:
        expected = inspector.inspect(**part)
        assert expected.verdict == ("pass" if good else "reject")
        assert_same(model.inspect(**part), expected)


def frames(size: int) -> list[NDArray[np.uint8]]:
    """Grey noise, dark, bright and flat frames of the small product's size, and one of another."""
    rng = np.random.default_rng(0)
    noise = rng.integers(80, 180, (size, size, 3), dtype=np.uint8)
    return [noise, noise // 20, np.full_like(noise, 255), np.full_like(noise, 128), noise[:, : size // 2]]


def test_frames_unlike_good_parts_are_the_same_faults(rgb_model: Path, library: ctypes.CDLL) -> None:
    reasons = set()
    with Inspector.open(rgb_model) as inspector, Model(library, rgb_model) as model:
        for frame in frames(64):
            expected = inspector.inspect(frame, colour="bgr")
            assert_same(model.inspect(np.ascontiguousarray(frame), "bgr"), expected)
            assert_same(model.inspect(frame, "bgr"), expected)  # rows with gaps
            reasons.add(expected.reason.split()[2] if expected.verdict == "fault" else expected.verdict)
    assert {"brightness", "contrast", "width"} & reasons, reasons


def test_what_a_mask_excludes_changes_neither_score_nor_map_by_a_bit(
    masked_model: Path, product: Path, library: ctypes.CDLL
) -> None:
    with Inspector.open(masked_model) as inspector, Model(library, masked_model) as model:
        for number, path in enumerate(sorted(product.glob("test/*/rgb/*.png"))):
            picture = read_image(path)
            expected = model.inspect(picture, "rgb")
            assert_same(expected, inspector.inspect(picture, colour="rgb"))
            found = model.inspect(disturbed(picture, number), "rgb")
            assert_same(found, inspector.inspect(disturbed(picture, number), colour="rgb"))
            assert (found.score, found.levels) == (expected.score, expected.levels)
            assert found.verdict == expected.verdict != "fault"
            np.testing.assert_array_equal(found.map, expected.map)


def test_a_new_threshold_and_an_earlier_revision_are_taken_over(
    rgb_model: Path, library: ctypes.CDLL, tmp_path: Path
) -> None:
    copy = tmp_path / "model.onnx"
    shutil.copy(rgb_model, copy)
    file = read_model_file(copy)
    assert file.manifest.calibration is not None
    threshold = file.manifest.threshold.model_copy(update={"value": 1e-3})
    past = PastCalibration(threshold=threshold, calibration=file.manifest.calibration)
    rewrite_manifest(file, revised(file.manifest, past))
    part = frames(64)[0]
    with Inspector.open(copy) as inspector, Model(library, copy) as model:
        assert model.verify()[0] == 0  # with the verdicts of the first threshold
        assert_same(model.inspect(part, "bgr"), inspector.inspect(part, colour="bgr"))
        model.set_threshold(1e9)
        assert model.inspect(part, "bgr").threshold == 1e9


@pytest.mark.parametrize(
    "change", ["nan", "negative", "millimetres", "nothing measured", "one row", "other size"]
)
def test_depth_maps_that_cannot_be_used_are_refused_alike(
    tiny_models: dict[Mode, Path], library: ctypes.CDLL, change: str
) -> None:
    depth: NDArray[Any] = tiny.flat_part()
    if change == "one row":
        depth = depth[:1]
    elif change == "other size":
        depth = depth[:-1]
    elif change == "nothing measured":
        depth[:] = 0
    else:
        depth[3, 4] = {"nan": np.nan, "negative": -0.5, "millimetres": 480.0}[change]
    part = {**tiny.part("rgbd", good=True), "depth_m": depth}
    with Inspector.open(tiny_models["rgbd"]) as inspector, Model(library, tiny_models["rgbd"]) as model:
        with pytest.raises(FrameError) as error:
            inspector.inspect(**part)
        found = model.inspect(**part)
    assert (found.status, found.verdict) == (2, "fault")
    assert found.reason.split()[:4] == str(error.value).split()[:4]


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "text", "manifest"])
def test_models_are_refused_alike(tiny_rgb: Path, library: ctypes.CDLL, tmp_path: Path, damage: str) -> None:
    data = tiny_rgb.read_bytes()
    path = tmp_path / "model.onnx"
    changed = data.replace(b'"pixel_value": 0.15', b'"pixel_value": 0.16')
    path.write_bytes(
        {
            "cut": data[:-7],
            "changed": data[:300] + bytes([data[300] ^ 1]) + data[301:],
            "empty": b"",
            "text": b"no model",
            "manifest": changed,
        }[damage]
    )
    assert path.read_bytes() != data
    with pytest.raises(AstEdgeError) as error:
        read_model_file(path)
    with pytest.raises(ValueError, match="model") as refusal:
        Model(library, path)
    assert str(refusal.value).split()[:4] == str(error.value).split()[:4]


def test_the_models_of_the_ctests_are_tiny_models(library: ctypes.CDLL) -> None:
    for mode in MODES:
        model = read_model_file(SOURCE / "tests" / "models" / f"{mode}.onnx")
        spec = tiny.tiny_spec(mode)
        assert {name: getattr(model.manifest, name) for name in type(spec).model_fields} == dict(spec)


@pytest.fixture(scope="module", params=MODES)
def cable_gland_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the real part in every mode, hardly trained: what counts is that both sides judge alike."""
    data = cable_gland()
    folder = tmp_path_factory.mktemp("cable_gland")
    options = ("--preset", "nano", "--mode", request.param, "--crop", "auto", "--epochs", "4", "--seed", "0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AST_EDGE_CACHE", str(folder / "cache"))
        assert main(["train", str(data), "-o", str(folder / "run"), *options]) == 0
    assert main(["export", str(folder / "run"), "-o", str(folder / "model.onnx")]) == 0
    return folder / "model.onnx"


def real_parts(mode: Mode) -> list[dict[str, Any]]:
    """Every test picture of cable_gland as what a model of this mode inspects."""
    kinds = sorted((cable_gland() / "test").iterdir())
    pictures = [picture for kind in kinds for picture in list_images(kind / "rgb")]
    assert len(pictures) == 108
    frame, depth = mode != "depth", mode != "rgb"
    return [
        ({"frame": read_image(picture), "colour": "rgb"} if frame else {})
        | ({"depth_m": read_xyz(xyz_beside(picture))} if depth else {})
        for picture in pictures
    ]


@pytest.mark.data
def test_verdicts_are_equal_on_every_test_picture(cable_gland_model: Path, library: ctypes.CDLL) -> None:
    verdicts = []
    mode = read_model_file(cable_gland_model).manifest.mode
    with Inspector.open(cable_gland_model) as inspector, Model(library, cable_gland_model) as model:
        for part in real_parts(mode):
            expected = inspector.inspect(**part)
            assert_same(model.inspect(**part), expected)
            assert_same(model.wait(model.submit(**part)), expected)
            verdicts.append(expected.verdict)
    assert {"pass", "reject"} <= set(verdicts)
