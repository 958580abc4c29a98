"""The GPU round: its dry run from end to end, its roofline, and how it judges and fails."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.common.command import module
from benchmarks.gpu import day
from benchmarks.roofline import measure as roofline
from tests.paths import ROOT

pytestmark = pytest.mark.slow


def test_the_dry_run_walks_through_every_stage(kernel_library: Path, tmp_path: Path) -> None:
    output = tmp_path / "gpu_day.json"
    done = subprocess.run(
        [
            *(*module("gpu.day"), "--dry-run"),
            *("--work", tmp_path / "work", "-o", output),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(output.read_text(encoding="utf-8"))
    assert result["dry_run"] is True
    assert result["problems"] == []
    assert {row["mode"] for row in result["models"]} == {"rgb", "depth", "rgbd"}
    assert {row["precision"] for row in result["engines"]} == {"fp32", "fp16", "int8"}
    assert all(row["engine"] == "ONNX Runtime" for row in result["latency"])
    assert all(row["total_ms"]["min"] > 0 for row in result["latency"])
    assert set(result["roofline"]) == {f"{row['model']}.{row['precision']}" for row in result["engines"]}
    assert all(target["met"] is None for target in result["targets"])  # nothing of the paper's size ran
    assert "passed" in result["tests"]
    for found in result["roofline"].values():
        assert found["kernels"] > 0
        assert sum(found["bound_by_ms"].values()) == pytest.approx(found["traffic_ms"], rel=1e-3)
        assert {"teacher", "student"} <= set(found["by_part_ms"])
    assert all(row["total_ms"]["min"] > 0 for row in result["rtx"])
    by_provider = {row["provider"]: row for row in result["providers"]}
    assert set(by_provider) == {"cuda", "tensorrt", "nvtensorrtrtx", "cpu"}
    assert by_provider["cpu"]["proven"]["vectors"] > 0
    assert by_provider["cpu"]["total_ms"]["min"] > 0
    assert "has no CUDAExecutionProvider" in by_provider["cuda"]["left_out"]


def test_a_failing_stage_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(*module("gpu.day"), "--only", "latency", "ceilings"),
            *("--dry-run", "--engine-python", "/bin/false"),
            *("--work", tmp_path / "work", "-o", tmp_path / "out.json"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    result = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    ceilings = result["ceilings"]
    assert all(ceilings[name] > 0 for name in ("memory_bytes_per_s", "cache_bytes_per_s", "kernel_s"))
    assert {problem.partition(":")[0] for problem in result["problems"]} == {
        *("models", "tests", "engines", "latency", "rtx", "providers", "peers")
    }


def latency(p50: float, p99: float, engine: float, preprocess: float) -> list[dict[str, Any]]:
    row = {"model": "paper_rgb", "precision": "fp16", "colour": "bayer_rggb"}
    stages = {"engine": {"p50": engine}, "preprocess": {"p50": preprocess}}
    return [{**row, "total_ms": {"p50": p50, "p99": p99}, "stages_ms": stages}]


def test_targets_are_judged_by_their_limits() -> None:
    peers: list[dict[str, Any]] = [
        {"model": "paper_rgb", "variant": "eager fp32", "p50_ms": 20.0},
        {"model": "paper_rgb", "variant": "torch.compile fp16", "p50_ms": 3.0},
        {"model": "paper_rgb", "variant": "CUDA graph", "failed": "no"},
        {"model": "nano_rgb", "variant": "eager fp32", "p50_ms": 0.1},
    ]
    floors = {"paper_rgb.fp16": {"traffic_ms": 1.0}}
    found = day.targets(latency(2.0, 2.2, 1.8, 0.2), peers, floors)
    assert [row["found"] for row in found] == [2.0, 1.1, 10.0, 1.5, 1.8, 0.2]
    assert [row["met"] for row in found] == [True, True, True, True, True, False]
    slow = day.targets(latency(4.1, 8.2, 4.0, 0.05), peers, floors)
    assert [row["met"] for row in slow] == [False, False, False, False, False, True]
    assert [row["met"] for row in day.targets([], [], {})] == [None] * 6


def convolution(kind: int, path: Path) -> Path:
    """One convolution of 4 to 8 channels, 3x3, on 10x10 pixels with padding, and a ReLU."""
    dtype = np.float32 if kind == TensorProto.FLOAT else np.float16
    weights = numpy_helper.from_array(np.zeros((8, 4, 3, 3), dtype), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], name="/student/conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["y"], ["z"]),
    ]
    inputs = [helper.make_tensor_value_info("x", kind, ["batch", 4, 10, 10])]
    outputs = [helper.make_tensor_value_info("z", kind, ["batch", 8, 10, 10])]
    graph = helper.make_graph(nodes, "one", inputs, outputs, [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


@pytest.mark.parametrize(("kind", "name", "size"), [(1, "fp32", 4), (10, "fp16", 2)])
def test_a_layer_costs_what_one_counts_by_hand(kind: int, name: str, size: int, tmp_path: Path) -> None:
    (layer,) = roofline.layers_of(convolution(kind, tmp_path / "one.onnx"))
    assert layer.macs == 8 * 100 * 4 * 9
    assert layer.bytes == size * (4 * 100 + 8 * 4 * 9 + 8 * 100)
    assert layer.precision == name
    bound_by_bytes = roofline.Ceilings(1e6, {"fp32": 1e15, "fp16": 1e15})
    assert roofline.floor_ms([layer], bound_by_bytes) == pytest.approx(layer.bytes / 1e3)
    bound_by_macs = roofline.Ceilings(1e15, {"fp32": 1e6, "fp16": 2e6})
    assert roofline.floor_ms([layer], bound_by_macs) == pytest.approx(layer.macs / 1e3 * size / 4)


def test_the_floor_counts_the_macs_that_pytorch_counts(rgb_model: Path) -> None:
    """The exported graph has a little less: what depends on the position alone was folded away."""
    from ast_edge.train.run import Run  # noqa: PLC0415
    from benchmarks.common import network_size  # noqa: PLC0415

    run = Run(rgb_model.parents[1] / "run-rgb")
    counted = network_size.measure(run.load_network(), run.config().train)["gmac"]
    found = sum(layer.macs for layer in roofline.layers_of(rgb_model)) / 1e9
    assert 0.7 * counted < found <= counted
