"""What pycuda does not wrap of the driver: graphs, and events that a graph records.

Handles are those of the driver (`pycuda.driver.Stream.handle`); the thread's current context is used. Every
answer of the driver is checked.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache

from ast_edge.errors import BackendError

_CAPTURE_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may go on using CUDA
_RECORD_EXTERNAL = 1  # CU_EVENT_RECORD_EXTERNAL: in a graph, a real record instead of a dependency


@lru_cache(maxsize=1)
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def _ask(function: str, *arguments: object) -> None:
    status = int(getattr(_driver(), function)(*arguments))
    if status:
        name = ctypes.c_char_p()
        _driver().cuGetErrorName(status, ctypes.byref(name))
        said = name.value.decode() if name.value else f"error {status}"
        raise BackendError(f"the NVIDIA driver's {function} failed ({said}).")


class Event:
    """A moment on a stream; `close()` frees it."""

    def __init__(self) -> None:
        self._handle = ctypes.c_void_p()
        _ask("cuEventCreate", ctypes.byref(self._handle), ctypes.c_uint(0))

    def record(self, stream: int, *, in_graph: bool = False) -> None:
        """Note the moment when the work so far on `stream` is done; `in_graph` while it is captured."""
        flags = ctypes.c_uint(_RECORD_EXTERNAL if in_graph else 0)
        _ask("cuEventRecordWithFlags", self._handle, ctypes.c_void_p(stream), flags)

    def wait(self) -> None:
        """Block until the moment has come; other Python threads run meanwhile."""
        _ask("cuEventSynchronize", self._handle)

    def ms_since(self, earlier: Event) -> float:
        """Milliseconds between two moments that have come."""
        value = ctypes.c_float()
        _ask("cuEventElapsedTime", ctypes.byref(value), earlier._handle, self._handle)
        return value.value

    def close(self) -> None:
        """Free the event; a second call does nothing."""
        if self._handle:
            _ask("cuEventDestroy_v2", self._handle)
            self._handle = ctypes.c_void_p()


class Graph:
    """Work that was captured once and is launched as a whole; `close()` frees it."""

    def __init__(self, stream: int, work: Callable[[], None]) -> None:
        """Capture what `work` puts on the stream, without running it."""
        self._executable = ctypes.c_void_p()
        captured = ctypes.c_void_p()
        _ask("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), ctypes.c_int(_CAPTURE_THREAD_LOCAL))
        try:
            work()
        finally:
            # Ended after an error too: a stream in capture takes no other work.
            _ask("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(captured))
        try:
            _ask(
                "cuGraphInstantiateWithFlags", ctypes.byref(self._executable), captured, ctypes.c_ulonglong(0)
            )
        finally:
            _ask("cuGraphDestroy", captured)

    def launch(self, stream: int) -> None:
        """Start the work on the stream."""
        _ask("cuGraphLaunch", self._executable, ctypes.c_void_p(stream))

    def close(self) -> None:
        """Free the graph; a second call does nothing."""
        if self._executable:
            _ask("cuGraphExecDestroy", self._executable)
            self._executable = ctypes.c_void_p()
