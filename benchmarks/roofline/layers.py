"""What a network asks of a machine, from its ONNX graph: multiply-accumulates and bytes, layer by layer.

Layers are convolutions and matrix products. What else reads and writes tensors (activations, sums, gates,
pooling) costs bytes alone, and nothing where an engine fuses it into a layer; it is kept apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto

from benchmarks.common.macs import LAYERS, macs

BYTES: dict[int, int] = {
    TensorProto.FLOAT: 4,
    TensorProto.FLOAT16: 2,
    TensorProto.INT8: 1,
    TensorProto.UINT8: 1,
    TensorProto.BOOL: 1,
    TensorProto.INT64: 8,
    TensorProto.DOUBLE: 8,
}
NAMES: dict[int, str] = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.INT8: "int8"}
# They rename memory or are executed when a graph is loaded; Q/DQ pairs are part of the layers around them.
_FREE = {
    *("Constant", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Shape"),
    *("QuantizeLinear", "DequantizeLinear"),
}
# What may stand between a convolution and the quantisation of its output.
_FUSED = {"Relu", "Clip", "LeakyRelu"}


@dataclass(frozen=True)
class Layer:
    """One node of a graph with a batch of one.

    `bytes` are those of reading inputs and weights and of writing the output once, as they are stored. `kind`
    is `dense` (a convolution over several channels and pixels), `pointwise`, `depthwise`, `matmul`, or
    `element` for what multiplies nothing.
    """

    name: str
    precision: str
    macs: int
    bytes: int
    kind: str = "dense"

    @property
    def flop(self) -> int:
        """Two operations a multiply-accumulate."""
        return 2 * self.macs


@dataclass(frozen=True)
class Network:
    """A graph's layers, and what an engine at its best fuses into them."""

    layers: tuple[Layer, ...]
    elements: tuple[Layer, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def layer_bytes(self) -> int:
        """Bytes of the layers with everything else fused."""
        return sum(layer.bytes for layer in self.layers)

    @property
    def all_bytes(self) -> int:
        """Bytes of layers and elements with nothing fused."""
        return self.layer_bytes + sum(element.bytes for element in self.elements)


def layers_of(path: Path) -> list[Layer]:
    """The convolutions and matrix products of an ONNX file; a free batch dimension is taken as one."""
    return list(network_of(path).layers)


def network_of(path: Path) -> Network:
    """All that costs something in an ONNX file; a free batch dimension is taken as one."""
    return read_graph(path).network()


def read_graph(path: Path) -> Graph:
    """The graph of an ONNX file with the shapes and types of its tensors, for a batch of one."""
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        dim = value.type.tensor_type.shape.dim
        if dim and not dim[0].dim_value:
            dim[0].dim_value = 1
    return Graph(onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True))


class Graph:
    """Shapes, types, makers and readers of a graph's tensors."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.nodes = list(graph.node)
        self.results = {value.name for value in graph.output}
        values = {
            value.name: value.type.tensor_type for value in (*graph.value_info, *graph.input, *graph.output)
        }
        self.shapes: dict[str, tuple[int, ...]] = {
            name: tuple(dim.dim_value for dim in kind.shape.dim) for name, kind in values.items()
        }
        self.kinds: dict[str, int] = {name: kind.elem_type for name, kind in values.items()}
        self.constant: set[str] = set()
        for tensor in (*graph.initializer, *constants(graph.node)):
            self.shapes[tensor.name], self.kinds[tensor.name] = tuple(tensor.dims), tensor.data_type
            self.constant.add(tensor.name)
        self.makers: dict[str, NodeProto] = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.readers[name].append(node)

    def network(self) -> Network:
        """Its layers, and what an engine at its best fuses into them."""
        layers, elements = [], []
        for node in self.nodes:
            if node.op_type in LAYERS:
                layers.append(self._layer(node))
            elif node.op_type not in _FREE and not self.constant.issuperset(filter(None, node.input)):
                elements.append(self._element(node))
        return Network(tuple(layers), tuple(elements))

    def _layer(self, node: NodeProto) -> Layer:
        inputs = [name for name in node.input if name]
        stored = [*(self._stored(name) for name in inputs), self._written(node.output[0])]
        return Layer(
            name=node.name,
            precision=NAMES.get(stored[0], "fp32"),
            macs=macs(node, self.shapes),
            bytes=self._traffic((*inputs, node.output[0]), stored),
            kind=self._kind(node),
        )

    def _element(self, node: NodeProto) -> Layer:
        names = [name for name in (*node.input, *node.output) if name]
        kinds = [self.kinds.get(name, TensorProto.FLOAT) for name in names]
        precision = NAMES.get(kinds[-1], "fp32")
        return Layer(node.name, precision, 0, self._traffic(names, kinds), "element")

    def _traffic(self, names: Iterable[str], kinds: Iterable[int]) -> int:
        # A scalar's shape is empty, and one that inference does not know is left out: it counts as one value.
        sizes = [int(np.prod(self.shapes.get(name, ()), dtype=np.int64)) for name in names]
        return sum(size * BYTES.get(kind, 4) for size, kind in zip(sizes, kinds, strict=True))

    def _stored(self, name: str) -> int:
        """The type a tensor has in memory: behind a dequantisation it is that of the integers."""
        node = self.makers.get(name)
        if node is not None and node.op_type == "DequantizeLinear":
            return self.kinds.get(node.input[0], TensorProto.INT8)
        return self.kinds.get(name, TensorProto.FLOAT)

    def _written(self, name: str) -> int:
        """The type an output is written in: that of the integers if nothing reads it but quantisations."""
        readers = self.readers[name]
        while len(readers) == 1 and readers[0].op_type in _FUSED:
            readers = self.readers[readers[0].output[0]]
        if readers and all(node.op_type == "QuantizeLinear" for node in readers):
            return self.kinds.get(readers[0].output[0], TensorProto.INT8)
        return self.kinds.get(name, TensorProto.FLOAT)

    def _kind(self, node: NodeProto) -> str:
        if node.op_type != "Conv":
            return "matmul"
        weight = self.shapes[node.input[1]]
        if weight[1] == 1 and weight[0] > 1 and self.shapes[node.input[0]][1] > 1:
            return "depthwise"
        return "pointwise" if set(weight[2:]) == {1} else "dense"


def constants(nodes: Iterable[NodeProto]) -> list[TensorProto]:
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
