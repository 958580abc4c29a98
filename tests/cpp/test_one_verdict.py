"""Every good part gets one verdict from ONNX Runtime, OpenVINO and C++, wherever the threshold is."""

from __future__ import annotations

import ctypes
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ast_edge import Inspector
from ast_edge.backends import BackendName
from ast_edge.frames.reading import list_images, read_image
from ast_edge.model.manifest import Manifest, Mode
from ast_edge.model.onnx_file import read_model_file, rewrite_manifest
from ast_edge.verdict.calibration import GoodParts, Origin, calibrate, revised
from ast_edge.verdict.margin import undecided_parts
from tests.cpp.bridge import Model
from tests.tiny import flat_part, write_tiny_model

CPU: tuple[BackendName, ...] = ("onnxruntime", "openvino")
PARTS = 24
RATES = (0.03, 0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Judged:
    scores: list[float]
    verdicts: list[str]


def noise(mode: Mode) -> list[dict[str, Any]]:
    """Parts whose scores differ by little more than their rounding: as alike as good parts may be."""
    rng = np.random.default_rng(0)
    parts: list[dict[str, Any]] = []
    for _ in range(PARTS):
        part: dict[str, Any] = {}
        if mode != "depth":
            part |= {"frame": rng.integers(118, 138, (40, 48, 3), dtype=np.uint8), "colour": "rgb"}
        if mode != "rgb":
            part["depth_m"] = flat_part() + rng.normal(0, 1e-3, (40, 48)).astype(np.float32)
        parts.append(part)
    return parts


def judge_all(path: Path, parts: list[dict[str, Any]], library: ctypes.CDLL) -> dict[str, Judged]:
    found: dict[str, Judged] = {}
    for backend in CPU:
        with Inspector.open(path, threads=1, backend=backend) as inspector:
            results = [inspector.inspect(**part) for part in parts]
        found[backend] = Judged([r.score for r in results], [r.verdict for r in results])
    with Model(library, path) as model:
        cpp = [model.inspect(**part) for part in parts]
    return {**found, "C++": Judged([r.score for r in cpp], [r.verdict for r in cpp])}


def calibrated(path: Path, scores: list[float], rate: float) -> Manifest:
    """The file with a threshold from these scores."""
    model = read_model_file(path)
    new = calibrate(
        GoodParts(scores, scores, [], "a" * 64),
        Origin("test"),
        false_reject_rate=rate,
        precision=model.manifest.precision,
    )
    return rewrite_manifest(model, revised(model.manifest, new)).manifest


def check(path: Path, parts: list[dict[str, Any]], library: ctypes.CDLL) -> None:
    first = judge_all(path, parts, library)
    for source in first:
        for rate in RATES:
            manifest = calibrated(path, first[source].scores, rate)
            judged = judge_all(path, parts, library)
            verdicts = {tuple(each.verdicts) for each in judged.values()}
            assert len(verdicts) == 1, (source, rate, manifest.threshold)
            assert undecided_parts(manifest, manifest.precision) <= len(parts) // 2
            expected = sum(score > manifest.threshold.value for score in first[source].scores)
            assert verdicts.pop().count("reject") == expected <= rate * (len(parts) + 1)


@pytest.mark.parametrize("mode", ["rgb", "depth", "rgbd"])
def test_tiny_models(tmp_path: Path, library: ctypes.CDLL, mode: Mode) -> None:
    path, parts = write_tiny_model(tmp_path, mode), noise(mode)
    scores = [judged.scores for judged in judge_all(path, parts, library).values()]
    if mode == "rgb":
        assert len({tuple(each) for each in scores}) > 1  # the engines do differ in the last bits
    check(path, parts, library)


@pytest.mark.parametrize("name", ["model.onnx", "model.fp16.onnx"])
def test_a_trained_model_in_both_precisions(
    rgb_model: Path, product: Path, tmp_path: Path, library: ctypes.CDLL, name: str
) -> None:
    path = Path(shutil.copy(rgb_model.with_name(name), tmp_path))
    pictures = list_images(product / "test" / "good" / "rgb")
    check(path, [{"frame": read_image(picture), "colour": "rgb"} for picture in pictures], library)
