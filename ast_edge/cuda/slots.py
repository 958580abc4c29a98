"""A part on its way through the GPU: memory that is allocated once, and a graph that is captured once.

Everything here belongs to the thread that owns the context, but for `Slot.fill`, which only writes to pinned
memory. Imports pycuda.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pycuda.driver as cuda
from numpy.typing import NDArray

from ast_edge.cuda.graph import Event, Graph
from ast_edge.cuda.plan import FrameLayout, Plan, plan_inputs
from ast_edge.errors import BackendError
from ast_edge.model.manifest import Preprocessing, TensorSpec

STAGES = ("copy_in", "preprocess", "engine", "copy_out")
_LAYOUTS_KEPT = 4  # a line has one; somebody who tries several must not fill the memory
# Of the frame, and height, width and dtype of the depth map; None in modes without them.
Layouts = tuple[FrameLayout | None, tuple[int, int, np.dtype[Any]] | None]


@contextlib.contextmanager
def primary_context(index: int) -> Iterator[None]:
    """Retain the primary context of GPU `index` and make it current in this thread meanwhile."""
    with cuda_errors("the context"):
        cuda.init()
        context = cuda.Device(index).retain_primary_context()
        context.push()
    try:
        yield
    finally:
        with cuda_errors("the context"):
            context.pop()


@contextlib.contextmanager
def cuda_errors(what: str) -> Iterator[None]:
    """pycuda's errors become BackendError with `what` in front."""
    try:
        yield
    except cuda.Error as exc:
        raise BackendError(f"CUDA, {what}: {exc}.") from exc


def free_memory() -> int:
    """Bytes of the GPU's memory that are free."""
    with cuda_errors("free memory"):
        free, _ = cuda.mem_get_info()
    return int(free)


@dataclass(frozen=True)
class Wiring:
    """What all slots of an engine share.

    `inputs` and `outputs` are the network's tensors with the largest batch that is run; `kernels` is the
    machine code that prepares frames.
    """

    preprocessing: Preprocessing
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    kernels: bytes
    integrated: bool


class Pinned:
    """Page-locked host memory with its address on the GPU where it is mapped."""

    def __init__(self, nbytes: int, *, mapped: bool) -> None:
        flags = cuda.host_alloc_flags.DEVICEMAP if mapped else 0
        self.bytes: NDArray[np.uint8] = cuda.pagelocked_empty((max(nbytes, 1),), np.uint8, mem_flags=flags)
        self._allocation: Any = self.bytes.base
        self.address = int(self._allocation.get_device_pointer()) if mapped else 0

    def close(self) -> None:
        """Free the memory."""
        self._allocation.free()


class Memory:
    """Device buffers by name, each with pinned memory beside it where the host writes or reads it.

    Where GPU and processor share their memory (`mapped`) the two are one and nothing is copied.
    """

    def __init__(self, *, mapped: bool) -> None:
        self._mapped = mapped
        self._device: dict[str, Any] = {}
        self.pinned: dict[str, Pinned] = {}
        self.addresses: dict[str, int] = {}

    def allocate(self, name: str, nbytes: int, *, shared: bool = False) -> None:
        """A buffer, zeroed; `shared` with the host."""
        if shared:
            self.pinned[name] = Pinned(nbytes, mapped=self._mapped)
            self.pinned[name].bytes[:] = 0
            if self._mapped:
                self.addresses[name] = self.pinned[name].address
                return
        buffer = cuda.mem_alloc(max(nbytes, 1))
        self._device[name] = buffer
        cuda.memset_d8(buffer, 0, max(nbytes, 1))
        self.addresses[name] = int(buffer)

    def upload(self, name: str, array: NDArray[Any]) -> None:
        """A buffer with this content."""
        self.allocate(name, array.nbytes)
        cuda.memcpy_htod(self._device[name], np.ascontiguousarray(array))

    def copy_in(self, name: str, stream: Any) -> None:
        """Start copying what the host wrote."""
        if not self._mapped:
            cuda.memcpy_htod_async(self._device[name], self.pinned[name].bytes, stream)

    def copy_out(self, name: str, stream: Any) -> None:
        """Start copying what the host will read."""
        if not self._mapped:
            cuda.memcpy_dtoh_async(self.pinned[name].bytes, self._device[name], stream)

    def close(self) -> None:
        """Free everything."""
        for buffer in (*self._device.values(), *self.pinned.values()):
            buffer.close() if isinstance(buffer, Pinned) else buffer.free()
        self._device.clear()
        self.pinned.clear()


