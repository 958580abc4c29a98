"""The enumerations and plain types of the stand-in for TensorRT, with TensorRT's numbers."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any


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
