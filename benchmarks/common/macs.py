"""Counts multiply-accumulates in an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from onnx import NodeProto

# Convolutions and matrix products; other multiplications are not counted.
LAYERS = frozenset({"Conv", "Gemm", "MatMul"})


def macs(node: NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the multiply-accumulates of one of `LAYERS`, from the shapes of its second input and output."""
    weight, size = shapes[node.input[1]], prod(shapes[node.output[0]])
    if node.op_type == "Conv":
        return size * prod(weight[1:])
    if node.op_type == "Gemm" and any(each.name == "transB" and each.i for each in node.attribute):
        return size * weight[-1]
    return size * weight[-2 if len(weight) > 1 else 0]
