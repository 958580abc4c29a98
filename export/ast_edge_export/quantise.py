"""INT8 written into the graph: explicit QuantizeLinear and DequantizeLinear around convolutions.

Trunk and student only; the flow, the distance and the score stay in FP32. Symmetric with zero point 0, one
scale per tensor for activations and one per output channel for weights, whose pairs are on the FP32 weights,
bias in FP32: the form that TensorRT 8.5 to 11 and ONNX Runtime read. It is made by ONNX Runtime's own tool,
with ranges from good parts. Needs `onnx` and `onnxruntime` and no torch.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from ast_edge.model.arrays import Array
from ast_edge.model.half_precision import drop_unused
from ast_edge.model.onnx_file import HALF_SCOPES

Inputs = Mapping[str, Array]


def quantisable(model: ModelProto) -> list[str]:
    """Return the names of the convolutions of trunk and student, in the order of the graph."""
    return [
        node.name for node in model.graph.node if node.op_type == "Conv" and node.name.startswith(HALF_SCOPES)
    ]


def to_int8(model: ModelProto, parts: Sequence[Inputs]) -> ModelProto:
    """Return a copy of `model` in which every convolution of `quantisable` has Q/DQ pairs.

    `parts` are inputs of the network, batch 1, from good parts: the largest value of each tensor on them
    becomes its range, and larger values saturate.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)  # the tool would modify a model in memory
        quantize_static(
            source,
            target,
            _Reader(parts),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=quantisable(model),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "AddQDQPairToWeight": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": ["Conv"],
            },
        )
        quantised = onnx.load(target)
    quantised.ir_version = model.ir_version
    del quantised.metadata_props[:]
    onnx.checker.check_model(quantised, full_check=True)
    # The tool makes every reader of a quantised tensor read it rounded, the flow too.
    return quantise_only(quantised, quantisable(model))


def quantise_only(model: ModelProto, names: Collection[str]) -> ModelProto:
    """Return a copy of the quantised `model` in which only the convolutions `names` read through pairs."""
    copy = ModelProto()
    copy.CopyFrom(model)
    maker = {name: node for node in copy.graph.node for name in node.output}
    for node in copy.graph.node:
        if node.name not in names and node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
            for index, name in enumerate(node.input):
                node.input[index] = _before_pair(name, maker)
    drop_unused(copy)
    return copy


def _before_pair(name: str, maker: Mapping[str, NodeProto]) -> str:
    dequantise = maker.get(name)
    if dequantise is None or dequantise.op_type != "DequantizeLinear":
        return name
    return str(maker[dequantise.input[0]].input[0])


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime carries no types
    def __init__(self, parts: Sequence[Inputs]) -> None:
        self._parts: Iterator[Inputs] = iter(parts)

    def get_next(self) -> dict[str, Array] | None:
        part = next(self._parts, None)
        return None if part is None else dict(part)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the tool's advice on preprocessing, which our simplified graph already had."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
