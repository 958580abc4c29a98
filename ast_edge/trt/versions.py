"""The differences between TensorRT 8.5 and 11, in one place.

A name that not every supported version has is asked for with `optional`; `ast_edge.trt.names` says which
have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ast_edge.errors import BackendError, UsageError
from ast_edge.model.manifest import Precision
from ast_edge.trt import flavours
from ast_edge.trt.names import ONLY_IN

if TYPE_CHECKING:
    import tensorrt as trt
else:
    trt = flavours.library()


def optional(name: str) -> Any:
    """`tensorrt.<name>`, or None if this version lacks it; the name must be in `ONLY_IN`."""
    if name not in ONLY_IN:
        raise KeyError(name)
    found: Any = trt
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def strongly_typed() -> bool:
    """Whether the graph's types are the types that run, as in TensorRT 10 and later."""
    return optional("NetworkDefinitionCreationFlag.STRONGLY_TYPED") is not None


def network_flags() -> int:
    """For `create_network`: explicit batch, and strongly typed where that exists."""
    typed = optional("NetworkDefinitionCreationFlag.STRONGLY_TYPED")
    flag = optional("NetworkDefinitionCreationFlag.EXPLICIT_BATCH") if typed is None else typed
    if flag is None:
        raise BackendError(f"TensorRT {trt.__version__} has neither typed networks nor explicit batches.")
    return 1 << int(flag)


def dims(shape: Sequence[int]) -> trt.Dims:
    """A shape as TensorRT takes it: 8.x wants lists where later versions take tuples too."""
    return trt.Dims(list(shape))


def set_precision(
    network: trt.INetworkDefinition, config: trt.IBuilderConfig, precision: Precision, half: Sequence[str]
) -> None:
    """Make TensorRT run the graph's types; `half` are the name prefixes of its FP16 layers.

    Strongly typed networks do so by themselves. Before them FP16 and INT8 are allowed as a whole, and every
    other layer is held in FP32.
    """
    if strongly_typed() or precision == "fp32":
        return
    config.set_flag(optional("BuilderFlag.FP16") if precision == "fp16" else optional("BuilderFlag.INT8"))
    if precision == "fp16":
        config.set_flag(optional("BuilderFlag.OBEY_PRECISION_CONSTRAINTS"))
        for index in range(network.num_layers):
            _hold_in_fp32(network.get_layer(index), half)


def _hold_in_fp32(layer: trt.ILayer, half: Sequence[str]) -> None:
    """Constants, casts, shapes and index arithmetic keep their types: TensorRT refuses to set them."""
    outputs = [layer.get_output(index) for index in range(layer.num_outputs)]
    floats = [index for index, output in enumerate(outputs) if output.dtype == trt.DataType.FLOAT]
    # In 8.5 a cast is an identity with another type at its output.
    kinds = (trt.LayerType.CONSTANT, trt.LayerType.SHAPE, trt.LayerType.IDENTITY)
    untyped = (*kinds, optional("LayerType.CAST"))
    if layer.name.startswith(tuple(half)) or layer.type in untyped or len(floats) != len(outputs):
        return
    layer.precision = trt.DataType.FLOAT
    for index in floats:
        layer.set_output_type(index, trt.DataType.FLOAT)


def set_optimization_level(config: trt.IBuilderConfig, level: int) -> None:
    """0 (fast to build) to 5 (fast to run). Raises UsageError if this version has no levels."""
    _need("IBuilderConfig.builder_optimization_level", "--optimization-level")
    config.builder_optimization_level = level


def set_version_compatible(config: trt.IBuilderConfig) -> None:
    """Let later TensorRT versions run the plan. Raises UsageError if this version cannot."""
    _need("BuilderFlag.VERSION_COMPATIBLE", "--version-compatible")
    config.set_flag(optional("BuilderFlag.VERSION_COMPATIBLE"))


def set_hardware_compatible(config: trt.IBuilderConfig) -> None:
    """Let all GPUs from Ampere on run the plan. Raises UsageError if this version cannot."""
    _need("IBuilderConfig.hardware_compatibility_level", "--hardware-compatible")
    config.hardware_compatibility_level = optional("HardwareCompatibilityLevel.AMPERE_PLUS")


def allow_host_code(runtime: trt.Runtime) -> None:
    """Let the runtime load a version-compatible plan, which carries a runtime of its own."""
    _need("Runtime.engine_host_code_allowed", "a version-compatible engine")
    runtime.engine_host_code_allowed = True


def _need(name: str, what: str) -> None:
    if optional(name) is None:
        raise UsageError(
            f"{what}: TensorRT {trt.__version__} cannot do that; it takes {ONLY_IN[name][0]} or newer."
        )
