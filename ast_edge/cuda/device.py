"""Facts of this machine's GPUs, queried from the driver: no package is needed, no context is created.

A TensorRT object that is created where there is no usable GPU ends the process, so everything that leads to
TensorRT asks here first.
"""

from __future__ import annotations

import ctypes
import importlib.util
from dataclasses import dataclass

from ast_edge.cuda.driver import ask, library
from ast_edge.errors import BackendError

# Attribute numbers from cuda.h.
_MAJOR, _MINOR, _INTEGRATED = 75, 76, 18


@dataclass(frozen=True)
class Device:
    """One GPU. `compute_capability` as "8.7", `driver` the CUDA version that it supports as "12.2".

    `integrated` is true where GPU and processor share their memory (Jetson); `memory_bytes` is all of it.
    """

    index: int
    name: str
    compute_capability: str
    driver: str
    integrated: bool
    memory_bytes: int

    @property
    def architecture(self) -> str:
        """nvcc's name of the GPU, such as "sm_87"."""
        return "sm_" + self.compute_capability.replace(".", "")


def missing_for_tensorrt(module: str = "tensorrt") -> tuple[str, ...]:
    """What this machine lacks to run engines, as text; empty when nothing is missing.

    `module` is tensorrt, or tensorrt_rtx for engines of TensorRT for RTX.
    """
    # find_spec instead of an import: it answers in microseconds and loads no library.
    absent = importlib.util.find_spec(module) is None
    problems = (f"the Python package {module.replace('_', '-')} is not installed",) if absent else ()
    return (*problems, *filter(None, (driver_problem(),)))


def driver_problem() -> str | None:
    """Why the CUDA driver is unusable, as text, or None; does not touch the GPU."""
    try:
        driver = library()
    except OSError:
        return "there is no NVIDIA driver (libcuda.so.1 is not found)"
    status = int(driver.cuInit(0))
    return f"the NVIDIA driver finds no usable GPU (cuInit answers {status})" if status else None


def find_device(index: int = 0) -> Device:
    """The facts of GPU `index`. Raises BackendError where there is no driver or no such GPU."""
    if problem := driver_problem():
        raise BackendError(f"{problem}.")
    count, handle = ctypes.c_int(), ctypes.c_int()
    ask("cuDeviceGetCount", ctypes.byref(count))
    if not 0 <= index < count.value:
        raise BackendError(f"there is no GPU {index}: this machine has {count.value}, counted from 0.")
    ask("cuDeviceGet", ctypes.byref(handle), ctypes.c_int(index))
    name, memory, version = ctypes.create_string_buffer(256), ctypes.c_size_t(), ctypes.c_int()
    ask("cuDeviceGetName", name, ctypes.c_int(len(name)), handle)
    ask("cuDeviceTotalMem_v2", ctypes.byref(memory), handle)
    ask("cuDriverGetVersion", ctypes.byref(version))
    major, minor, integrated = (_attribute(what, handle) for what in (_MAJOR, _MINOR, _INTEGRATED))
    return Device(
        index,
        name.value.decode(errors="replace"),
        f"{major}.{minor}",
        f"{version.value // 1000}.{version.value % 1000 // 10}",
        bool(integrated),
        memory.value,
    )


def _attribute(what: int, handle: ctypes.c_int) -> int:
    value = ctypes.c_int()
    ask("cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(what), handle)
    return value.value
