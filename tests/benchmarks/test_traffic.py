"""The roofline of a GPU's traffic: kernels, bytes and times of small graphs, counted by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from benchmarks.roofline.layers import network_of
from benchmarks.roofline.traffic import GpuCeilings, Kernel, kernels_of, report, traffic_ms

F32, F16 = TensorProto.FLOAT, TensorProto.FLOAT16
# One byte takes a microsecond from memory, and a tenth of it within a cache that holds nothing.
CEILINGS = GpuCeilings(1e6, 1e7, 0, {"fp32": 1e15}, 1e-9)


def save(
    path: Path,
    nodes: list[NodeProto],
    shapes: dict[str, list[int]],
    weights: Mapping[str, Any],
    kind: int = F32,
) -> Path:
    """A graph from the first to the last of `shapes`."""
    first, last = next(iter(shapes)), list(shapes)[-1]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(first, kind, shapes[first])],
        [helper.make_tensor_value_info(last, kind, shapes[last])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def block(path: Path, kind: int = F32) -> Path:
    """A small block of EfficientNet: convolution, swish, squeeze and excite, projection, residual."""
    dtype = np.float32 if kind == F32 else np.float16
    weights = {
        "w": np.ones((8, 4, 3, 3), dtype),
        "b": np.ones(8, dtype),
        "wg": np.ones((8, 8, 1, 1), dtype),
        "wp": np.ones((4, 8, 1, 1), dtype),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="/trunk/conv", pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["c"], ["s"], name="/trunk/sigmoid"),
        helper.make_node("Mul", ["c", "s"], ["a"], name="/trunk/swish"),
        helper.make_node("ReduceMean", ["a"], ["m"], name="/trunk/squeeze", axes=[2, 3]),
        helper.make_node("Conv", ["m", "wg"], ["e"], name="/trunk/excite"),
        helper.make_node("Sigmoid", ["e"], ["g"], name="/trunk/gate"),
        helper.make_node("Mul", ["a", "g"], ["t"], name="/trunk/scale"),
        helper.make_node("Conv", ["t", "wp"], ["p"], name="/student/project"),
        helper.make_node("Add", ["p", "x"], ["y"], name="/student/residual"),
    ]
    return save(path, nodes, {"x": [1, 4, 10, 10], "y": [1, 4, 10, 10]}, weights, kind)


@pytest.mark.parametrize(("kind", "size", "precision"), [(F32, 4, "fp32"), (F16, 2, "fp16")])
def test_a_block_of_efficientnet_moves_what_one_counts_by_hand(
    kind: int, size: int, precision: str, tmp_path: Path
) -> None:
    found = kernels_of(block(tmp_path / "m.onnx", kind))
    expected = [
        # nodes, values read, values written, multiplications
        (("/trunk/conv", "/trunk/sigmoid", "/trunk/swish"), 400 + 288 + 8, 800, 8 * 100 * 36),
        (("/trunk/squeeze",), 800, 8, 0),
        (("/trunk/excite", "/trunk/gate"), 8 + 64, 8, 64),
        (("/trunk/scale",), 800 + 8, 800, 0),  # the gate waits for the first kernel, which cannot take it
        (("/student/project", "/student/residual"), 800 + 32 + 400, 400, 3200),
    ]
    assert [kernel.nodes for kernel in found] == [nodes for nodes, *_ in expected]
    assert [sum(kernel.reads.values()) for kernel in found] == [size * read for _, read, *_ in expected]
    assert [sum(kernel.writes.values()) for kernel in found] == [size * each for *_, each, _ in expected]
    assert [kernel.macs for kernel in found] == [macs for *_, macs in expected]
    assert {kernel.precision for kernel in found} == {precision}
    assert found[0].constants == {"w", "b"}
    network = network_of(tmp_path / "m.onnx")
    assert sum(kernel.macs for kernel in found) == network.macs
    assert network.layer_bytes < sum(kernel.bytes for kernel in found) < network.all_bytes


def test_times_are_what_one_counts_by_hand(tmp_path: Path) -> None:
    kernels = kernels_of(block(tmp_path / "m.onnx"))
    values = (696 + 800) + (800 + 8) + (72 + 8) + (808 + 800) + (1232 + 400)
    assert traffic_ms(kernels, CEILINGS) == pytest.approx(4 * values / 1e3)
    # All tensors in the cache, and all weights together: 392 values.
    assert traffic_ms(kernels, replace(CEILINGS, cache_bytes=3200)) == pytest.approx(4 * values / 1e4)
    # All weights fit, tensors of 800 values do not; with less cache the weights do not either.
    small = replace(CEILINGS, cache_bytes=1600)
    far = 392 + 800 + 800 + 800 + 800 + 800
    assert traffic_ms(kernels, replace(small, cache_bytes=1568)) > traffic_ms(kernels, small)
    assert traffic_ms(kernels, small) == pytest.approx((4 * (far - 392) + 0.4 * (values - far + 392)) / 1e3)
    # Every kernel takes at least its start, and at least its multiplications.
    assert traffic_ms(kernels, replace(CEILINGS, kernel_s=1.0)) == pytest.approx(5e3)
    slow = replace(CEILINGS, memory_bytes_per_s=1e15, cache_bytes_per_s=1e15, macs_per_s={"fp32": 1e6})
    assert traffic_ms(kernels, slow) == pytest.approx((28800 + 64 + 3200) / 1e3, rel=1e-4)
    found = report(kernels, slow)
    assert found["bound_by_ms"]["multiplications"] == pytest.approx(found["traffic_ms"], rel=1e-3)
    assert found["by_part_ms"] == {"trunk": pytest.approx(28.864), "student": pytest.approx(3.2)}
    assert found["heaviest"][0]["nodes"][0] == "/trunk/conv"


def test_views_and_names_are_no_kernels(tmp_path: Path) -> None:
    """Half of the channels go through an activation, as in a coupling of the flow."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Reshape", ["c", "shape"], ["r"], name="reshape"),
        helper.make_node("Split", ["r"], ["one", "two"], name="split", axis=1),
        helper.make_node("Exp", ["one"], ["e"], name="exp"),
        helper.make_node("Mul", ["e", "two"], ["f"], name="mul"),
        helper.make_node("Concat", ["one", "f"], ["y"], name="concat", axis=1),
    ]
    weights = {"w": np.ones((4, 4, 1, 1), np.float32), "shape": np.array([1, 4, 100], np.int64)}
    conv, coupling = kernels_of(
        save(tmp_path / "m.onnx", nodes, {"x": [1, 4, 10, 10], "y": [1, 4, 100]}, weights)
    )
    assert (conv.nodes, conv.bytes) == (("conv",), 4 * (400 + 16 + 400))
    assert (coupling.nodes, coupling.reads, coupling.writes) == (
        ("exp", "mul"),
        {"one": 800, "two": 800},
        {"f": 800},
    )


