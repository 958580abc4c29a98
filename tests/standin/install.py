"""Puts the stand-ins in the place of the packages, and takes them out again."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ast_edge import backends
from ast_edge.backends import engine_build
from ast_edge.cuda import compile as kernel_compiler
from ast_edge.cuda import device, graph
from ast_edge.cuda.device import Device
from ast_edge.trt.names import ONLY_IN
from tests.standin import cuda, trt

OURS = ("ast_edge.trt.", "ast_edge.backends.tensorrt", "ast_edge.cuda.slots")
GPU = Device(0, "stand-in", "8.7", "12.2", integrated=False, memory_bytes=cuda.MEMORY)


@contextlib.contextmanager
def standins(kernels: Path, version: str = "8.6.1", gpu: Device = GPU) -> Iterator[trt.Behaviour]:
    """A machine with this GPU and TensorRT; `kernels` is the library compiled for the CPU.

    Yields how TensorRT behaves, to be changed by the test.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trt, "BEHAVIOUR", trt.Behaviour(version))
        patch.setattr(cuda, "STATE", cuda.State())
        package = ModuleType("pycuda")
        package.driver = cuda.module()  # type: ignore[attr-defined]
        replaced = {"pycuda": package, "pycuda.driver": package.driver, "tensorrt": trt.module(ONLY_IN)}
        for name in [name for name in sys.modules if f"{name}.".startswith(OURS)]:
            if name != "ast_edge.trt.names":
                patch.delitem(sys.modules, name)
        for name, module in replaced.items():
            patch.setitem(sys.modules, name, module)
        for place in (backends, engine_build, device):
            patch.setattr(place, "missing_for_tensorrt", tuple)
        for place in (engine_build, device):
            patch.setattr(place, "find_device", lambda _index=0: gpu)
        patch.setattr(kernel_compiler, "compiled_kernels", lambda _architecture: kernels.read_bytes())
        patch.setattr(graph, "_ask", cuda.ask)
        before = set(sys.modules)
        try:
            yield trt.BEHAVIOUR
        finally:
            for name in set(sys.modules) - before:
                if f"{name}.".startswith(OURS):
                    del sys.modules[name]
