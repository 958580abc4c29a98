"""Graphs, and events that a graph records.

Handles are those of the driver (`Stream.handle`); the thread's current context is used. Every answer of the
driver is checked.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from ast_edge.cuda.driver import ask, library

_CAPTURE_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may go on using CUDA
_RECORD_EXTERNAL = 1  # CU_EVENT_RECORD_EXTERNAL: in a graph, a real record instead of a dependency


class Event:
    """A point in a stream's work; `close()` frees it."""

    def __init__(self) -> None:
        self._handle = ctypes.c_void_p()
        ask("cuEventCreate", ctypes.byref(self._handle), ctypes.c_uint(0))

    def record(self, stream: int, *, in_graph: bool = False) -> None:
        """Record the time at which the work so far on `stream` is done; `in_graph` during a capture."""
        flags = ctypes.c_uint(_RECORD_EXTERNAL if in_graph else 0)
        ask("cuEventRecordWithFlags", self._handle, ctypes.c_void_p(stream), flags)

    def wait(self) -> None:
        """Block until the point is reached; other Python threads run meanwhile."""
        ask("cuEventSynchronize", self._handle)

    def ms_since(self, earlier: Event) -> float:
        """Milliseconds between two points that were reached."""
        value = ctypes.c_float()
        ask("cuEventElapsedTime", ctypes.byref(value), earlier._handle, self._handle)
        return value.value

    def close(self) -> None:
        """Free the event; a second call does nothing."""
        handle, self._handle = self._handle, ctypes.c_void_p()
        if handle:
            ask("cuEventDestroy_v2", handle)


class Graph:
    """Work captured once and launched as a whole; `close()` frees it."""

    def __init__(self, stream: int, work: Callable[[], None]) -> None:
        """Capture the work that `work` enqueues on the stream, without running it."""
        self._executable = ctypes.c_void_p()
        captured = ctypes.c_void_p()
        ask("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), ctypes.c_int(_CAPTURE_THREAD_LOCAL))
        try:
            work()
        except BaseException:
            # A stream in capture takes no other work. The result of ending it follows from the current error.
            library().cuStreamEndCapture(ctypes.c_void_p(stream), ctypes.byref(captured))
            if captured:
                library().cuGraphDestroy(captured)
            raise
        ask("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(captured))
        try:
            ask(
                "cuGraphInstantiateWithFlags", ctypes.byref(self._executable), captured, ctypes.c_ulonglong(0)
            )
        finally:
            ask("cuGraphDestroy", captured)

    def launch(self, stream: int) -> None:
        """Start the work on the stream."""
        ask("cuGraphLaunch", self._executable, ctypes.c_void_p(stream))

    def close(self) -> None:
        """Free the graph; a second call does nothing."""
        handle, self._executable = self._executable, ctypes.c_void_p()
        if handle:
            ask("cuGraphExecDestroy", handle)
