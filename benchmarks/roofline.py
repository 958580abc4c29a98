"""How fast a network could be at best on a machine: its layers' bytes and operations against its ceilings.

The floor is the sum, over convolutions and matrix products, of the larger of two times: that of reading
inputs and weights and writing the output once, and that of the multiplications. Everything else is taken to
be fused into them for nothing. No engine is faster, unless layers share a cache or run side by side.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto

_BYTES: dict[int, int] = {
    TensorProto.FLOAT: 4,
    TensorProto.FLOAT16: 2,
    TensorProto.INT8: 1,
    TensorProto.UINT8: 1,
}
_NAMES: dict[int, str] = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.INT8: "int8"}
_LAYERS = {"Conv", "Gemm", "MatMul"}


@dataclass(frozen=True)
class Layer:
    """One convolution or matrix product of a graph with a batch of one."""

    name: str
    precision: str
    macs: int
    bytes: int


@dataclass(frozen=True)
class Ceilings:
    """What a machine does at best: bytes copied per second, counting reads and writes, and
    multiply-accumulates per second in a precision.
    """

    bytes_per_s: float
    macs_per_s: dict[str, float]


def layers_of(path: Path) -> list[Layer]:
    """The layers of an ONNX file; a free batch dimension is taken as one."""
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        dim = value.type.tensor_type.shape.dim
        if dim and not dim[0].dim_value:
            dim[0].dim_value = 1
    return _layers(onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True))


def floor_ms(layers: list[Layer], ceilings: Ceilings) -> float:
    """Milliseconds that the layers take at least."""
    return sum(_layer_floor_ms(layer, ceilings) for layer in layers)


def report(layers: list[Layer], ceilings: Ceilings, *, slowest: int = 10) -> dict[str, Any]:
    """The floor, what it is made of, and the layers that weigh most in it."""
    rows = sorted(layers, key=lambda layer: -_layer_floor_ms(layer, ceilings))
    return {
        "floor_ms": round(floor_ms(layers, ceilings), 5),
        "gmac": round(sum(layer.macs for layer in layers) / 1e9, 4),
        "mbytes": round(sum(layer.bytes for layer in layers) / 1e6, 3),
        "layers": len(layers),
        "heaviest": [
            {**asdict(layer), "floor_ms": round(_layer_floor_ms(layer, ceilings), 5)}
            for layer in rows[:slowest]
        ],
    }


def _layer_floor_ms(layer: Layer, ceilings: Ceilings) -> float:
    rate = ceilings.macs_per_s.get(layer.precision, ceilings.macs_per_s["fp32"])
    return 1e3 * max(layer.bytes / ceilings.bytes_per_s, layer.macs / rate)


def _layers(model: ModelProto) -> list[Layer]:
    graph = model.graph
    values = {
        value.name: value.type.tensor_type for value in (*graph.value_info, *graph.input, *graph.output)
    }
    shapes = {name: tuple(dim.dim_value for dim in kind.shape.dim) for name, kind in values.items()}
    kinds = {name: kind.elem_type for name, kind in values.items()}
    for tensor in (*graph.initializer, *_constants(graph.node)):
        shapes[tensor.name], kinds[tensor.name] = tuple(tensor.dims), tensor.data_type
    makers = {name: node for node in graph.node for name in node.output}
    found = []
    for node in graph.node:
        if node.op_type in _LAYERS:
            stored = [_stored(name, makers, kinds) for name in (*node.input, *node.output)]
            sizes = [int(np.prod(shapes[name])) for name in (*node.input, *node.output)]
            traffic = sum(size * _BYTES.get(kind, 4) for size, kind in zip(sizes, stored, strict=True))
            precision = _NAMES.get(stored[0], "fp32")
            found.append(Layer(node.name, precision, _macs(node, shapes), traffic))
    return found


def _constants(nodes: Any) -> list[TensorProto]:
    """Values of Constant nodes under the names of their outputs."""
    found = []
    for node in nodes:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                tensor = TensorProto()
                tensor.CopyFrom(attribute.t)
                tensor.name = node.output[0]
                found.append(tensor)
    return found


def _stored(name: str, makers: dict[str, NodeProto], kinds: dict[str, int]) -> int:
    """The type a tensor has in memory: behind a dequantisation it is that of the integers."""
    node = makers.get(name)
    if node is not None and node.op_type == "DequantizeLinear":
        return kinds.get(node.input[0], TensorProto.INT8)
    return kinds.get(name, TensorProto.FLOAT)


def _macs(node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    weight, output = shapes[node.input[1]], shapes[node.output[0]]
    if node.op_type == "Conv":
        return int(np.prod(output)) * int(np.prod(weight[1:]))
    return int(np.prod(output)) * weight[0]
