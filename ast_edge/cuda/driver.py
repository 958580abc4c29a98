"""NVIDIA's driver, called directly: contexts, memory, streams, modules. No package is needed for it.

Only functions that CUDA has since 11.4 are called, and every answer is checked. What is made here is freed
by `close()`, in a thread that has the context, and by nothing else: an error that is kept keeps no memory.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import BackendError

_LIBRARY = "libcuda.so.1"
_DEVICEMAP = 2  # CU_MEMHOSTALLOC_DEVICEMAP: the memory has an address on the GPU too


class DriverError(BackendError):
    """A call of the driver failed."""


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """The driver. Raises OSError where there is none."""
    return ctypes.CDLL(_LIBRARY)


def ask(function: str, *arguments: object) -> None:
    """Call a function of the driver. Raises DriverError with the driver's name of the error."""
    status = int(getattr(library(), function)(*arguments))
    if status:
        name = ctypes.c_char_p()
        library().cuGetErrorName(status, ctypes.byref(name))
        said = name.value.decode() if name.value else f"error {status}"
        raise DriverError(f"the NVIDIA driver's {function} failed ({said}).")


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """Prefix the driver's errors with `what`, the operation that failed."""
    try:
        yield
    except DriverError as exc:
        raise BackendError(f"CUDA, {what}: {exc}") from exc


@contextlib.contextmanager
def primary_context(index: int) -> Iterator[None]:
    """Retain the primary context of GPU `index`, current in this thread during the block, and release it."""
    device, context = ctypes.c_int(), ctypes.c_void_p()
    with doing("the context"):
        ask("cuInit", ctypes.c_uint(0))
        ask("cuDeviceGet", ctypes.byref(device), ctypes.c_int(index))
        ask("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    freeing = Freeing()
    try:
        with doing("the context"):
            ask("cuCtxPushCurrent_v2", context)
        try:
            yield
        finally:
            freeing.do(partial(ask, "cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p())))
    finally:
        freeing.do(partial(ask, "cuDevicePrimaryCtxRelease_v2", device))
        with doing("the context"):
            freeing.finish()


def free_memory() -> int:
    """Free bytes of the GPU's memory."""
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    with doing("free memory"):
        ask("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    return free.value


class Freeing:
    """Frees resources one by one, even if some calls fail: after a kernel's fault all of them do."""

    def __init__(self) -> None:
        self._first: BackendError | None = None

    def do(self, free: Callable[[], object]) -> None:
        """Call `free`; its error is kept for `finish` if it is the first."""
        try:
            free()
        except BackendError as exc:
            self._first = self._first or exc

    def finish(self) -> None:
        """Raise the first error, if there was one."""
        if self._first is not None:
            raise self._first


class Buffer:
    """Device memory of `nbytes`, zeroed, at `address`."""

    def __init__(self, nbytes: int) -> None:
        size, made = max(nbytes, 1), ctypes.c_uint64()
        ask("cuMemAlloc_v2", ctypes.byref(made), ctypes.c_size_t(size))
        self.address = made.value
        try:
            ask("cuMemsetD8_v2", made, ctypes.c_ubyte(0), ctypes.c_size_t(size))
        except BaseException:
            Freeing().do(self.close)
            raise

    def upload(self, array: NDArray[Any]) -> None:
        """Copy `array` to the start of the memory."""
        source = np.ascontiguousarray(array)
        ask("cuMemcpyHtoD_v2", *_three(self.address, source.ctypes.data, source.nbytes))

    def copy_in(self, pinned: Pinned, stream: Stream) -> None:
        """Start copying the contents of `pinned` to the GPU."""
        ask(
            "cuMemcpyHtoDAsync_v2",
            *_three(self.address, pinned.host_address, pinned.bytes.nbytes),
            ctypes.c_void_p(stream.handle),
        )

    def copy_out(self, pinned: Pinned, stream: Stream) -> None:
        """Start copying from the GPU to `pinned`."""
        ask(
            "cuMemcpyDtoHAsync_v2",
            *_three(pinned.host_address, self.address, pinned.bytes.nbytes),
            ctypes.c_void_p(stream.handle),
        )

    def close(self) -> None:
        """Free the memory; a second call does nothing."""
        address, self.address = self.address, 0
        if address:
            ask("cuMemFree_v2", ctypes.c_uint64(address))


def _three(to: int, source: int, nbytes: int) -> tuple[ctypes.c_uint64, ctypes.c_uint64, ctypes.c_size_t]:
    return ctypes.c_uint64(to), ctypes.c_uint64(source), ctypes.c_size_t(nbytes)


class Pinned:
    """Page-locked host memory: `bytes` uint8 [n], zeroed; if mapped, `address` is its address on the GPU.

    `bytes` must not be used after `close()`.
    """

    def __init__(self, nbytes: int, *, mapped: bool) -> None:
        size, made, device = max(nbytes, 1), ctypes.c_void_p(), ctypes.c_uint64()
        flags = ctypes.c_uint(_DEVICEMAP if mapped else 0)
        ask("cuMemHostAlloc", ctypes.byref(made), ctypes.c_size_t(size), flags)
        self.host_address = int(made.value or 0)
        self.address = 0
        if mapped:
            try:
                ask("cuMemHostGetDevicePointer_v2", ctypes.byref(device), made, ctypes.c_uint(0))
            except BaseException:
                Freeing().do(self.close)
                raise
            self.address = device.value
        memory = (ctypes.c_ubyte * size).from_address(self.host_address)
        self.bytes: NDArray[np.uint8] = np.frombuffer(memoryview(memory), np.uint8)
        self.bytes[:] = 0

    def close(self) -> None:
        """Free the memory; a second call does nothing."""
        address, self.host_address = self.host_address, 0
        if address:
            ask("cuMemFreeHost", ctypes.c_void_p(address))


class Stream:
    """An ordered queue of work on the GPU; it waits for the zeroing and uploads of `Buffer`."""

    def __init__(self) -> None:
        made = ctypes.c_void_p()
        ask("cuStreamCreate", ctypes.byref(made), ctypes.c_uint(0))
        self.handle = int(made.value or 0)

    def wait(self) -> None:
        """Block until all its work is done; other Python threads run meanwhile."""
        ask("cuStreamSynchronize", ctypes.c_void_p(self.handle))

    def close(self) -> None:
        """Free the stream; a second call does nothing."""
        handle, self.handle = self.handle, 0
        if handle:
            ask("cuStreamDestroy_v2", ctypes.c_void_p(handle))


class Module:
    """Compiled kernels."""

    def __init__(self, image: bytes) -> None:
        self._handle = ctypes.c_void_p()
        ask("cuModuleLoadData", ctypes.byref(self._handle), ctypes.c_char_p(image))

    def launch(
        self,
        kernel: str,
        arguments: Sequence[np.generic],
        stream: Stream,
        *,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        shared_bytes: int,
    ) -> None:
        """Start a kernel on the stream; arguments are scalars of exactly the kernel's types."""
        function = ctypes.c_void_p()
        ask("cuModuleGetFunction", ctypes.byref(function), self._handle, ctypes.c_char_p(kernel.encode()))
        cells = [np.array(value) for value in arguments]
        pointers = (ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells))
        sizes = [ctypes.c_uint(size) for size in (*grid, *block, shared_bytes)]
        ask("cuLaunchKernel", function, *sizes, ctypes.c_void_p(stream.handle), pointers, None)

    def close(self) -> None:
        """Unload the kernels; a second call does nothing."""
        handle, self._handle = self._handle, ctypes.c_void_p()
        if handle:
            ask("cuModuleUnload", handle)
