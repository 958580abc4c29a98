"""`tensorrt` on ONNX Runtime: its objects, and the ways in which they refuse.

`Behaviour` says what goes wrong and which version it is; calls that a version lacks are taken out of it.
"""

from __future__ import annotations

import ctypes
import json
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tests.standin import software_driver


@dataclass
class Behaviour:
    """How the stand-in behaves from now on."""

    version: str = "8.6.1"
    rtx: bool = False
    capturable: bool = True
    parser_errors: list[str] = field(default_factory=list)
    build_error: str = ""
    score_factor: float = 1.0
    refuse_context: bool = False
    refuse_execution: bool = False
    refuse_executions: set[int] = field(default_factory=set)
    take_memory_at: int = 0
    executions: int = 0
    execution_error: str = "Error Code 1: Cask (Cask convolution execution)"
    refuse_driver: str = ""
    interrupted_at: int | None = None
    dla_cores: int = 0
    flags: list[str] = field(default_factory=list)
    builds: int = 0
    calls: list[str] = field(default_factory=list)


BEHAVIOUR = Behaviour()


class Killed(BaseException):
    """In the place of a process that TensorRT ended."""


def needs_context() -> None:
    if not software_driver.has_context():
        raise Killed("no context is current in this thread")


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger:
    Severity = Severity
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def log(self, severity: Any, msg: str) -> None:
        """Overridden by the program, as TensorRT wants it."""


class DataType(Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    INT64 = 6


class NetworkDefinitionCreationFlag(IntEnum):
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class BuilderFlag(IntEnum):
    FP16 = 0
    INT8 = 1
    TF32 = 7
    GPU_FALLBACK = 3
    OBEY_PRECISION_CONSTRAINTS = 10
    VERSION_COMPATIBLE = 13


class MemoryPoolType(IntEnum):
    WORKSPACE = 0


class DeviceType(IntEnum):
    GPU = 0
    DLA = 1


class ProfilingVerbosity(IntEnum):
    DETAILED = 2


class LayerInformationFormat(IntEnum):
    JSON = 1


class HardwareCompatibilityLevel(IntEnum):
    AMPERE_PLUS = 1


class ComputeCapability(Enum):
    """Of TensorRT for RTX."""

    NONE = 0
    SM75 = 75
    SM80 = 80
    SM86 = 86
    SM89 = 89
    SM120 = 120
    SM121 = 121


class DynamicShapesKernelSpecializationStrategy(Enum):
    LAZY = 0
    EAGER = 1


class RuntimeCache:
    """Of TensorRT for RTX. Its bytes say for how many contexts something was compiled."""

    def __init__(self) -> None:
        self.compiled = 0

    def serialize(self) -> bytes:
        return b"compiled " + str(self.compiled).encode()

    def deserialize(self, content: bytes) -> bool:
        if not content.startswith(b"compiled "):
            return False
        self.compiled = int(content.split()[1])
        BEHAVIOUR.calls.append("deserialize")
        return True


class RuntimeConfig:
    dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY
    cache: RuntimeCache | None = None

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache()

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.cache = cache
        return True


class LayerType(Enum):
    CONSTANT = 0
    CAST = 1
    SHAPE = 2
    IDENTITY = 4
    OTHER = 3


class Dims(list[int]):
    """A shape; 8.x takes it as a list only."""

    def __init__(self, shape: list[int]) -> None:
        assert isinstance(shape, list)
        super().__init__(shape)


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
        return len(BEHAVIOUR.parser_errors)

    def get_error(self, index: int) -> ParserError:
        return ParserError(BEHAVIOUR.parser_errors[index])

    def parse_from_file(self, path: str) -> bool:
        assert isinstance(path, str)
        if BEHAVIOUR.parser_errors:
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
        BEHAVIOUR.calls.append(value.name)
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
        BEHAVIOUR.flags.append(flag.name)

    def clear_flag(self, flag: BuilderFlag) -> None:
        BEHAVIOUR.flags.append(f"not {flag.name}")

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
        if not BEHAVIOUR.rtx:
            needs_context()
        self.logger = logger
        if BEHAVIOUR.refuse_driver:
            logger.log(Severity.WARNING, BEHAVIOUR.refuse_driver)
            raise TypeError("pybind11::init(): factory function returned nullptr")

    @property
    def num_DLA_cores(self) -> int:
        return BEHAVIOUR.dla_cores

    def create_network(self, flags: int) -> Network:
        return Network(flags)

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        BEHAVIOUR.builds += 1
        if BEHAVIOUR.build_error:
            self.logger.log(Severity.ERROR, BEHAVIOUR.build_error)
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


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        needs_context()
        if BEHAVIOUR.refuse_driver:
            raise Killed("a runtime was made with a driver that TensorRT refuses: segmentation fault")
        self.logger = logger
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, plan: Any) -> Engine | None:
        head, _, body = bytes(plan).partition(b"\0")
        about = json.loads(head)
        if len(body) != about["size"]:
            self.logger.log(Severity.ERROR, "Serialization assertion magicTag == rt::kPLAN_MAGIC failed")
            return None
        return Engine(about, body, self.logger)


