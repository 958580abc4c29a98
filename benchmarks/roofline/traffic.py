"""What a GPU moves for a network: the kernels of an engine at its best, and the bytes of each.

The floor of `bounds.floor_ms` takes everything but convolutions and matrix products to cost nothing. A
network whose layers multiply little, as EfficientNet's, spends its time on tensors between the layers and on
starting kernels. Here nodes are joined into kernels as TensorRT documents its fusions:

* a convolution or matrix product with the pointwise operations behind it (activation, bias, scale, sum with a
  tensor of its own shape, quantisation), where nothing that they need waits for that kernel;
* pointwise operations with the pointwise operations behind them;
* everything else (pooling, reductions, resizing, padding, transposing) is a kernel of its own, with the
  pointwise operations behind it;
* names and views (reshape, split, concat, dequantisation) are no kernel: who reads them reads their bytes.

A kernel reads every tensor that it needs once, and writes what others read. It takes the longest of three
times: that of its bytes, that of its multiplications, and that of starting it. A tensor that fits the GPU's
cache moves at the cache's rate; weights do so only if all of them fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from onnx import NodeProto, TensorProto

from benchmarks.common.macs import LAYERS, macs
from benchmarks.roofline.layers import BYTES, NAMES, Graph, read_graph

# They keep the shape of an input, and compute every value from those at its place.
POINTWISE = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Where", "Greater", "Less", "Equal", "Mod"),
        *(
            "Relu",
            "LeakyRelu",
            "PRelu",
            "Clip",
            "Sigmoid",
            "HardSigmoid",
            "HardSwish",
            "Tanh",
            "Elu",
            "Softplus",
        ),
        *("Exp", "Log", "Sqrt", "Reciprocal", "Neg", "Abs", "Erf", "Atan", "Sin", "Cos", "Floor", "Ceil"),
        *("Cast", "Not", "And", "Or", "QuantizeLinear", "BatchNormalization"),
    }
)
# The same memory under another name or shape, or a part of it; a concat is written in place by its makers.
_RENAMED = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "DequantizeLinear"})
_VIEWS = frozenset({"Split", "Slice", "Concat"})
_NO_WORK = frozenset({"Constant", "Shape"})


@dataclass(frozen=True)
class Kernel:
    """Nodes that one kernel computes for a batch of one; `reads` and `writes` are bytes by tensor.

    `constants` are the tensors among `reads` that are weights.
    """

    nodes: tuple[str, ...]
    precision: str
    macs: int
    reads: Mapping[str, int]
    writes: Mapping[str, int]
    constants: frozenset[str]

    @property
    def bytes(self) -> int:
        """All that is read and written."""
        return sum(self.reads.values()) + sum(self.writes.values())

    def as_json(self) -> dict[str, Any]:
        """Its fields for a result file."""
        return {**asdict(self), "constants": sorted(self.constants)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Kernel:
        """The kernel of such fields."""
        nodes, constants = tuple(content["nodes"]), frozenset(content["constants"])
        return cls(**{**content, "nodes": nodes, "constants": constants})


@dataclass(frozen=True)
class GpuCeilings:
    """What a GPU does at best.

    Bytes per second from memory and within the cache of `cache_bytes`, multiply-accumulates per second by
    precision, and the seconds from the start of one kernel to that of the next, which waits for it.
    """

    memory_bytes_per_s: float
    cache_bytes_per_s: float
    cache_bytes: int
    macs_per_s: Mapping[str, float]
    kernel_s: float

    def rate(self, precision: str) -> float:
        """Multiply-accumulates per second; of a precision that is not known, those of FP32."""
        return self.macs_per_s.get(precision, self.macs_per_s["fp32"])


def kernels_of(path: Path) -> list[Kernel]:
    """The kernels of an ONNX file in the order of its nodes; a free batch dimension is taken as one."""
    return _Fusion(read_graph(path)).kernels()


def traffic_ms(kernels: Iterable[Kernel], ceilings: GpuCeilings) -> float:
    """Milliseconds that the kernels take at least, one after another."""
    return 1e3 * sum(seconds for _, seconds in _timed(kernels, ceilings))


def report(kernels: list[Kernel], ceilings: GpuCeilings, *, slowest: int = 10) -> dict[str, Any]:
    """The roofline, what makes it, and the kernels that weigh most."""
    timed = _timed(kernels, ceilings)
    weight = _weights(kernels)
    bound = {"bytes": 0.0, "multiplications": 0.0, "starts": 0.0}
    for kernel, seconds in timed:
        bound[_bound_by(kernel, seconds, ceilings)] += 1e3 * seconds
    parts: dict[str, float] = {}
    for kernel, seconds in timed:
        part = kernel.nodes[0].lstrip("/").partition("/")[0]
        parts[part] = parts.get(part, 0.0) + 1e3 * seconds
    heaviest = sorted(timed, key=lambda pair: -pair[1])[:slowest]
    return {
        "traffic_ms": round(1e3 * sum(seconds for _, seconds in timed), 5),
        "by_part_ms": {name: round(each, 5) for name, each in parts.items()},
        "bound_by_ms": {name: round(each, 5) for name, each in bound.items()},
        "kernels": len(kernels),
        "mbytes": round(sum(kernel.bytes for kernel in kernels) / 1e6, 3),
        "mbytes_of_weights": round(weight / 1e6, 3),
        "gmac": round(sum(kernel.macs for kernel in kernels) / 1e9, 4),
        "heaviest": [
            {
                "nodes": kernel.nodes,
                "precision": kernel.precision,
                "macs": kernel.macs,
                "bytes": kernel.bytes,
                "ms": round(1e3 * seconds, 5),
            }
            for kernel, seconds in heaviest
        ],
    }


def _weights(kernels: Iterable[Kernel]) -> int:
    found = {name: kernel.reads[name] for kernel in kernels for name in kernel.constants}
    return sum(found.values())


def _timed(kernels: Iterable[Kernel], ceilings: GpuCeilings) -> list[tuple[Kernel, float]]:
    kernels = list(kernels)
    cached = _weights(kernels) <= ceilings.cache_bytes
    return [
        (
            kernel,
            max(
                _moving_s(kernel, ceilings, weights_cached=cached),
                kernel.macs / ceilings.rate(kernel.precision),
                ceilings.kernel_s,
            ),
        )
        for kernel in kernels
    ]


def _bound_by(kernel: Kernel, seconds: float, ceilings: GpuCeilings) -> str:
    if seconds == ceilings.kernel_s:
        return "starts"
    return "multiplications" if seconds == kernel.macs / ceilings.rate(kernel.precision) else "bytes"


def _moving_s(kernel: Kernel, ceilings: GpuCeilings, *, weights_cached: bool) -> float:
    seconds = 0.0
    for name, size in (*kernel.reads.items(), *kernel.writes.items()):
        near = weights_cached if name in kernel.constants else size <= ceilings.cache_bytes
        seconds += size / (ceilings.cache_bytes_per_s if near else ceilings.memory_bytes_per_s)
    return seconds


@dataclass
class _Open:
    """A kernel that may still take nodes behind it."""

    nodes: list[NodeProto] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    waits_for: set[int] = field(default_factory=set)  # the kernels before it, through any number of others


class _Fusion:
    """Joins the nodes of a graph into kernels, in one pass, as they are in the order of computing."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.maker: dict[str, int] = {}  # the kernel that makes a tensor
        self.waits: dict[str, frozenset[int]] = {}  # the kernels that a tensor waits for
        self.origin: dict[str, str] = {}  # what a renamed tensor is in memory
        self.open: list[_Open] = []

    def kernels(self) -> list[Kernel]:
        for node in self.graph.nodes:
            if node.op_type in _NO_WORK or self._constant(node):  # executed when the engine is built
                self.graph.constant.update(node.output)
                self._keep_integers(node)
            elif node.op_type in _RENAMED:
                self.origin[node.output[0]] = self._origin(node.input[0])
            elif node.op_type in _VIEWS:
                waits = frozenset().union(*(self._waits(name) for name in self._inputs(node)))
                self.waits |= dict.fromkeys(node.output, waits)
            else:
                self._place(node)
        return [self._kernel(index) for index in range(len(self.open))]

    def _constant(self, node: NodeProto) -> bool:
        return self.graph.constant.issuperset(filter(None, node.input))

    def _keep_integers(self, node: NodeProto) -> None:
        """A dequantised weight is stored as integers."""
        if node.op_type == "DequantizeLinear":
            self.origin[node.output[0]] = self._origin(node.input[0])

    def _origin(self, name: str) -> str:
        return self.origin.get(name, name)

    def _inputs(self, node: NodeProto) -> list[str]:
        return [self._origin(name) for name in node.input if name]

    def _waits(self, name: str) -> frozenset[int]:
        if name in self.maker:
            index = self.maker[name]
            return frozenset({index, *self.open[index].waits_for})
        return self.waits.get(name, frozenset())

    def _place(self, node: NodeProto) -> None:
        index = self._joined(node) if node.op_type in POINTWISE else None
        if index is None:
            index = len(self.open)
            self.open.append(_Open())
        kernel = self.open[index]
        kernel.nodes.append(node)
        kernel.made.update(node.output)
        for name in self._inputs(node):
            kernel.waits_for |= self._waits(name) - {index}
        self.maker |= dict.fromkeys(node.output, index)

    def _joined(self, node: NodeProto) -> int | None:
        """The kernel that a pointwise node joins: one that makes an input of its shape, and that nothing else
        it needs waits for; the latest of them, which can wait for the others.
        """
        inputs, shape = self._inputs(node), self.graph.shapes.get(node.output[0])
        for index in sorted({self.maker[name] for name in inputs if name in self.maker}, reverse=True):
            own = self.open[index].made
            fits = any(self.graph.shapes.get(name) == shape for name in inputs if name in own)
            others = [name for name in inputs if name not in own]
            if fits and not any(index in self._waits(name) for name in others) and self._ready(index, others):
                return index
        return None

    def _ready(self, index: int, others: Iterable[str]) -> bool:
        """Whether no kernel that another input waits for needs what this kernel makes."""
        return not any(
            index in self.open[before].waits_for for name in others for before in self._waits(name)
        )

    def _kernel(self, index: int) -> Kernel:
        kernel = self.open[index]
        reads = {
            name: self._size(name)
            for node in kernel.nodes
            for name in self._inputs(node)
            if name not in kernel.made
        }
        writes = {name: self._size(name) for name in sorted(kernel.made) if self._read_outside(name, index)}
        layers = [node for node in kernel.nodes if node.op_type in LAYERS]
        first = kernel.nodes[0]
        return Kernel(
            nodes=tuple(node.name or node.op_type for node in kernel.nodes),
            precision=NAMES.get(
                self.graph.kinds.get(self._origin(first.input[0]), TensorProto.FLOAT), "fp32"
            ),
            macs=sum(macs(node, self.graph.shapes) for node in layers),
            reads=reads,
            writes=writes,
            constants=frozenset(name for name in reads if name in self.graph.constant),
        )

    def _read_outside(self, name: str, index: int) -> bool:
        """Whether another kernel, a view or the caller reads it, under any of its names."""
        names = {name, *(other for other, origin in self.origin.items() if origin == name)}
        if names & self.graph.results:
            return True
        return any(
            node.op_type in _VIEWS or any(self.maker.get(made) != index for made in node.output)
            for each in names
            for node in self.graph.readers[each]
            if node.op_type not in _RENAMED
        )

    def _size(self, name: str) -> int:
        return prod(self.graph.shapes.get(name, ())) * BYTES.get(self.graph.kinds.get(name, 1), 4)
