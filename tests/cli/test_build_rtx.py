"""`ast-edge build-engine --for rtx` with NVIDIA's builder, in processes of their own; no GPU."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from ast_edge.cuda.device import driver_problem
from ast_edge.model.engine_file import read_engine_file, sidecar_path
from ast_edge.model.engine_info import BuiltFor, Proven
from ast_edge.model.engine_proof import MachineProof, write_proof
from ast_edge.model.references import reference_path
from tests.cli.conftest import Cli

pytestmark = pytest.mark.slow

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason='tensorrt-rtx is not installed: pip install ".[rtx]"',
)
FP32 = ("--for", "rtx", "--precision", "fp32")


@pytest.fixture
def model(tiny_rgb: Path, tmp_path: Path) -> Path:
    shutil.copy(reference_path(tiny_rgb), tmp_path)
    return Path(shutil.copy(tiny_rgb, tmp_path))


@needs_rtx
def test_an_engine_for_other_machines(process: Cli, model: Path) -> None:
    done = process("build-engine", model, *FP32, "--gpu", "rtx-4060,rtx-3060", "--batch", "1")
    assert done.code == 0, done.err
    assert "proof          pending: " in done.out
    engine = read_engine_file(model.with_suffix(".rtx.engine"))
    assert engine.plan.startswith(b"vtrt")
    assert engine.info.rtx is not None
    assert engine.info.rtx.compute_capabilities == ("8.6", "8.9")
    assert engine.info.rtx.tensorrt_rtx.startswith("1.")
    content = json.loads(sidecar_path(engine.path).read_text())
    assert content["format_version"] == 2
    assert content["built_for"]["proof"] == "pending"
    assert content["proven"] is None
    assert "capability 8.6, 8.9" in done.out
    described = process("info", engine.path)
    version = engine.info.rtx.tensorrt_rtx
    assert f"engine         TensorRT for RTX {version}, for 8.6, 8.9\n" in described.out
    assert "proven         not yet on any machine; `ast-edge verify` does it" in described.out
    machine = BuiltFor(gpu="a GPU", compute_capability="8.6", driver="1", tensorrt=version, integrated=False)
    proven = Proven(vectors=3, max_relative_score_error=2e-6, max_absolute_map_error=0, tolerance=1e-4)
    write_proof(
        engine,
        MachineProof(
            plan_sha256=engine.info.plan.sha256, machine=machine, proven=proven, at="2026-01-02T03:04:05Z"
        ),
    )
    described = process("info", engine.path)
    assert (
        "proven         2026-01-02T03:04:05Z on a GPU: 3 reference vectors, score within 2.0e-06 relative"
        in (described.out)
    )
    content = json.loads(process("info", engine.path, "--json").out)
    assert content["engine"]["built_for"]["compute_capabilities"] == ["8.6", "8.9"]
    assert content["proofs"][0]["machine"]["gpu"] == "a GPU"


@needs_rtx
@pytest.mark.skipif(driver_problem() is None, reason="this machine has a GPU")
def test_without_a_gpu_an_engine_is_refused_by_every_command(process: Cli, model: Path) -> None:
    assert process("build-engine", model, *FP32).code == 0
    engine = model.with_suffix(".rtx.engine")
    for command in (("verify", engine), ("inspect", engine, engine.parent)):
        done = process(*command)
        assert done.code in (1, 2)
    done = process("verify", engine)
    assert done.code == 1
    assert (
        f"{engine}: engines of TensorRT for RTX do not run on this machine: there is no NVIDIA" in done.error
    )


@needs_rtx
def test_half_precision_and_the_report_of_its_layers(process: Cli, depth_model: Path, tmp_path: Path) -> None:
    report = tmp_path / "layers.json"
    target = tmp_path / "model.rtx.engine"
    done = process("build-engine", depth_model, "--for", "rtx", "-o", target, "--report", report)
    assert done.code == 0, done.err
    content = json.loads(report.read_text())
    assert content["by_precision"]["fp16"] > 0
    assert content["by_precision"]["fp32"] > 0
    half = [row for row in content["layers"] if row["precision"] == "fp16"]
    assert all(any(name.startswith("/student/") for name in row["fused"]) or not row["fused"] for row in half)


@needs_rtx
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--dla", "0"), "--dla: TensorRT for RTX has no such option"),
        (("--timing-cache", "x"), "--timing-cache: TensorRT for RTX has no such option"),
        (("--optimization-level", "0"), "--optimization-level: TensorRT for RTX has no such option"),
        (("--version-compatible",), "--version-compatible: TensorRT for RTX has no such option"),
        (("--hardware-compatible",), "--hardware-compatible: TensorRT for RTX has no such option"),
        (("--no-verify",), "--no-verify: an engine for RTX is proven by the machine that opens it"),
        (("--gpu", "sm87"), "data-centre GPUs and Jetsons take TensorRT"),
        (("--gpu", "sm75", "--precision", "int8"), "computes INT8 convolutions in FP32"),
        (("-o", "model.plan"), "an engine file ends in .engine"),
    ],
)
def test_what_rtx_lacks_is_refused_with_what_to_do(
    process: Cli, model: Path, options: tuple[str, ...], words: str
) -> None:
    done = process("build-engine", model, *FP32, *options)
    assert done.code == 2
    assert words in done.error
    assert sorted(path.suffix for path in model.parent.iterdir()) == [".onnx", ".safetensors"]


def test_gpu_is_for_rtx(cli: Cli, model: Path) -> None:
    done = cli("build-engine", model, "--gpu", "sm89")
    assert (done.code, "--gpu is for --for rtx" in done.error) == (2, True)


def test_without_the_package_it_says_what_to_install(process: Cli, model: Path) -> None:
    hidden = "import sys; sys.modules['tensorrt_rtx'] = None"
    done = process("build-engine", model, *FP32, before=hidden)
    assert done.code == 2
    assert 'tensorrt-rtx is not installed; `pip install ".[rtx]"`' in done.error
