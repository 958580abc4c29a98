"""INT8 in the graph: where quantisation pairs are placed, their form, and layers that stay in FP32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, numpy_helper

from ast_edge.model.manifest import Mode
from ast_edge.model.onnx_file import HALF_SCOPES
from ast_edge_export.quantise import quantisable, quantise_only, to_int8
from tests.export import MODES, run_onnx, tiny_inputs, traced

pytestmark = pytest.mark.slow

PAIR = {"QuantizeLinear", "DequantizeLinear"}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


def quantised(mode: Mode, scratch: Path, batch: int = 1) -> onnx.ModelProto:
    parts = [tiny_inputs(mode, abs(batch), seed=seed) for seed in range(6)]
    return to_int8(traced(mode, batch, scratch), parts)


def pair_before(model: onnx.ModelProto, name: str) -> tuple[NodeProto, NodeProto] | None:
    """Q and DQ that make the tensor `name`; None where something else does."""
    maker = {output: node for node in model.graph.node for output in node.output}
    dequantise = maker.get(name)
    if dequantise is None or dequantise.op_type != "DequantizeLinear":
        return None
    quantise = maker[dequantise.input[0]]
    assert quantise.op_type == "QuantizeLinear"
    return quantise, dequantise


@pytest.mark.parametrize("mode", MODES)
def test_convolutions_of_trunk_and_student_and_nothing_else_read_through_pairs(
    mode: Mode, scratch: Path
) -> None:
    model = quantised(mode, scratch)
    names = set(quantisable(traced(mode, 1, scratch)))
    assert names
    for node in model.graph.node:
        if node.op_type in PAIR:
            continue
        pairs = [pair_before(model, name) for name in node.input]
        if node.name in names:
            assert node.name.startswith(HALF_SCOPES)
            # Picture and weights through pairs, the bias as it is.
            assert [pair is not None for pair in pairs] == [True, True, False][: len(pairs)]
        else:
            assert not any(pairs), node.name


@pytest.mark.parametrize("mode", MODES)
def test_pairs_are_symmetric_and_weights_have_a_scale_a_channel(mode: Mode, scratch: Path) -> None:
    model = quantised(mode, scratch)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for conv in (node for node in model.graph.node if node.name in quantisable(model)):
        activation, weight = (pair_before(model, name) for name in conv.input[:2])
        assert activation is not None
        assert weight is not None
        for node in (*activation, *weight):
            zero = constants[node.input[2]]
            assert zero.data_type == TensorProto.INT8
            assert not numpy_helper.to_array(zero).any()
        assert numpy_helper.to_array(constants[activation[0].input[1]]).shape == ()
        scales = numpy_helper.to_array(constants[weight[0].input[1]])
        kernel = constants[weight[0].input[0]]
        assert kernel.data_type == TensorProto.FLOAT
        assert scales.shape == (kernel.dims[0],)
        assert [attribute.i for attribute in weight[0].attribute if attribute.name == "axis"] == [0]
        limit = np.abs(numpy_helper.to_array(kernel)).max(axis=(1, 2, 3)) / 127
        np.testing.assert_allclose(scales, limit, rtol=0.01)


def test_versions_stay_those_that_tensorrt_8_reads(scratch: Path) -> None:
    model = quantised("rgbd", scratch)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    assert not model.metadata_props


def test_the_fp32_graph_is_left_as_it_was(scratch: Path) -> None:
    before = traced("rgb", 1, scratch).SerializeToString()
    quantised("rgb", scratch)
    assert traced("rgb", 1, scratch).SerializeToString() == before


@pytest.mark.parametrize("batch", [-1, 1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_the_numbers_are_near_those_of_fp32_but_not_the_same(mode: Mode, batch: int, scratch: Path) -> None:
    inputs = tiny_inputs(mode, 2 if batch == -1 else batch, seed=1)
    expected = run_onnx(traced(mode, batch, scratch), inputs)
    found = run_onnx(
        quantised(mode, scratch, 2 if batch == -1 else batch)
        if batch > 0
        else to_int8(traced(mode, -1, scratch), [inputs]),
        inputs,
    )
    error = abs(found[1] - expected[1]).max() / expected[1].max()
    assert 1e-5 < error < 0.1


@pytest.mark.parametrize("mode", MODES)
def test_spared_layers_give_back_fp32(mode: Mode, scratch: Path) -> None:
    model, plain = quantised(mode, scratch), traced(mode, 1, scratch)
    inputs = tiny_inputs(mode, 1)
    none = quantise_only(model, ())
    assert not [node for node in none.graph.node if node.op_type in PAIR]
    # By value: the tool copies what several layers share.
    ours, theirs = (
        {(tuple(tensor.dims), tensor.raw_data) for tensor in graph.initializer}
        for graph in (none.graph, plain.graph)
    )
    assert len(ours) <= len(theirs)
    for found, expected in zip(run_onnx(none, inputs), run_onnx(plain, inputs), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    one = quantise_only(model, {"/student/conv_in/Conv"})
    assert [node.op_type for node in one.graph.node].count("QuantizeLinear") == 2
    onnx.checker.check_model(one, full_check=True)


def test_what_lies_beyond_the_good_parts_saturates(scratch: Path) -> None:
    """Ranges come from the parts that were given: from dark ones, a light picture is cut off."""
    plain = traced("rgb", 1, scratch)
    light = tiny_inputs("rgb", 1)
    dark = {"image": light["image"] // 16}
    exact = run_onnx(plain, light)[1]
    narrow, wide = (run_onnx(to_int8(plain, [part]), light)[1] for part in (dark, light))
    assert abs(narrow - exact).max() > 3 * abs(wide - exact).max()
