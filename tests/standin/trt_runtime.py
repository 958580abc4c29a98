"""The runtime of the stand-in for TensorRT: plans are ONNX files that ONNX Runtime executes."""

from __future__ import annotations

import ctypes
import json
from typing import Any

import numpy as np
import onnxruntime

from tests.standin import software_driver
from tests.standin.trt_behaviour import Killed, behaviour, needs_context
from tests.standin.trt_types import (
    DataType,
    Dims,
    DynamicShapesKernelSpecializationStrategy,
    ILogger,
    LayerInformationFormat,
    Severity,
)


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
        behaviour().calls.append("deserialize")
        return True


class RuntimeConfig:
    dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY
    cache: RuntimeCache | None = None

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache()

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.cache = cache
        return True


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        needs_context()
        if behaviour().refuse_driver:
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
        assert (config is not None) == behaviour().rtx
        if config is not None and config.cache is not None:
            assert config.dynamic_shapes_kernel_specialization_strategy.name == "EAGER"
            config.cache.compiled += 1
        if behaviour().refuse_context:
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
        return behaviour().capturable and stream != 0

    def set_input_shape(self, name: str, shape: Dims) -> bool:
        assert isinstance(shape, Dims)
        self.shapes[name] = list(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return address != 0

    def execute_async_v3(self, stream: int) -> bool:
        behaviour().executions += 1
        if behaviour().refuse_execution or behaviour().executions in behaviour().refuse_executions:
            self.engine.logger.log(Severity.ERROR, behaviour().execution_error)
            return False
        if behaviour().executions == behaviour().take_memory_at and not software_driver.take_memory(64):
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
            factor = behaviour().score_factor if name == "score" else 1
            _view(self.addresses[name], result.shape, np.float32)[...] = result * np.float32(factor)


def _view(address: int, shape: Any, dtype: Any) -> Any:
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_ubyte * count).from_address(address), dtype).reshape(shape)
