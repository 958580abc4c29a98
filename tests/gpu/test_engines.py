"""Engines of every mode and precision against ONNX Runtime, and what must be refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ast_edge.backends import open_backend
from ast_edge.backends.engine_build import Options, build_engine
from ast_edge.backends.proof import SCORE_TOLERANCE, prove
from ast_edge.cuda import device
from ast_edge.errors import BackendError, ModelError, UsageError
from ast_edge.inspector import Inspector
from ast_edge.model.engine_file import content_of, read_engine_file, sidecar_path, write_engine_file
from ast_edge.model.engine_info import Batch
from ast_edge.model.manifest import Mode, Precision
from ast_edge.model.references import load_references
from tests.gpu.conftest import Build, exported
from tests.tiny import grey, white, write_tiny_model

MODES: tuple[Mode, ...] = ("rgb", "depth", "rgbd")


@pytest.mark.parametrize("mode", MODES)
def test_tiny_engines_give_onnx_runtimes_numbers(build: Build, mode: Mode) -> None:
    engine, engine_backend = open_backend(build(mode, "fp32"))
    model, onnx_backend = open_backend(build(mode, "fp32").with_suffix(".onnx"))
    references, _ = load_references(model)
    with engine_backend, onnx_backend:
        for index in range(len(references)):
            inputs = references.subset([index]).inputs
            found, expected = engine_backend.run(inputs), onnx_backend.run(inputs)
            np.testing.assert_allclose(found.score, expected.score, rtol=1e-4)
            np.testing.assert_allclose(found.anomaly_map, expected.anomaly_map, rtol=1e-3, atol=1e-5)
        assert prove(engine_backend, references, engine.manifest, 1e-4).ok


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("model", exported(), ids=lambda path: path.stem)
def test_exported_models_in_every_precision(model: Path, precision: Precision, tmp_path: Path) -> None:
    """The proof on the reference vectors is part of the build; it is repeated through the public door."""
    if precision == "int8" and not model.with_name(f"{model.stem}.int8.onnx").exists():
        pytest.skip("there is no INT8 model beside it")
    report = tmp_path / "layers.json"
    engine = build_engine(
        model, tmp_path / f"{model.stem}.engine", Options(precision=precision, report=report)
    )
    assert engine.info.proven is not None
    shutil.copy(model.with_name(f"{model.stem}.reference.safetensors"), tmp_path)
    opened, backend = open_backend(engine.path)
    with backend:
        references, _ = load_references(opened)
        parity = prove(backend, references, opened.manifest, SCORE_TOLERANCE[precision])
    assert parity.ok
    assert json.loads(report.read_text(encoding="utf-8"))["layers"]


def test_a_range_of_batches(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path, "rgb", batch=-1)
    engine = build_engine(model, None, Options(precision="fp32", batch=Batch(least=1, usual=4, most=8)))
    _, backend = open_backend(engine.path)
    with backend:
        for count in (1, 8, 4):
            pictures = np.full((count, *backend.inputs[0].shape[1:]), 255, np.uint8)
            assert backend.run({"image": pictures}).score == pytest.approx([0.248] * count, rel=0.05)
    with Inspector.open(engine.path) as inspector:
        assert inspector.inspect(white(), colour="rgb").verdict == "reject"
        assert inspector.inspect(grey(), colour="rgb").verdict == "pass"


def test_a_plan_of_another_model_is_refused(build: Build, tmp_path: Path) -> None:
    engine = tmp_path / "model.engine"
    for path in build("rgb", "fp32").parent.glob("model.engine*"):
        shutil.copy(path, tmp_path)
    shutil.copy(build("depth", "fp32"), engine)
    with pytest.raises(ModelError, match="of another build"):
        Inspector.open(engine)
    # Even a sidecar that vouches for it does not make it this model's plan.
    info = read_engine_file(build("rgb", "fp32")).info
    plan = memoryview(build("depth", "fp32").read_bytes())
    write_engine_file(engine, plan, None, info.model_copy(update={"plan": content_of(plan), "kernels": None}))
    with pytest.raises(BackendError, match="other tensors than its model says"):
        Inspector.open(engine)


def test_a_truncated_plan_is_refused_by_the_sidecar_and_by_tensorrt(build: Build, tmp_path: Path) -> None:
    engine = tmp_path / "model.engine"
    for path in build("rgb", "fp32").parent.glob("model.engine*"):
        shutil.copy(path, tmp_path)
    plan = engine.read_bytes()
    engine.write_bytes(plan[: len(plan) // 2])
    with pytest.raises(ModelError, match="truncated or of another build"):
        Inspector.open(engine)
    half = memoryview(plan[: len(plan) // 2])
    info = read_engine_file(build("rgb", "fp32")).info
    write_engine_file(engine, half, None, info.model_copy(update={"plan": content_of(half), "kernels": None}))
    with pytest.raises(BackendError, match="TensorRT did not make an engine of the plan"):
        Inspector.open(engine)


def test_an_engine_of_another_gpu_is_refused(build: Build, tmp_path: Path) -> None:
    for path in build("rgb", "fp32").parent.glob("model.engine*"):
        shutil.copy(path, tmp_path)
    engine = read_engine_file(tmp_path / "model.engine")
    other = engine.info.built_for.model_copy(update={"gpu": "Orin"})
    info = engine.info.model_copy(update={"built_for": other})
    sidecar_path(engine.path).write_text(info.to_json(), encoding="utf-8")
    with pytest.raises(BackendError, match=f"built for Orin .* this machine has {device.find_device().name}"):
        Inspector.open(engine.path)


def test_more_memory_than_there_is(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path, "rgb")
    with pytest.raises(UsageError, match="of the GPU's memory are free"):
        build_engine(model, None, Options(precision="fp32", workspace_mib=10_000_000))
