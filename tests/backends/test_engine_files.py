"""An engine on disk, on stand-ins: refused on another machine, beside another export, or when damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ast_edge.backends.engine_build import Options, build_engine
from ast_edge.cuda.device import Device
from ast_edge.errors import BackendError, ModelError
from ast_edge.inspector import Inspector
from ast_edge.model.engine_file import kernels_path, read_engine_file, sidecar_path
from ast_edge.model.engine_info import EngineInfo
from tests.standin.install import standins
from tests.standin.trt_behaviour import Behaviour
from tests.tiny import write_tiny_model

pytestmark = pytest.mark.driver
FP32 = Options(precision="fp32")


def test_another_gpu_or_tensorrt_is_refused_before_the_plan_is_loaded(
    kernel_library: Path, own_cache: None, tmp_path: Path
) -> None:
    model = write_tiny_model(tmp_path, "rgb")
    with standins(kernel_library):
        engine = build_engine(model, None, FP32).path
    other = Device(0, "Orin NX", "8.7", "12.2", integrated=True, memory_bytes=8 << 30)
    with standins(kernel_library, gpu=other), pytest.raises(BackendError) as caught:
        Inspector.open(engine)
    assert "built for stand-in (8.7), this machine has Orin NX (8.7)" in str(caught.value)
    assert f"`ast-edge build-engine {model} -o {engine}`" in str(caught.value)
    with standins(kernel_library, "10.3.0"), pytest.raises(BackendError, match=r"has 10.3.0; build it on"):
        Inspector.open(engine)


def test_an_engine_of_an_earlier_export_is_refused(machine: Behaviour, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path, "rgb")
    engine = build_engine(model, None, FP32).path
    (tmp_path / "new").mkdir()
    model.write_bytes(write_tiny_model(tmp_path / "new", "rgb", batch=-1).read_bytes())
    with pytest.raises(ModelError, match=r"was built from another model\.onnx than the one beside it"):
        Inspector.open(engine)
    model.unlink()
    Inspector.open(engine).close()  # without its model an engine stands for itself


def test_calibrating_an_engine_changes_its_sidecar(machine: Behaviour, tmp_path: Path) -> None:
    from ast_edge.model.engine_file import rewrite_any  # noqa: PLC0415

    engine = build_engine(write_tiny_model(tmp_path, "rgb"), None, FP32)
    threshold = engine.manifest.threshold.model_copy(update={"value": 0.2})
    rewrite_any(engine, engine.manifest.model_copy(update={"threshold": threshold}))
    with Inspector.open(engine.path) as inspector:
        assert inspector.spec.threshold.value == 0.2
    with pytest.raises(ModelError, match="changed by another process"):
        rewrite_any(engine, engine.manifest)


def test_damaged_engine_files(machine: Behaviour, tmp_path: Path) -> None:
    engine = build_engine(write_tiny_model(tmp_path, "rgb"), None, FP32).path
    sidecar = sidecar_path(engine)
    plan, text = engine.read_bytes(), sidecar.read_text(encoding="utf-8")
    content = json.loads(text)
    engine.write_bytes(plan[:-1])
    assert_refused(engine, "truncated or of another build")
    engine.write_bytes(plan[:-1] + b"x")
    assert_refused(engine, "of another build")
    engine.write_bytes(plan)
    kernels_path(engine).write_bytes(b"")
    assert_refused(engine, "the kernels is not the one|kernels")
    for change, words in (
        ({"format_version": 3}, "newer than format 2"),
        ({"format_version": "1"}, "no format_version"),
        ({"source": "other.onnx"}, "its digest does not match"),
    ):
        sidecar.write_text(json.dumps({**content, **change}), encoding="utf-8")
        assert_refused(engine, words)
    for broken, words in (("{", "cannot be read as JSON"), ("[]", "not a JSON object"), ("", "JSON")):
        sidecar.write_text(broken, encoding="utf-8")
        assert_refused(engine, words)
    sidecar.unlink()
    assert_refused(engine, "there is no such file")


def assert_refused(engine: Path, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        read_engine_file(engine)


def test_unknown_keys_of_a_sidecar_are_errors(machine: Behaviour, tmp_path: Path) -> None:
    info = build_engine(write_tiny_model(tmp_path, "rgb"), None, FP32).info
    with pytest.raises(ValueError, match="extra"):
        EngineInfo.model_validate({**info.model_dump(), "more": 1})