def test_a_sum_joins_the_later_of_two_convolutions(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first"),
        helper.make_node("Conv", ["a", "w"], ["b"], name="second"),
        helper.make_node("Add", ["a", "b"], ["y"], name="sum"),
    ]
    weights = {"w": np.ones((4, 4, 1, 1), np.float32)}
    shapes = {"x": [1, 4, 10, 10], "y": [1, 4, 10, 10]}
    first, second = kernels_of(save(tmp_path / "m.onnx", nodes, shapes, weights))
    assert (first.nodes, second.nodes) == (("first",), ("second", "sum"))
    assert (first.writes, second.reads["a"]) == ({"a": 1600}, 1600)


def test_int8_tensors_move_as_integers(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["q"], name="in"),
        helper.make_node("DequantizeLinear", ["q", "one", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "one", "zero"], ["wd"]),
        helper.make_node("Conv", ["d", "wd"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("QuantizeLinear", ["r", "one", "zero"], ["u"], name="out"),
        helper.make_node("DequantizeLinear", ["u", "one", "zero"], ["y"]),
    ]
    weights = {
        "w": np.ones((8, 4, 1, 1), np.int8),
        "one": np.float32(1).reshape(()),
        "zero": np.int8(0).reshape(()),
    }
    shapes = {"x": [1, 4, 10, 10], "y": [1, 8, 10, 10]}
    quantise, conv = kernels_of(save(tmp_path / "m.onnx", nodes, shapes, weights))
    assert sum(quantise.writes.values()) == 400
    assert (conv.nodes, conv.precision) == (("conv", "relu", "out"), "int8")
    assert (conv.reads["q"], conv.reads["w"], conv.writes) == (400, 32, {"u": 800})


def test_a_kernel_survives_a_result_file(tmp_path: Path) -> None:
    kernels = kernels_of(block(tmp_path / "m.onnx"))
    again = [Kernel.from_json(json.loads(json.dumps(kernel.as_json()))) for kernel in kernels]
    assert again == kernels
