"""The FP16 pass: converted nodes, validity of the graph, and the loss of precision."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ast_edge.errors import ModelError
from ast_edge.model.half_precision import FP16_MAX, to_mixed_precision
from ast_edge.model.manifest import Mode
from ast_edge.model.onnx_file import HALF_SCOPES
from tests.export import MODES, run_onnx, run_torch, tiny_inputs, tiny_network, traced
from tests.paths import ROOT


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


def types(model: ModelProto) -> dict[str, int]:
    """Element type of every tensor of the graph."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {
        info.name: info.type.tensor_type.elem_type
        for info in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    return found | {tensor.name: tensor.data_type for tensor in inferred.initializer}


def changed_weight(model: ModelProto, scope: str, value: float) -> tuple[ModelProto, str]:
    """A copy with one number of the first convolution under `scope` replaced, and the weight's name."""
    copy = ModelProto()
    copy.CopyFrom(model)
    conv = next(n for n in copy.graph.node if n.op_type == "Conv" and n.name.startswith(scope))
    tensor = next(t for t in copy.graph.initializer if t.name == conv.input[1])
    values = numpy_helper.to_array(tensor).copy()
    values.flat[-1] = value
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return copy, tensor.name


@pytest.mark.slow
@pytest.mark.parametrize("batch", [-1, 1])
@pytest.mark.parametrize("mode", MODES)
def test_trunk_and_student_are_half_and_everything_else_is_not(mode: Mode, batch: int, scratch: Path) -> None:
    model = to_mixed_precision(traced(mode, batch, scratch))
    kinds = types(model)
    halves = set()
    for node in model.graph.node:
        floats = {
            kinds[name]
            for name in (*node.input, *node.output)
            if kinds.get(name) in {TensorProto.FLOAT, TensorProto.FLOAT16}
        }
        if node.op_type == "Cast" and node.name.endswith(("fp16/Cast", "fp32/Cast")):
            continue
        assert len(floats) <= 1, node.name
        if TensorProto.FLOAT16 in floats:
            halves.add(node.name)
    assert all(name.startswith(HALF_SCOPES) for name in halves)
    convolutions = {node.name for node in model.graph.node if node.op_type == "Conv"}
    full = ("/teacher/", "/memories/each", "/Conv")  # the flow, the memories, the smoothing of the map
    assert convolutions & halves == {name for name in convolutions if not name.startswith(full)}
    assert any(name.startswith("/student/") for name in halves)
    assert any(name.startswith("/trunk/body/") for name in halves) == (mode != "depth")
    for node in model.graph.node:
        if node.op_type in {"Exp", "Atan", "Clip", "ReduceMax", "Where", "Greater"}:
            assert node.name not in halves


@pytest.mark.parametrize("mode", MODES)
def test_every_weight_is_stored_once_in_the_precision_it_is_used_in(mode: Mode, scratch: Path) -> None:
    before = traced(mode, 1, scratch)
    after = to_mixed_precision(before)
    used = {name for node in after.graph.node for name in node.input}
    stored = [tensor.name for tensor in after.graph.initializer]
    assert len(stored) == len(set(stored))
    assert set(stored) <= used
    assert len(stored) <= len(before.graph.initializer) + 3  # a small constant may serve on both sides
    assert after.ByteSize() < before.ByteSize()


@pytest.mark.parametrize("mode", MODES)
def test_inputs_and_outputs_keep_their_types(mode: Mode, scratch: Path) -> None:
    before = traced(mode, -1, scratch)
    after = to_mixed_precision(before)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert (after.ir_version, list(after.opset_import)) == (before.ir_version, list(before.opset_import))


def test_graph_is_valid_and_the_original_untouched(scratch: Path) -> None:
    model = traced("rgbd", 1, scratch)
    before = model.SerializeToString()
    onnx.checker.check_model(to_mixed_precision(model), full_check=True)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("mode", MODES)
def test_outputs_are_within_one_per_cent(mode: Mode, scratch: Path) -> None:
    model = to_mixed_precision(traced(mode, -1, scratch))
    inputs = tiny_inputs(mode, 6, seed=4)
    expected, found = run_torch(tiny_network(mode), inputs), run_onnx(model, inputs)
    assert found[0].dtype == found[1].dtype == np.float32
    errors = abs(found[0] / expected[0] - 1)
    assert 0 < errors.max() < 1e-2
    assert abs(found[1] - expected[1]).max() < 1e-2 * expected[1].max()


def test_differences_that_fp16_could_not_square_keep_their_precision(scratch: Path) -> None:
    """300 squared is more than FP16 holds."""
    model = traced("depth", 1, scratch)
    conv = next(node for node in model.graph.node if node.name == "/student/conv_out/Conv")
    far = ModelProto()
    far.CopyFrom(model)
    bias = next(tensor for tensor in far.graph.initializer if tensor.name == conv.input[2])
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(300), bias.name))
    inputs = tiny_inputs("depth", 1)
    score, _ = run_onnx(to_mixed_precision(far), inputs)
    assert 65504 < score[0] < 300**2 * 1.1
    assert score[0] == pytest.approx(run_onnx(far, inputs)[0][0], rel=1e-2)


def test_weights_up_to_the_largest_half_are_taken(scratch: Path) -> None:
    model, _ = changed_weight(traced("depth", 1, scratch), "/student/", FP16_MAX)
    to_mixed_precision(model)


@pytest.mark.parametrize("value", [65600.0, -1e6, float("inf"), float("nan")])
@pytest.mark.parametrize("scope", ["/student/", "/trunk/body/"])
def test_weight_that_does_not_fit_is_refused_by_name(scope: str, value: float, scratch: Path) -> None:
    model, name = changed_weight(traced("rgbd", 1, scratch), scope, value)
    with pytest.raises(ModelError, match=f"weight {name}: .* does not fit FP16; use the FP32 model"):
        to_mixed_precision(model)


def test_large_weight_of_the_teacher_is_no_concern(scratch: Path) -> None:
    model, _ = changed_weight(traced("depth", 1, scratch), "/teacher/", 1e6)
    to_mixed_precision(model)


def test_graph_of_someone_else_is_refused() -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], name="/student/Relu")],
        "other",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(
        ModelError,
        match=r"no convolution under /trunk/body/ or /memories/trunk/body/ or /student/; give one made",
    ):
        to_mixed_precision(model)


def test_needs_no_torch(scratch: Path) -> None:
    """A device can halve a model too: the whole pass runs where torch and its friends cannot be imported."""
    path = scratch / "without_torch.onnx"
    onnx.save(traced("depth", 1, scratch), path)
    program = """
        import sys

        class Blocked:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {"torch", "timm", "FrEIA", "onnxsim", "onnxruntime"}:
                    raise ModuleNotFoundError(f"{name} is blocked by this test", name=name)

        sys.meta_path.insert(0, Blocked())
        import onnx
        from ast_edge.model.half_precision import to_mixed_precision

        onnx.save(to_mixed_precision(onnx.load(sys.argv[1])), sys.argv[2])
    """
    target = scratch / "without_torch.fp16.onnx"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program), str(path), str(target)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "export")])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert onnx.load(target) == to_mixed_precision(onnx.load(path))
