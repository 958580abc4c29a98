"""`pycuda.driver`, and the driver's graphs, on host memory; every call insists on the owner's context."""

from __future__ import annotations

import ctypes
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

MEMORY = 8 << 30


class Error(Exception):
    """As pycuda's, the base of its errors."""


@dataclass
class State:
    """What is alive, and which thread has the context."""

    allocated: int = 0
    pinned: int = 0
    graphs: int = 0
    events: int = 0
    launches: list[str] = field(default_factory=list)
    fail_allocation_from: int | None = None
    threads: set[int] = field(default_factory=set)
    local: threading.local = field(default_factory=threading.local)

    @property
    def alive(self) -> tuple[int, int, int, int]:
        """Allocations, pinned allocations, graphs, events."""
        return self.allocated, self.pinned, self.graphs, self.events


STATE = State()


def needs_context() -> None:
    if getattr(STATE.local, "depth", 0) < 1:
        raise Error("invalid context: no context is current in this thread")


class Context:
    def push(self) -> None:
        STATE.local.depth = getattr(STATE.local, "depth", 0) + 1
        STATE.threads.add(threading.get_ident())

    @staticmethod
    def pop() -> None:
        needs_context()
        STATE.local.depth -= 1


class Device:
    def __init__(self, index: int) -> None:
        self.index = index

    def retain_primary_context(self) -> Context:
        return Context()


class Allocation:
    def __init__(self, nbytes: int) -> None:
        needs_context()
        if STATE.fail_allocation_from is not None and nbytes >= STATE.fail_allocation_from:
            raise Error("cuMemAlloc failed: out of memory")
        self.memory = (ctypes.c_ubyte * nbytes)(*([0xCD] * min(nbytes, 64)))
        self.freed = False
        STATE.allocated += 1

    def __int__(self) -> int:
        assert not self.freed
        return ctypes.addressof(self.memory)

    def free(self) -> None:
        needs_context()
        assert not self.freed
        self.freed = True
        STATE.allocated -= 1


def pagelocked_empty(shape: tuple[int, ...], dtype: Any, mem_flags: int = 0) -> Any:
    needs_context()

    def free(self: Any) -> None:
        needs_context()
        STATE.pinned -= 1

    def get_device_pointer(self: Any) -> int:
        assert mem_flags == host_alloc_flags.DEVICEMAP
        return ctypes.addressof(self)

    (count,) = shape
    kind = type(
        "Pagelocked",
        (ctypes.c_ubyte * (count * np.dtype(dtype).itemsize),),
        {"free": free, "get_device_pointer": get_device_pointer, "_length_": count, "_type_": ctypes.c_ubyte},
    )
    STATE.pinned += 1
    return np.frombuffer(kind(), dtype)


class host_alloc_flags:  # noqa: N801 (pycuda's name)
    DEVICEMAP = 2


class Stream:
    """Work is done at once, or noted while the stream is captured."""

    by_handle: dict[int, Stream] = {}  # noqa: RUF012 (shared on purpose)

    def __init__(self) -> None:
        needs_context()
        self.handle = id(self)
        self.captured: list[Callable[[], None]] | None = None
        Stream.by_handle[self.handle] = self

    def do(self, work: Callable[[], None]) -> None:
        needs_context()
        if self.captured is not None:
            self.captured.append(work)
        else:
            work()

    def synchronize(self) -> None:
        needs_context()
        assert self.captured is None, "a stream in capture cannot be waited for"


def copy(target: int, source: int, nbytes: int) -> None:
    ctypes.memmove(target, source, nbytes)


def memcpy_htod_async(target: Allocation, source: Any, stream: Stream) -> None:
    assert source.nbytes <= len(target.memory)
    stream.do(lambda: copy(int(target), source.ctypes.data, source.nbytes))


def memcpy_dtoh_async(target: Any, source: Allocation, stream: Stream) -> None:
    assert target.nbytes <= len(source.memory)
    stream.do(lambda: copy(target.ctypes.data, int(source), target.nbytes))


def memcpy_htod(target: Allocation, source: Any) -> None:
    needs_context()
    copy(int(target), source.ctypes.data, source.nbytes)


def memset_d8(target: Allocation, value: int, count: int) -> None:
    needs_context()
    ctypes.memset(int(target), value, count)


