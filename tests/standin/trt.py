"""`tensorrt` on ONNX Runtime: its objects, and the ways in which they refuse.

`Behaviour` says what goes wrong and which version it is; calls that a version lacks are taken out of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import onnx

from tests.standin.trt_behaviour import behaviour, needs_context
from tests.standin.trt_runtime import (
    Engine,
    ExecutionContext,
    Inspector,
    Runtime,
)
from tests.standin.trt_types import (
    BuilderFlag,
    ComputeCapability,
    DataType,
    DeviceType,
    Dims,
    DynamicShapesKernelSpecializationStrategy,
    HardwareCompatibilityLevel,
    ILogger,
    LayerInformationFormat,
    LayerType,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    ProfilingVerbosity,
    Severity,
)


class IProgressMonitor:
    pass


@dataclass
class Tensor:
    name: str
    dtype: DataType
    shape: Any


@dataclass
class Layer:
    name: str
    type: LayerType
    outputs: list[Tensor]
    precision: DataType | None = None
    output_types: dict[int, DataType] = field(default_factory=dict)

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    def get_output(self, index: int) -> Tensor:
        return self.outputs[index]

    def set_output_type(self, index: int, kind: DataType) -> None:
        self.output_types[index] = kind


_KINDS = {1: DataType.FLOAT, 2: DataType.UINT8, 6: DataType.INT32, 7: DataType.INT64, 10: DataType.HALF}
_TYPES = {"Constant": LayerType.CONSTANT, "Cast": LayerType.CAST, "Shape": LayerType.SHAPE}


class Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.model: onnx.ModelProto | None = None
        self.inputs: list[Tensor] = []
        self.layers: list[Layer] = []

    num_inputs = property(lambda self: len(self.inputs))
    num_layers = property(lambda self: len(self.layers))

    def get_input(self, index: int) -> Tensor:
        return self.inputs[index]

    def get_layer(self, index: int) -> Layer:
        return self.layers[index]

    def take(self, path: str) -> None:
        self.model = onnx.shape_inference.infer_shapes(onnx.load(path))
        graph = self.model.graph
        self.inputs = [
            Tensor(value.name, _KINDS[value.type.tensor_type.elem_type], _shape(value))
            for value in graph.input
        ]
        kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
        for node in graph.node:
            outputs = [
                Tensor(name, _KINDS.get(kinds.get(name, 1), DataType.FLOAT), ()) for name in node.output
            ]
            self.layers.append(Layer(node.name, _TYPES.get(node.op_type, LayerType.OTHER), outputs))


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    return [-1 if dim.dim_param else dim.dim_value for dim in value.type.tensor_type.shape.dim]


@dataclass
class ParserError:
    words: str

    def node(self) -> int:
        return 3

    def desc(self) -> str:
        return self.words

    def code(self) -> str:
        return "UNSUPPORTED_NODE"


class OnnxParser:
    def __init__(self, network: Network, logger: ILogger) -> None:
        self.network = network

    @property
    def num_errors(self) -> int:
        return len(behaviour().parser_errors)

    def get_error(self, index: int) -> ParserError:
        return ParserError(behaviour().parser_errors[index])

    def parse_from_file(self, path: str) -> bool:
        assert isinstance(path, str)
        if behaviour().parser_errors:
            return False
        self.network.take(path)
        return True


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, ...]] = {}

    def set_shape(self, name: str, least: Dims, usual: Dims, most: Dims) -> None:
        assert all(isinstance(shape, Dims) for shape in (least, usual, most))
        self.shapes[name] = (least, usual, most)


class TimingCache:
    """Its bytes are the number of builds that it knows."""

    def __init__(self, content: bytes) -> None:
        self.known = int(content or b"0")

    def serialize(self) -> bytes:
        return str(self.known).encode()

    def combine(self, other: TimingCache, ignore_mismatch: bool) -> bool:
        self.known = max(self.known, other.known)
        return True


class Config:
    num_compute_capabilities = 0

    def set_compute_capability(self, value: ComputeCapability, index: int) -> bool:
        assert index < self.num_compute_capabilities
        behaviour().calls.append(value.name)
        return True

    def __init__(self) -> None:
        self.profiles: list[Profile] = []
        self.cache: TimingCache | None = None
        self.workspace = 0
        self.default_device_type = DeviceType.GPU
        self.DLA_core = -1
        self.profiling_verbosity: Any = None
        self.progress_monitor: Any = None
        self.builder_optimization_level = 3
        self.hardware_compatibility_level: Any = None

    def set_flag(self, flag: BuilderFlag) -> None:
        behaviour().flags.append(flag.name)

    def clear_flag(self, flag: BuilderFlag) -> None:
        behaviour().flags.append(f"not {flag.name}")

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
        self.workspace = size

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, content: bytes) -> TimingCache:
        return TimingCache(content if content.isdigit() else b"")

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return True

    def get_timing_cache(self) -> TimingCache | None:
        return self.cache

    def can_run_on_DLA(self, layer: Layer) -> bool:
        return layer.type is LayerType.OTHER


class Builder:
    """With a driver that it refuses it says why in a warning, and its factory answers nothing."""

    def __init__(self, logger: ILogger) -> None:
        if not behaviour().rtx:
            needs_context()
        self.logger = logger
        if behaviour().refuse_driver:
            logger.log(Severity.WARNING, behaviour().refuse_driver)
            raise TypeError("pybind11::init(): factory function returned nullptr")

    @property
    def num_DLA_cores(self) -> int:
        return behaviour().dla_cores

    def create_network(self, flags: int) -> Network:
        return Network(flags)

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        behaviour().builds += 1
        if behaviour().build_error:
            self.logger.log(Severity.ERROR, behaviour().build_error)
            return None
        monitor = config.progress_monitor
        if monitor is not None and not _walk(monitor):
            return None
        if config.cache is not None:
            config.cache.known += 1
        assert network.model is not None
        body = network.model.SerializeToString()
        shapes = {tensor.name: list(tensor.shape) for tensor in network.inputs}
        head = {"shapes": shapes, "size": len(body), "layers": config.profiling_verbosity is not None}
        plan: bytes = json.dumps(head).encode() + b"\0" + body
        return plan


def _walk(monitor: Any) -> bool:
    monitor.phase_start("Building", None, 4)
    monitor.phase_start("Tactics", "Building", 9)
    for step in range(4):
        if not monitor.step_complete("Building", step):
            return False
    monitor.phase_finish("Building")
    return True


_CLASSES = (
    *(ILogger, DataType, MemoryPoolType, DeviceType, ProfilingVerbosity, LayerInformationFormat, LayerType),
    *(Dims, OnnxParser, Builder, Runtime, ParserError),
)
_OTHER_NAMES = {
    "INetworkDefinition": Network,
    "IBuilderConfig": Config,
    "ICudaEngine": Engine,
    "IExecutionContext": ExecutionContext,
    "EngineInspector": Inspector,
    "ITimingCache": TimingCache,
    "ITensor": Tensor,
    "ILayer": Layer,
    "IOptimizationProfile": Profile,
}


def module(only_in: dict[str, tuple[str, ...]]) -> ModuleType:
    """`tensorrt` of the version in `BEHAVIOUR`, without the names that `only_in` gives to others alone."""
    trt = ModuleType("tensorrt")
    trt.__version__ = behaviour().version  # type: ignore[attr-defined]
    # TensorRT for RTX has the names of the newest TensorRT.
    here = "11.4" if behaviour().rtx else ".".join(behaviour().version.split(".")[:2])
    if behaviour().rtx:
        trt.ComputeCapability = ComputeCapability  # type: ignore[attr-defined]
        strategies = DynamicShapesKernelSpecializationStrategy
        trt.DynamicShapesKernelSpecializationStrategy = strategies  # type: ignore[attr-defined]
    for own in _CLASSES:
        setattr(trt, own.__name__, own)
    for name, kind in _OTHER_NAMES.items():
        setattr(trt, name, kind)
    enums = (BuilderFlag, NetworkDefinitionCreationFlag, HardwareCompatibilityLevel)
    for enum in enums:
        members = {
            member.name: member
            for member in enum
            if here in only_in.get(f"{enum.__name__}.{member.name}", (here,))
        }
        setattr(trt, enum.__name__, type(enum.__name__, (), members))
    if here in only_in["IProgressMonitor"]:
        trt.IProgressMonitor = IProgressMonitor  # type: ignore[attr-defined]
    config = {
        name.partition(".")[2]: where for name, where in only_in.items() if name.startswith("IBuilderConfig.")
    }
    settings = {name: None for name, where in config.items() if here in where}
    trt.IBuilderConfig = type("IBuilderConfig", (), settings)  # type: ignore[attr-defined]
    runtime = (
        {"engine_host_code_allowed": None} if here in only_in["Runtime.engine_host_code_allowed"] else {}
    )
    trt.Runtime = type("Runtime", (Runtime,), runtime)  # type: ignore[attr-defined]
    return trt
