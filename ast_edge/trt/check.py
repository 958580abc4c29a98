"""Checks that NVIDIA's builder accepts a graph and keeps its types. No GPU is needed.

TensorRT for RTX parses and builds the graph for every GPU that it serves. Then the types are read back: of
the layers that were parsed, which must be those that the precision promises, and of the convolutions that
were compiled, which should compute in it. Nothing runs: speed and numbers are for the machine with the GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast_edge.errors import BackendError
from ast_edge.model.engine_info import Batch
from ast_edge.model.manifest import Precision
from ast_edge.model.onnx_file import HALF_SCOPES
from ast_edge.trt import flavours
from ast_edge.trt.gpus import SINCE_AMPERE, TURING

if TYPE_CHECKING:
    from ast_edge.trt.build import Parsed

# Turing separately: one engine for it and the others uses Turing's kernels everywhere.
GROUPS = (SINCE_AMPERE, (TURING,))
_WORKSPACE_BYTES = 4 << 30
_CONVOLUTION = "CONVOLUTION"
_PLAIN_KERNEL = "kgen"  # generated code around a convolution: activations, borders, quantisation
_IN_PRECISION: dict[Precision, str] = {"fp32": "Float", "fp16": "Half", "int8": "Int8"}
_WORDS = {"FLOAT": "FP32", "HALF": "FP16"}


@dataclass(frozen=True)
class Group:
    """The build for GPUs of these compute capabilities.

    `convolutions` of trunk and student were read back, `slower` names those that compute in a wider type than
    the precision of the graph.
    """

    capabilities: tuple[str, ...]
    plan_bytes: int
    convolutions: int
    slower: tuple[str, ...]


@dataclass(frozen=True)
class Checked:
    """An accepted graph. `types` counts the parsed layers by the type of their first output."""

    path: Path
    library: str
    precision: Precision
    types: dict[str, int]
    groups: tuple[Group, ...]


def check_graph(path: Path, precision: Precision, batch: Batch) -> Checked:
    """Parse and build the ONNX file `path` for every GPU that TensorRT for RTX serves; read the types back.

    Raises UsageError where TensorRT for RTX is not installed, BackendError with the words of parser and
    builder where they refuse the graph, and where a layer has another type than `precision` promises.
    """
    flavours.RTX.need(f"{path}: cannot be checked")
    flavours.use(flavours.RTX)
    from ast_edge.trt.build import Request, build_plan  # noqa: PLC0415 (import the library)
    from ast_edge.trt.log import Log  # noqa: PLC0415

    groups: list[Group] = []
    parsed: Sequence[Parsed] = ()
    for capabilities in GROUPS:
        request = Request(
            onnx=path,
            precision=precision,
            batch=batch,
            workspace_bytes=_WORKSPACE_BYTES,
            half=HALF_SCOPES,
            timing_cache=None,
            tell=lambda *_: True,
            layers=True,
            capabilities=capabilities,
        )
        built = build_plan(request, Log())
        parsed = built.parsed
        check_types(path, parsed, precision)
        groups.append(_group(path, capabilities, built.plan.nbytes, parsed, built.compiled, precision))
    library = f"{flavours.RTX.title} {flavours.library().__version__}"
    types = Counter(_words(layer.types[0]) for layer in parsed if layer.types)
    return Checked(path, library, precision, dict(types), tuple(groups))


def check_types(path: Path, layers: Sequence[Parsed], precision: Precision) -> None:
    """Raise BackendError, naming the layer, if a layer's type is not that of `precision`.

    FP16: trunk and student, and nothing else. Flow, distance and score are FP32 in all precisions.
    """
    for layer in layers:
        half = "HALF" in layer.types
        inside = layer.name.startswith(HALF_SCOPES)
        wrong = half and not (precision == "fp16" and (inside or layer.kind in {"CAST", "CONSTANT"}))
        narrow = precision == "fp16" and inside and layer.kind == _CONVOLUTION and not half
        if wrong or narrow:
            found = ", ".join(map(_words, layer.types))
            expected = "FP16" if narrow else "FP32"
            raise BackendError(
                f"{path}: layer '{layer.name}' computes in {found}, expected {expected} in a model of "
                f"precision {precision}: it was changed after the export; export it again."
            )


def _group(
    path: Path,
    capabilities: tuple[str, ...],
    plan_bytes: int,
    parsed: Sequence[Parsed],
    compiled: Sequence[dict[str, Any]],
    precision: Precision,
) -> Group:
    if not compiled:
        raise BackendError(
            f"{path}: the builder lists no layers that it compiled, so their types cannot be read back; "
            "ast-edge does not know this version of TensorRT for RTX: install the one of constraints.txt."
        )
    names = [
        layer.name for layer in parsed if layer.kind == _CONVOLUTION and layer.name.startswith(HALF_SCOPES)
    ]
    fast = in_type(compiled, _IN_PRECISION[precision])
    return Group(capabilities, plan_bytes, len(names), tuple(name for name in names if name not in fast))


def in_type(compiled: Sequence[dict[str, Any]], wanted: str) -> Collection[str]:
    """ONNX nodes in compiled layers that read `wanted` ("Int8"), except generated code around layers."""
    return {
        node.partition("]")[0]
        for layer in compiled
        if layer["LayerType"] != _PLAIN_KERNEL
        and layer["Inputs"]
        and layer["Inputs"][0]["Datatype"] == wanted
        for node in str(layer["Metadata"]).split("[ONNX Layer: ")[1:]
    }


def _words(kind: str) -> str:
    return _WORDS.get(kind, kind)