def mem_get_info() -> tuple[int, int]:
    needs_context()
    return MEMORY // 2, MEMORY


class Module:
    """The kernels compiled for the CPU; `buffer` is the shared library."""

    def __init__(self, buffer: bytes) -> None:
        needs_context()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "kernels.so"
            path.write_bytes(buffer)
            self.launch = ctypes.CDLL(str(path)).ast_edge_launch

    def get_function(self, name: str) -> Callable[..., None]:
        def call(*arguments: Any, block: Any, grid: Any, shared: int, stream: Stream) -> None:
            cells = [np.array(value) for value in arguments]

            def work() -> None:
                STATE.launches.append(name)
                pointers = (ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells))
                three = ctypes.c_uint * 3
                assert self.launch(name.encode(), three(*grid), three(1, 1, 1), shared, pointers) == 0

            stream.do(work)

        return call


class Captured:
    """A graph, or what it became when it was instantiated."""

    alive: dict[int, Captured] = {}  # noqa: RUF012 (shared on purpose)

    def __init__(self, work: list[Callable[[], None]]) -> None:
        self.work = work
        Captured.alive[id(self)] = self


MOMENTS: dict[int, float] = {}


def ask(function: str, *arguments: Any) -> None:
    """The driver's functions that `ast_edge.cuda.graph` calls."""
    needs_context()
    values = [getattr(argument, "_obj", argument) for argument in arguments]
    _DRIVER[function](*values)


def _begin(stream: Any, _mode: Any) -> None:
    Stream.by_handle[stream.value].captured = []


def _end(stream: Any, graph: Any) -> None:
    found = Stream.by_handle[stream.value]
    assert found.captured is not None
    graph.value = id(Captured(found.captured))
    found.captured = None


def _instantiate(executable: Any, graph: Any, _flags: Any) -> None:
    executable.value = id(Captured(Captured.alive[graph.value].work))
    STATE.graphs += 1


def _destroy_graph(graph: Any) -> None:
    del Captured.alive[graph.value]


def _launch(executable: Any, _stream: Any) -> None:
    for work in Captured.alive[executable.value].work:
        work()


def _destroy_executable(executable: Any) -> None:
    del Captured.alive[executable.value]
    STATE.graphs -= 1


def _create_event(event: Any, _flags: Any) -> None:
    STATE.events += 1
    event.value = 1 + max(MOMENTS, default=0)
    MOMENTS[event.value] = 0.0


def _record(event: Any, stream: Any, flags: Any) -> None:
    name, captured = event.value, Stream.by_handle[stream.value].captured
    # Without the flag a captured event is a dependency only, and its time would never be noted.
    assert flags.value == (1 if captured is not None else 0)
    Stream.by_handle[stream.value].do(lambda: MOMENTS.__setitem__(name, time.perf_counter()))


def _elapsed(value: Any, start: Any, end: Any) -> None:
    value.value = 1e3 * (MOMENTS[end.value] - MOMENTS[start.value])


def _destroy_event(event: Any) -> None:
    del MOMENTS[event.value]
    STATE.events -= 1


_DRIVER: dict[str, Callable[..., None]] = {
    "cuStreamBeginCapture_v2": _begin,
    "cuStreamEndCapture": _end,
    "cuGraphInstantiateWithFlags": _instantiate,
    "cuGraphDestroy": _destroy_graph,
    "cuGraphLaunch": _launch,
    "cuGraphExecDestroy": _destroy_executable,
    "cuEventCreate": _create_event,
    "cuEventRecordWithFlags": _record,
    "cuEventSynchronize": lambda _event: None,
    "cuEventElapsedTime": _elapsed,
    "cuEventDestroy_v2": _destroy_event,
}


def module() -> ModuleType:
    """`pycuda.driver`."""
    driver = ModuleType("pycuda.driver")
    names = ("Error", "Device", "Stream", "host_alloc_flags", "pagelocked_empty", "mem_get_info")
    copies = ("memcpy_htod", "memcpy_htod_async", "memcpy_dtoh_async", "memset_d8")
    for name in (*names, *copies):
        setattr(driver, name, globals()[name])
    driver.init = lambda: None  # type: ignore[attr-defined]
    driver.mem_alloc = Allocation  # type: ignore[attr-defined]
    driver.module_from_buffer = Module  # type: ignore[attr-defined]
    return driver
