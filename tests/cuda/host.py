"""Runs the plans of `ast_edge.cuda.plan` on the CPU: `preprocess.cu` as C++, called with ctypes."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ast_edge.cuda.plan import Launch, Plan
from ast_edge.cuda.sources import SOURCE

Bytes = NDArray[np.uint8]

_FLAGS = ("-std=c++17", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-pthread")
_GUARD_BYTES = 64
_UNWRITTEN = 0xCD


def compile_library(compiler: str, folder: Path) -> Path:
    """The shared library with the kernels and `ast_edge_launch`, built in `folder`."""
    library = folder / "preprocess.so"
    command = [compiler, *_FLAGS, "-shared", "-fPIC", "-x", "c++", str(SOURCE), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


class Buffers:
    """Memory for a plan. All but constants and inputs starts as garbage; guards lie around every buffer."""

    def __init__(self, plan: Plan, inputs: Mapping[str, NDArray[np.generic]]) -> None:
        assert set(inputs) == set(plan.inputs)
        self._whole: dict[str, Bytes] = {}
        self._read_only: dict[str, Bytes] = {}
        for name, array in (plan.constants | dict(inputs)).items():  # type: ignore[operator]
            contents = np.frombuffer(array.tobytes(), np.uint8)
            assert plan.inputs.get(name, contents.size) == contents.size
            self._add(name, contents.size)[:] = contents
            self._read_only[name] = contents
        for name, size in (dict(plan.workspace) | dict(plan.outputs)).items():
            self._add(name, size)

    def _add(self, name: str, size: int) -> Bytes:
        assert name not in self._whole, f"two buffers are called {name}"
        self._whole[name] = np.full(size + 2 * _GUARD_BYTES, _UNWRITTEN, np.uint8)
        return self[name]

    def __getitem__(self, name: str) -> Bytes:
        return self._whole[name][_GUARD_BYTES:-_GUARD_BYTES]

    def address(self, name: str) -> int:
        address = self[name].ctypes.data
        assert address % 16 == 0
        return address

    def check(self) -> None:
        """Nothing was written around a buffer, or into one that is only read."""
        for name, whole in self._whole.items():
            guards = np.concatenate((whole[:_GUARD_BYTES], whole[-_GUARD_BYTES:]))
            assert (guards == _UNWRITTEN).all(), f"a kernel wrote outside {name}"
        for name, contents in self._read_only.items():
            assert (self[name] == contents).all(), f"a kernel wrote into {name}"


class Host:
    """Launches kernels of a compiled library."""

    def __init__(self, library: Path) -> None:
        self._launch = ctypes.CDLL(str(library)).ast_edge_launch

    def run(
        self, plan: Plan, inputs: Mapping[str, NDArray[np.generic]], *, threads: int = 1
    ) -> dict[str, Bytes]:
        """Outputs and workspace of the plan as bytes; every block has `threads` threads, not the plan's."""
        buffers = Buffers(plan, inputs)
        for launch in plan.launches:
            self.launch(replace(launch, block=(threads, 1, 1)), buffers)
        buffers.check()
        return {name: buffers[name].copy() for name in (*plan.outputs, *plan.workspace)}

    def launch(self, launch: Launch, buffers: Buffers) -> None:
        """One kernel, as cuLaunchKernel takes it: pointers to the arguments, addresses for buffers."""
        values = [
            np.uint64(buffers.address(value)) if isinstance(value, str) else value
            for value in launch.arguments
        ]
        cells = [np.array(value) for value in values]
        pointers = (ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells))
        three = ctypes.c_uint * 3
        code = self._launch(
            launch.kernel.encode(), three(*launch.grid), three(*launch.block), launch.shared_bytes, pointers
        )
        assert code == 0, f"{launch.kernel} was not launched: {code}"
