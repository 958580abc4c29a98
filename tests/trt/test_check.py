"""NVIDIA's parser and builder on every kind of exported graph, and on deliberately wrong graphs."""

from __future__ import annotations

import copy
from pathlib import Path

import onnx
import pytest

from ast_edge.errors import BackendError, UsageError
from ast_edge.model.engine_info import Batch
from ast_edge.model.manifest import Mode, Precision
from ast_edge.model.onnx_file import HALF_SCOPES
from ast_edge.train.config import PresetName, preset
from ast_edge.trt import flavours
from ast_edge.trt.check import Checked, check_graph
from tests import export
from tests.trt.graphs import graph, in_precision, inputs

ONE = Batch(least=1, usual=1, most=1)
RANGE = Batch(least=1, usual=4, most=8)
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
pytestmark = pytest.mark.usefixtures("rtx", "one_thread")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


def checked(model: onnx.ModelProto, precision: Precision, batch: Batch, folder: Path) -> Checked:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return check_graph(path, precision, batch)


def convolutions(model: onnx.ModelProto) -> set[str]:
    return {n.name for n in model.graph.node if n.op_type == "Conv" and n.name.startswith(HALF_SCOPES)}


def assert_types(found: Checked, model: onnx.ModelProto, precision: Precision) -> None:
    """The flow in FP32, trunk and student in `precision`; Turing has no convolutions in INT8."""
    newer, turing = found.groups
    assert newer.convolutions == turing.convolutions == len(convolutions(model))
    assert ("FP16" in found.types) == (precision == "fp16")
    assert ("INT8" in found.types) == (precision == "int8")
    assert len(newer.slower) <= 1
    if precision == "int8":
        assert newer.slower == ()
        assert set(turing.slower) == convolutions(model)


@pytest.mark.parametrize("batch", [1, -1])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("mode", export.MODES)
@pytest.mark.slow
def test_every_mode_and_precision_with_fixed_and_ranged_batches(
    mode: Mode, precision: Precision, batch: int, scratch: Path, tmp_path: Path
) -> None:
    parts = [export.tiny_inputs(mode, 1, seed=seed) for seed in range(2)]
    model = in_precision(export.traced(mode, batch, scratch), precision, parts)
    found = checked(model, precision, RANGE if batch == -1 else ONE, tmp_path)
    assert found.library.startswith("TensorRT for RTX 1.")
    assert_types(found, model, precision)


@pytest.mark.parametrize(
    ("name", "mode", "precision", "size"),
    [
        ("nano", "rgb", "fp16", None),
        ("nano", "rgb", "int8", None),
        ("nano", "depth", "fp16", None),
        ("nano", "rgbd", "fp16", None),
        ("balanced", "rgb", "fp16", None),
        ("balanced", "rgbd", "int8", None),
        ("paper", "rgb", "fp16", 128),
        ("paper", "rgbd", "int8", 128),
    ],
)
@pytest.mark.slow
def test_presets(
    name: PresetName, mode: Mode, precision: Precision, size: int | None, scratch: Path, tmp_path: Path
) -> None:
    full = graph(name, mode, size, 1, scratch)
    config = preset(name, mode)
    if size is not None:
        config = config.model_copy(update={"image_size": size})
    model = in_precision(full, precision, [inputs(config, 1, 1)])
    assert_types(checked(model, precision, ONE, tmp_path), model, precision)


@pytest.fixture
def half(scratch: Path) -> onnx.ModelProto:
    """The FP16 graph of mode depth, to be made wrong."""
    return copy.deepcopy(in_precision(export.traced("depth", 1, scratch), "fp16"))


def test_a_graph_with_a_cast_left_out_is_refused_with_the_parsers_words(
    half: onnx.ModelProto, tmp_path: Path
) -> None:
    cast = next(node for node in half.graph.node if node.name.endswith(".fp16/Cast"))
    for node in half.graph.node:
        for index, name in enumerate(node.input):
            if name == cast.output[0]:
                node.input[index] = cast.input[0]
    with pytest.raises(BackendError, match=r"cannot read the network: .*must be of same type.*Half"):
        checked(half, "fp16", ONE, tmp_path)


def test_an_unknown_operator_is_refused_by_name(half: onnx.ModelProto, tmp_path: Path) -> None:
    next(node for node in half.graph.node if node.op_type == "Conv").op_type = "Frobnicate"
    with pytest.raises(BackendError, match=r"cannot read the network: node .*Frobnicate.*Plugin not found"):
        checked(half, "fp16", ONE, tmp_path)


def test_an_opset_that_the_parser_does_not_know_is_refused(half: onnx.ModelProto, tmp_path: Path) -> None:
    half.opset_import[0].version = 6
    with pytest.raises(BackendError, match=r"cannot read the network: .*Pre-opset 7"):
        checked(half, "fp16", ONE, tmp_path)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(BackendError, match="cannot read the network"):
        check_graph(tmp_path / "model.onnx", "fp32", ONE)


def test_another_batch_than_that_of_the_graph_is_refused(scratch: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exported for batches of 1"):
        checked(export.traced("depth", 1, scratch), "fp32", Batch(least=2, usual=2, most=2), tmp_path)


def test_types_that_are_not_those_of_the_precision_are_named(half: onnx.ModelProto, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="computes in FP16, expected FP32 in a model of precision fp32"):
        checked(half, "fp32", ONE, tmp_path)


@pytest.mark.slow
def test_a_graph_that_was_left_in_fp32_is_no_fp16_model(scratch: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"layer '/student/.*' computes in FP32, expected FP16"):
        checked(export.traced("depth", 1, scratch), "fp16", ONE, tmp_path)


def test_a_process_uses_one_library() -> None:
    with pytest.raises(
        BackendError, match="already uses TensorRT for RTX, and TensorRT needs one of its own"
    ):
        flavours.use(flavours.TENSORRT)
