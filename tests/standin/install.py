"""Installs and removes the stand-ins for GPU and TensorRT."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from ast_edge.cuda import compile as kernel_compiler
from ast_edge.cuda.device import Device
from ast_edge.trt import flavours
from ast_edge.trt.names import ONLY_IN
from tests.standin import software_driver, trt, trt_behaviour

OURS = ("ast_edge.trt.", "ast_edge.backends.tensorrt")
# They import no library; others hold them.
STATELESS = ("ast_edge.trt.names", "ast_edge.trt.flavours")
GPU = Device(0, "stand-in", "8.7", "12.2", integrated=False, memory_bytes=software_driver.MEMORY)


@contextlib.contextmanager
def standins(
    kernels: Path, version: str = "8.6.1", gpu: Device = GPU, *, rtx: bool = False
) -> Iterator[trt_behaviour.Behaviour]:
    """A machine with this GPU and TensorRT or TensorRT for RTX; `kernels` are compiled for the CPU.

    Yields how TensorRT behaves, to be changed by the test. In the end no rule of CUDA may be broken and
    nothing may be left on the GPU. The process must have the software driver (marker `driver`).
    """
    software_driver.reset(gpu.name, integrated=gpu.integrated, capability=gpu.compute_capability)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trt_behaviour, "BEHAVIOUR", trt_behaviour.Behaviour(version, rtx=rtx))
        patch.setattr(flavours, "_chosen", [])
        for name in [name for name in sys.modules if f"{name}.".startswith(OURS)]:
            if name not in STATELESS:
                patch.delitem(sys.modules, name)
        module = trt.module(ONLY_IN)
        name = "tensorrt_rtx" if rtx else "tensorrt"
        module.__spec__ = ModuleSpec(name, None)  # by which it is found to be installed
        patch.setitem(sys.modules, name, module)
        patch.setattr(kernel_compiler, "compiled_kernels", lambda _architecture: kernels.read_bytes())
        before = set(sys.modules)
        try:
            yield trt_behaviour.BEHAVIOUR
            wrongs, alive = software_driver.wrongs(), software_driver.alive()
            assert not wrongs, wrongs
            assert not alive, alive
        finally:
            for name in set(sys.modules) - before:
                if f"{name}.".startswith(OURS):
                    del sys.modules[name]