class Prepared:
    """Buffers and graph for parts of one layout."""

    def __init__(self, plan: Plan, memory: Memory) -> None:
        self.plan = plan
        self.memory = memory
        self.graph: Graph | None = None
        for name, array in plan.constants.items():
            memory.upload(name, array)
        for name, nbytes in plan.workspace.items():
            memory.allocate(name, nbytes)
        for name, nbytes in plan.inputs.items():
            memory.allocate(name, nbytes, shared=True)

    def close(self) -> None:
        """Free graph and buffers."""
        if self.graph is not None:
            self.graph.close()
        self.memory.close()


class Slot:
    """One part at a time: `fill` on any thread, then `start`, then `finish`, on the owner's.

    `bind` says where the network's tensors lie and `enqueue` starts the network on a stream.
    """

    def __init__(
        self, wiring: Wiring, bind: Callable[[Mapping[str, int]], None], enqueue: Callable[[int], None]
    ) -> None:
        self._wiring = wiring
        self._enqueue = enqueue
        self._prepared: OrderedDict[Layouts, Prepared] = OrderedDict()
        self._current: Prepared | None = None
        self._memory = Memory(mapped=wiring.integrated)
        self._events: list[Event] = []
        tensors = {spec.name: tensor_bytes(spec) for spec in (*wiring.inputs, *wiring.outputs)}
        try:
            with cuda_errors("a slot's memory"):
                self._stream: Any = cuda.Stream()
                self._kernels: Any = cuda.module_from_buffer(wiring.kernels) if wiring.kernels else None
                for name, nbytes in {**tensors, "levels": 32, "status": 4}.items():
                    self._memory.allocate(name, nbytes, shared=True)
            self._events.extend(Event() for _ in range(len(STAGES) + 1))
        except BaseException:
            self._memory.close()
            self._kernels = self._stream = None
            raise
        bind({spec.name: self._memory.addresses[spec.name] for spec in (*wiring.inputs, *wiring.outputs)})

    def ready_for(self, layouts: Layouts) -> bool:
        """Whether `prepare` was called for parts of this layout."""
        return layouts in self._prepared

    def prepare(self, layouts: Layouts, *, graph: bool = True) -> None:
        """Allocate for parts of this layout and capture their graph; frees the layout not used longest."""
        plan = plan_inputs(*layouts, self._wiring.preprocessing)
        memory = Memory(mapped=self._wiring.integrated)
        try:
            with cuda_errors("memory for a frame"):
                prepared = Prepared(plan, memory)
                # Once without a graph: TensorRT settles its shapes and loads its kernels at the first run.
                self._work(prepared, in_graph=False)
                self._stream.synchronize()
                if graph:
                    prepared.graph = Graph(self._stream.handle, lambda: self._work(prepared, in_graph=True))
        except BaseException:
            memory.close()
            raise
        self._prepared[layouts] = prepared
        while len(self._prepared) > _LAYOUTS_KEPT:
            self._prepared.popitem(last=False)[1].close()

    def fill(self, layouts: Layouts, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Copy a part, "frame" and "depth_m", to pinned memory."""
        self._prepared.move_to_end(layouts)
        self._current = self._prepared[layouts]
        for name, array in inputs.items():
            staged = self._current.memory.pinned[name].bytes[: array.nbytes]
            np.copyto(staged.view(array.dtype).reshape(array.shape), array)

    def start(self) -> None:
        """Start on the part that was filled in; returns before it is done."""
        assert self._current is not None  # noqa: S101  # `fill` comes first
        with cuda_errors("starting a part"):
            if self._current.graph is not None:
                self._current.graph.launch(self._stream.handle)
            else:
                self._work(self._current, in_graph=False)

    def finish(self) -> dict[str, float]:
        """Wait for the part; milliseconds of its stages on the GPU."""
        self._events[-1].wait()
        return {
            name: self._events[index + 1].ms_since(self._events[index]) for index, name in enumerate(STAGES)
        }

    def output(self, name: str, dtype: type[np.generic]) -> NDArray[Any]:
        """A copy of what lies in an output after `finish`, flat."""
        values: NDArray[Any] = self._memory.pinned[name].bytes.view(dtype).copy()
        return values

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The network alone on prepared inputs [N,...], without a graph; its outputs [N,...]."""
        batch = len(next(iter(inputs.values())))
        with cuda_errors("running the network"):
            for name, array in inputs.items():
                flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
                self._memory.pinned[name].bytes[: flat.size] = flat
                self._memory.copy_in(name, self._stream)
            self._enqueue(self._stream.handle)
            for spec in self._wiring.outputs:
                self._memory.copy_out(spec.name, self._stream)
            self._stream.synchronize()
        shapes = {spec.name: (batch, *spec.shape[1:]) for spec in self._wiring.outputs}
        return {
            name: self.output(name, np.float32)[: int(np.prod(shape))].reshape(shape)
            for name, shape in shapes.items()
        }

    def prepared_inputs(self) -> dict[str, NDArray[Any]]:
        """What the kernels made of the part that was filled in: the network's inputs [N,...], for proofs."""
        with cuda_errors("reading the network's inputs"):
            for spec in self._wiring.inputs:
                self._memory.copy_out(spec.name, self._stream)
            self._stream.synchronize()
        return {
            spec.name: self._memory.pinned[spec.name]
            .bytes[: tensor_bytes(spec)]
            .view(spec.dtype)
            .reshape(spec.shape)
            .copy()
            for spec in self._wiring.inputs
        }

    def close(self) -> None:
        """Free everything; after an error too."""
        if self._stream is None:
            return
        with cuda_errors("freeing a slot"):
            self._stream.synchronize()
            for prepared in self._prepared.values():
                prepared.close()
            self._prepared.clear()
            self._memory.close()
            for event in self._events:
                event.close()
            self._events.clear()
            # pycuda frees these when they are forgotten, and can do so only in the context's own thread.
            self._kernels = self._stream = None

    def _work(self, prepared: Prepared, *, in_graph: bool) -> None:
        """Put one part's way on the stream: copy in, prepare, network, copy out, with events in between."""
        stream = self._stream
        events = iter(self._events)
        next(events).record(stream.handle, in_graph=in_graph)
        for name in prepared.plan.inputs:
            prepared.memory.copy_in(name, stream)
        next(events).record(stream.handle, in_graph=in_graph)
        self._launch(prepared)
        next(events).record(stream.handle, in_graph=in_graph)
        self._enqueue(stream.handle)
        next(events).record(stream.handle, in_graph=in_graph)
        for name in (*(spec.name for spec in self._wiring.outputs), "levels", "status"):
            self._memory.copy_out(name, stream)
        next(events).record(stream.handle, in_graph=in_graph)

    def _launch(self, prepared: Prepared) -> None:
        if self._kernels is None:
            raise BackendError("this engine has no kernels; build it again with `ast-edge build-engine`.")
        addresses = {**self._memory.addresses, **prepared.memory.addresses}
        for launch in prepared.plan.launches:
            values = (np.uintp(addresses[a]) if isinstance(a, str) else a for a in launch.arguments)
            self._kernels.get_function(launch.kernel)(
                *values, block=launch.block, grid=launch.grid, shared=launch.shared_bytes, stream=self._stream
            )


def tensor_bytes(spec: TensorSpec) -> int:
    """Bytes of a tensor whose shape is settled."""
    return int(np.prod(spec.shape)) * int(np.dtype(spec.dtype).itemsize)
