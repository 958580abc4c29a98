"""The traced graph: readable by TensorRT 8, free of operators that edge compilers reject, equal results."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

import onnx
import onnxruntime
import pytest

from ast_edge.model.manifest import Mode, TensorSpec, input_specs, output_specs
from ast_edge_export.trace import IR_VERSION, OPSET
from tests.export import MODES, run_onnx, run_torch, tiny_config, tiny_inputs, tiny_network, traced

DTYPES: dict[int, Literal["float32", "uint8"]] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.UINT8: "uint8",
}
NETWORK = {
    *("Conv", "Pad", "Gather", "Split", "Concat", "Add", "Sub", "Mul", "Div"),
    *("Relu", "LeakyRelu", "Sigmoid", "Atan", "Exp", "Clip", "ReduceMean"),
    *("Cast", "Constant", "Transpose", "AveragePool", "Unsqueeze", "Squeeze"),
}
DEPTH = {"Reshape", "Greater", "Where", "ReduceMax", "TopK", "Flatten"}
MEMORIES = {"ReduceMin", "Log", "Resize", "MaxPool"}
pytestmark = pytest.mark.slow  # every mode is traced


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


def specs(values: list[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    """Names, types and shapes as the graph declares them; a named dimension is a free one."""
    found = []
    for value in values:
        kind = value.type.tensor_type
        shape = tuple(-1 if dim.dim_param else dim.dim_value for dim in kind.shape.dim)
        found.append(TensorSpec(name=value.name, dtype=DTYPES[kind.elem_type], shape=shape))
    return tuple(found)


@pytest.mark.parametrize("mode", MODES)
def test_versions_are_those_that_tensorrt_8_reads(mode: Mode, scratch: Path) -> None:
    model = traced(mode, -1, scratch)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert (OPSET, IR_VERSION, model.ir_version) == (17, 8, 8)
    assert not model.metadata_props
    assert not model.functions
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("batch", [-1, 1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_inputs_and_outputs_are_those_of_the_manifest(mode: Mode, batch: int, scratch: Path) -> None:
    graph, preprocessing = traced(mode, batch, scratch).graph, tiny_config(mode).preprocessing
    assert specs(list(graph.input)) == input_specs(mode, preprocessing, batch)
    assert specs(list(graph.output)) == output_specs(preprocessing, batch)


def test_only_a_cast_reads_a_uint8_tensor(scratch: Path) -> None:
    """TensorRT refuses a network in which anything else does."""
    graph = traced("rgbd", -1, scratch).graph
    assert [node.op_type for node in graph.node if "image" in node.input] == ["Cast"]


@pytest.mark.parametrize("batch", [-1, 1])
@pytest.mark.parametrize("mode", MODES)
def test_only_plain_operators(mode: Mode, batch: int, scratch: Path) -> None:
    count = Counter(node.op_type for node in traced(mode, batch, scratch).graph.node)
    memories = MEMORIES if tiny_config(mode).memories else set()
    assert set(count) <= NETWORK | memories | (set() if mode == "rgb" else DEPTH)
    # One permutation, one split and two coefficients per coupling; two affine halves of each.
    assert count["Split"] == 4 + 8
    distances = 1 + len(tiny_config(mode).memories)
    fused = distances > 1
    # And the foreground's channel, with memories on each of the three grids too.
    assert count["Gather"] == 4 + (mode != "rgb") + 3 * fused
    assert (count["Atan"], count["Exp"], count["Log"]) == (8, 8 + fused, distances * fused)
    assert count["Relu"] >= 8
    # Of the flow; with a foreground of its blurred weights; of each logarithm, and of each memory's distance.
    assert count["Clip"] >= 4 + (mode == "rgbd") + (2 * distances - 1) * fused
    assert count["LeakyRelu"] == 1 + 2 * 2


@pytest.mark.parametrize("batch", [1, 3, 5])
@pytest.mark.parametrize("mode", MODES)
def test_free_batch_gives_pytorchs_numbers(mode: Mode, batch: int, scratch: Path) -> None:
    inputs = tiny_inputs(mode, batch, seed=batch)
    expected = run_torch(tiny_network(mode), inputs)
    found = run_onnx(traced(mode, -1, scratch), inputs)
    assert abs(found[0] / expected[0] - 1).max() < 1e-4
    assert abs(found[1] - expected[1]).max() < 1e-4 * expected[1].max()


@pytest.mark.parametrize("mode", MODES)
def test_score_answers_to_every_input(mode: Mode, scratch: Path) -> None:
    model, inputs = traced(mode, 1, scratch), tiny_inputs(mode, 1)
    _, before = run_onnx(model, inputs)
    for name in inputs:
        changed = {**inputs, name: tiny_inputs(mode, 1, seed=9)[name]}
        assert abs(run_onnx(model, changed)[1] - before).max() > 1e-3


def test_fixed_batch_gives_pytorchs_numbers_and_takes_no_other(scratch: Path) -> None:
    inputs = tiny_inputs("rgbd", 2, seed=2)
    model = traced("rgbd", 2, scratch)
    expected = run_torch(tiny_network("rgbd"), inputs)
    assert abs(run_onnx(model, inputs)[0] / expected[0] - 1).max() < 1e-4
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        run_onnx(model, tiny_inputs("rgbd", 3))


def test_empty_foreground_gives_no_finite_score(scratch: Path) -> None:
    inputs = tiny_inputs("depth", 1)
    inputs["foreground"][:] = 0
    score, anomaly_map = run_onnx(traced("depth", 1, scratch), inputs)
    assert score[0] == float("-inf")
    assert not anomaly_map.any()
