"""Mixed precision written into the graph: trunk and student in FP16, everything else in FP32.

The flow's exponentials, its affine state, difference, square and reductions stay in FP32: four blocks may
scale by more than FP16 can represent, and a squared difference overflows at 256. Precision is a property of
the graph because TensorRT 11 supports no other way. Needs `onnx` and no torch, so a device can convert too.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ast_edge.errors import ModelError
from ast_edge.model.onnx_file import HALF_SCOPES

FP16_MAX = 65504.0
_PURE = {"Constant", "QuantizeLinear", "DequantizeLinear"}


def to_mixed_precision(model: ModelProto) -> ModelProto:
    """Return a copy of `model` with the nodes of `HALF_SCOPES` in FP16 and casts at the borders.

    Inputs and outputs keep their types. Raises ModelError if these scopes contain no convolution or a weight
    exceeds the range of FP16.
    """
    copy = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    converter = _Converter(copy)
    if not any(node.op_type == "Conv" and _is_half(node) for node in copy.graph.node):
        raise ModelError(
            f"the graph has no convolution under {' or '.join(HALF_SCOPES)}; give one made by ast-edge."
        )
    nodes = [new for node in copy.graph.node for new in converter.convert(node)]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    copy.graph.initializer.extend(converter.halves.values())
    drop_unused(copy)
    del copy.graph.value_info[:]
    onnx.checker.check_model(copy, full_check=True)
    return copy


def _is_half(node: NodeProto) -> bool:
    return node.op_type not in {"Cast", "Constant"} and node.name.startswith(HALF_SCOPES)


class _Converter:
    """Converts nodes one by one in graph order and tracks which tensor exists in which precision."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.constants |= {
            node.output[0]: attribute.t
            for node in graph.node
            if node.op_type == "Constant"
            for attribute in node.attribute
            if attribute.name == "value"
        }
        self.floats = {
            info.name
            for info in (*graph.value_info, *graph.input, *graph.output)
            if info.type.tensor_type.elem_type == TensorProto.FLOAT
        }
        self.halves: dict[str, TensorProto] = {}
        self.in_half: set[str] = set()
        self.cast: set[str] = set()

    def convert(self, node: NodeProto) -> list[NodeProto]:
        """Return the node in its new precision, preceded by the casts that it is the first to need."""
        casts: list[NodeProto] = []
        half = _is_half(node)
        for index, name in enumerate(node.input):
            node.input[index] = self._half_input(name, casts) if half else self._full_input(name, casts)
        if half:
            self.in_half |= {name for name in node.output if name in self.floats}
        return [*casts, node]

    def _half_input(self, name: str, casts: list[NodeProto]) -> str:
        constant = self.constants.get(name)
        if constant is not None:
            return self._half_constant(name, constant) if constant.data_type == TensorProto.FLOAT else name
        if name in self.in_half or name not in self.floats:
            return name
        return self._cast(name, f"{name}.fp16", TensorProto.FLOAT16, casts)

    def _full_input(self, name: str, casts: list[NodeProto]) -> str:
        return self._cast(name, f"{name}.fp32", TensorProto.FLOAT, casts) if name in self.in_half else name

    def _half_constant(self, name: str, constant: TensorProto) -> str:
        half = f"{name}.fp16"
        if half not in self.halves:
            values = numpy_helper.to_array(constant)
            if not np.abs(values).max(initial=0.0) <= FP16_MAX:  # NaN does not fit either
                raise ModelError(
                    f"weight {name}: {np.abs(values).max():.3g} does not fit FP16; use the FP32 model."
                )
            self.halves[half] = numpy_helper.from_array(values.astype(np.float16), half)
        return half

    def _cast(self, name: str, target: str, kind: int, casts: list[NodeProto]) -> str:
        if target not in self.cast:
            self.cast.add(target)
            casts.append(helper.make_node("Cast", [name], [target], name=f"{target}/Cast", to=kind))
        return target


def drop_unused(model: ModelProto) -> None:
    """Remove initialisers, constants and Q/DQ nodes whose output is no longer used."""
    graph = model.graph
    while True:
        used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        nodes = [node for node in graph.node if node.op_type not in _PURE or node.output[0] in used]
        if len(nodes) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(nodes)
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
