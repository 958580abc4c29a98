"""What an ONNX file says about its network: multiply-accumulates of one picture, numbers stored, bytes.

Counted are convolutions and matrix products, as by `roofline.py` and `network_size.py`, of any exporter's
graph. Numbers stored are all floating-point and INT8 constants: PatchCore's memory bank and PaDiM's
Gaussians too.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, TensorProto

from benchmarks.common.macs import LAYERS, macs
from benchmarks.roofline.layers import constants

_NUMBERS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8}
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class GraphFacts:
    """Billions of multiply-accumulates, millions of numbers stored."""

    gmac: float
    parameters_m: float


def facts_of(path: Path) -> GraphFacts:
    """Of a file with fixed shapes but for a batch, taken as 1."""
    model = onnx.load(path)
    constants = _constants(model)
    numbers = sum(prod(tensor.dims) for tensor in constants if tensor.data_type in _NUMBERS)
    return GraphFacts(round(macs_of(model) / 1e9, 4), round(numbers / 1e6, 3))


def macs_of(model: ModelProto) -> int:
    """Multiply-accumulates of one picture; the model's own record of shapes is replaced."""
    _fix_batch(model)
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: Shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in _constants(model)}
    layers = [node for node in graph.node if node.op_type in LAYERS]
    names = {name for node in layers for name in (*node.input[:2], node.output[0])}
    unknown = sorted(name for name in names if not all(shapes.get(name, (0,))))
    shapes |= _observed(model, unknown)
    return sum(macs(node, shapes) for node in layers)


def bytes_of(path: Path) -> int:
    """Size of a model with what lies beside it: the weights of an OpenVINO file or of a large ONNX file."""
    beside = (path, path.with_suffix(".bin"), Path(f"{path}.data"), path.with_suffix(".safetensors"))
    return sum(one.stat().st_size for one in beside if one.exists())


def _fix_batch(model: ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        dim = value.type.tensor_type.shape.dim
        if dim and not dim[0].dim_value:
            dim[0].dim_value = 1
    del model.graph.value_info[:]  # those of an exporter may hold the free batch


def _constants(model: ModelProto) -> list[TensorProto]:
    """Initialisers, and values of Constant nodes under the names of their outputs."""
    return [*model.graph.initializer, *constants(model.graph.node)]


def _observed(model: ModelProto, names: list[str]) -> Shapes:
    """Shapes that are not written in the graph, from a run with zeros."""
    if not names:
        return {}
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    zeros = {}
    for given in model.graph.input:
        kind = given.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        zeros[given.name] = np.zeros([dim.dim_value for dim in kind.shape.dim], dtype)
    found = session.run(names, zeros)
    return {name: array.shape for name, array in zip(names, found, strict=True)}