class Engine:
    def __init__(self, about: dict[str, Any], body: bytes, logger: ILogger) -> None:
        self.about, self.logger = about, logger
        self.session = onnxruntime.InferenceSession(body, providers=["CPUExecutionProvider"])
        self.tensors = {
            value.name: value for value in (*self.session.get_inputs(), *self.session.get_outputs())
        }

    num_io_tensors = property(lambda self: len(self.tensors))

    def get_tensor_name(self, index: int) -> str:
        return str(list(self.tensors)[index])

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.UINT8 if self.tensors[name].type == "tensor(uint8)" else DataType.FLOAT

    def get_tensor_shape(self, name: str) -> list[int]:
        batch = next(iter(self.about["shapes"].values()))[0]
        shape = self.tensors[name].shape
        return [batch, *(size if isinstance(size, int) else -1 for size in shape[1:])]

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig()

    def create_execution_context(self, config: RuntimeConfig | None = None) -> ExecutionContext | None:
        assert (config is not None) == BEHAVIOUR.rtx
        if config is not None and config.cache is not None:
            assert config.dynamic_shapes_kernel_specialization_strategy.name == "EAGER"
            config.cache.compiled += 1
        if BEHAVIOUR.refuse_context:
            self.logger.log(Severity.ERROR, "out of memory")
            return None
        return ExecutionContext(self)

    def create_engine_inspector(self) -> Inspector:
        return Inspector(self)


class Inspector:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def get_engine_information(self, form: LayerInformationFormat) -> str:
        layer: Any = "conv + relu"
        if self.engine.about["layers"]:
            output = {"Name": "y", "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}
            metadata = "[ONNX Layer: /student/Conv]\x1e[ONNX Layer: /student/Relu]"
            layer = {"Name": layer, "LayerType": "CaskConvolution", "Outputs": [output], "Metadata": metadata}
        return str(json.dumps({"Layers": [layer], "Bindings": []}))


class ExecutionContext:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}
        self.shapes = dict(engine.about["shapes"])

    def is_stream_capturable(self, stream: int) -> bool:
        return BEHAVIOUR.capturable and stream != 0

    def set_input_shape(self, name: str, shape: Dims) -> bool:
        assert isinstance(shape, Dims)
        self.shapes[name] = list(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return address != 0

    def execute_async_v3(self, stream: int) -> bool:
        BEHAVIOUR.executions += 1
        if BEHAVIOUR.refuse_execution or BEHAVIOUR.executions in BEHAVIOUR.refuse_executions:
            self.engine.logger.log(Severity.ERROR, BEHAVIOUR.execution_error)
            return False
        if BEHAVIOUR.executions == BEHAVIOUR.take_memory_at and not software_driver.take_memory(64):
            self.engine.logger.log(Severity.ERROR, "cuMemAlloc was refused")
            return False
        return software_driver.put(stream, self._run)

    def _run(self) -> None:
        feeds = {}
        for value in self.engine.session.get_inputs():
            shape = self.shapes[value.name]
            dtype = np.uint8 if value.type == "tensor(uint8)" else np.float32
            feeds[value.name] = _view(self.addresses[value.name], shape, dtype).copy()
        names = [value.name for value in self.engine.session.get_outputs()]
        for name, result in zip(names, self.engine.session.run(names, feeds), strict=True):
            factor = BEHAVIOUR.score_factor if name == "score" else 1
            _view(self.addresses[name], result.shape, np.float32)[...] = result * np.float32(factor)


def _view(address: int, shape: Any, dtype: Any) -> Any:
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_ubyte * count).from_address(address), dtype).reshape(shape)


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
    trt.__version__ = BEHAVIOUR.version  # type: ignore[attr-defined]
    # TensorRT for RTX has the names of the newest TensorRT.
    here = "11.4" if BEHAVIOUR.rtx else ".".join(BEHAVIOUR.version.split(".")[:2])
    if BEHAVIOUR.rtx:
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
