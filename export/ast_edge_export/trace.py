"""Tracing of a torch module to one simplified ONNX graph."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import onnxsim
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from ast_edge.model.manifest import TensorSpec

OPSET = 17  # the newest that TensorRT 8.5 and 8.6 read
IR_VERSION = 8
OUTPUTS = ("score", "anomaly_map")


def trace(module: nn.Module, inputs: Sequence[TensorSpec], target: Path) -> onnx.ModelProto:
    """Trace `module` with keyword inputs of these shapes (-1: dynamic batch) and return the simplified graph.

    `target` is a scratch file. The simplifier does not compare outputs: the proof of the whole model does.
    """
    example = {spec.name: _example(spec) for spec in inputs}
    free = {name: {0: "batch"} for name in (*example, *OUTPUTS)} if inputs[0].shape[0] == -1 else None
    with warnings.catch_warnings(), torch.inference_mode():
        # The tracer warns about Python numbers taken from shapes; all our shapes but the batch are fixed.
        warnings.simplefilter("ignore", TracerWarning)
        warnings.filterwarnings("ignore", message="Constant folding", category=UserWarning)
        # This exporter is deprecated; the newer one writes opset 18, which TensorRT 8 cannot read.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module.eval(),
            (),
            target,
            kwargs=example,
            input_names=list(example),
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            dynamic_axes=free,
            dynamo=False,
        )
    return _simplified(onnx.load(target))


def _simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    simplified, _ = onnxsim.simplify(model)
    simplified.ir_version = IR_VERSION
    simplified.doc_string = ""
    del simplified.metadata_props[:]
    onnx.checker.check_model(simplified, full_check=True)
    checked: onnx.ModelProto = simplified
    return checked


def _example(spec: TensorSpec) -> Tensor:
    shape = [2 if size == -1 else size for size in spec.shape]  # 1 would be traced as a constant
    if spec.dtype == "uint8":
        return torch.full(shape, 128, dtype=torch.uint8)
    return torch.ones(shape)
