"""A part on its way through the GPU: memory that is allocated once, and a graph that is captured once.

Everything here belongs to the thread that owns the context, but for `Slot.fill`, which only writes to pinned
memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ast_edge.cuda.driver import Buffer, Freeing, Module, Pinned, Stream, doing
from ast_edge.cuda.graph import Event, Graph
from ast_edge.cuda.plan import FrameLayout, Plan, plan_inputs
from ast_edge.errors import BackendError
from ast_edge.model.manifest import Preprocessing, TensorSpec

STAGES = ("copy_in", "preprocess", "engine", "copy_out")
_LAYOUTS_KEPT = 4  # a line has one; trying several must not fill the memory
# Of the frame, and height, width and dtype of the depth map; None in modes without them.
Layouts = tuple[FrameLayout | None, tuple[int, int, np.dtype[Any]] | None]


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


class Memory:
    """Device buffers by name, with pinned memory for those that the host writes or reads.

    If GPU and processor share their memory (`mapped`), both are the same and nothing is copied.
    """

    def __init__(self, *, mapped: bool) -> None:
        self._mapped = mapped
        self._device: dict[str, Buffer] = {}
        self.pinned: dict[str, Pinned] = {}
        self.addresses: dict[str, int] = {}

    def allocate(self, name: str, nbytes: int, *, shared: bool = False) -> None:
        """A buffer, zeroed; `shared` with the host."""
        if shared:
            self.pinned[name] = Pinned(nbytes, mapped=self._mapped)
            if self._mapped:
                self.addresses[name] = self.pinned[name].address
                return
        self._device[name] = Buffer(nbytes)
        self.addresses[name] = self._device[name].address

    def upload(self, name: str, array: NDArray[Any]) -> None:
        """A buffer with this content."""
        self.allocate(name, array.nbytes)
        self._device[name].upload(array)

    def copy_in(self, name: str, stream: Stream) -> None:
        """Start copying from the host to the GPU."""
        if not self._mapped:
            self._device[name].copy_in(self.pinned[name], stream)

    def copy_out(self, name: str, stream: Stream) -> None:
        """Start copying from the GPU to the host."""
        if not self._mapped:
            self._device[name].copy_out(self.pinned[name], stream)

    def close(self, freeing: Freeing) -> None:
        """Free everything."""
        for buffer in self._device.values():
            freeing.do(buffer.close)
        for pinned in self.pinned.values():
            freeing.do(pinned.close)
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

    def close(self, freeing: Freeing) -> None:
        """Free graph and buffers."""
        if self.graph is not None:
            freeing.do(self.graph.close)
        self.memory.close(freeing)


class Slot:
    """One part at a time: `fill` on any thread, then `start`, then `finish`, on the owner's.

    `bind` says where the network's tensors lie, `enqueue` starts the network on a stream, and `capturable`
    says whether that may be captured in a graph.
    """

    def __init__(
        self,
        wiring: Wiring,
        bind: Callable[[Mapping[str, int]], None],
        enqueue: Callable[[int], None],
        capturable: Callable[[int], bool] = lambda _: True,
    ) -> None:
        self._wiring = wiring
        self._enqueue, self._capturable = enqueue, capturable
        self._prepared: OrderedDict[Layouts, Prepared] = OrderedDict()
        self._current: Prepared | None = None
        self._memory = Memory(mapped=wiring.integrated)
        self._events: list[Event] = []
        self._kernels: Module | None = None
        with doing("a stream"):
            self._stream = Stream()
        try:
            with doing("a slot's memory"):
                self._allocate()
            tensors = (*wiring.inputs, *wiring.outputs)
            bind({spec.name: self._memory.addresses[spec.name] for spec in tensors})
        except BaseException:
            self._free(Freeing())
            raise

    def _allocate(self) -> None:
        wiring = self._wiring
        self._kernels = Module(wiring.kernels) if wiring.kernels else None
        tensors = {spec.name: tensor_bytes(spec) for spec in (*wiring.inputs, *wiring.outputs)}
        for name, nbytes in {**tensors, "levels": 32, "status": 4}.items():
            self._memory.allocate(name, nbytes, shared=True)
        for _ in range(len(STAGES) + 1):
            self._events.append(Event())

    def ready_for(self, layouts: Layouts) -> bool:
        """Whether `prepare` was called for parts of this layout."""
        return layouts in self._prepared

    def prepare(self, layouts: Layouts, *, graph: bool = True) -> None:
        """Allocate for parts of this layout and capture their graph; frees the layout not used longest."""
        plan = plan_inputs(*layouts, self._wiring.preprocessing)
        memory = Memory(mapped=self._wiring.integrated)
        try:
            with doing("memory for a frame"):
                prepared = Prepared(plan, memory)
            with doing("the first part of its size"):
                # Once without a graph: TensorRT fixes its shapes and loads its kernels at the first run.
                self._work(prepared, in_graph=False)
                self._stream.wait()
                if graph and self._capturable(self._stream.handle):
                    prepared.graph = Graph(self._stream.handle, lambda: self._work(prepared, in_graph=True))
        except BaseException:
            freeing = Freeing()
            freeing.do(self._stream.wait)  # work already on the stream needs the memory
            memory.close(freeing)
            raise
        self._prepared[layouts] = prepared
        freeing = Freeing()
        while len(self._prepared) > _LAYOUTS_KEPT:
            self._prepared.popitem(last=False)[1].close(freeing)
        with doing("freeing the memory for a frame"):
            freeing.finish()

    def fill(self, layouts: Layouts, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Copy a part, "frame" and "depth_m", to pinned memory."""
        self._prepared.move_to_end(layouts)
        self._current = self._prepared[layouts]
        for name, array in inputs.items():
            staged = self._current.memory.pinned[name].bytes[: array.nbytes]
            np.copyto(staged.view(array.dtype).reshape(array.shape), array)

    def start(self) -> None:
        """Start on the part from `fill`; returns before it is done."""
        assert self._current is not None  # noqa: S101  # `fill` comes first
        with doing("starting a part"):
            if self._current.graph is not None:
                self._current.graph.launch(self._stream.handle)
            else:
                self._work(self._current, in_graph=False)

    def finish(self) -> dict[str, float]:
        """Wait for the part and return the milliseconds of its stages on the GPU."""
        self._events[-1].wait()
        return {
            name: self._events[index + 1].ms_since(self._events[index]) for index, name in enumerate(STAGES)
        }

    def output(self, name: str, dtype: type[np.generic]) -> NDArray[Any]:
        """A flat copy of an output after `finish`."""
        values: NDArray[Any] = self._memory.pinned[name].bytes.view(dtype).copy()
        return values

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The network alone on prepared inputs [N,...], without a graph; its outputs [N,...]."""
        batch = len(next(iter(inputs.values())))
        with doing("running the network"):
            for name, array in inputs.items():
                flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
                self._memory.pinned[name].bytes[: flat.size] = flat
                self._memory.copy_in(name, self._stream)
            self._enqueue(self._stream.handle)
            for spec in self._wiring.outputs:
                self._memory.copy_out(spec.name, self._stream)
            self._stream.wait()
        shapes = {spec.name: (batch, *spec.shape[1:]) for spec in self._wiring.outputs}
        return {
            name: self.output(name, np.float32)[: int(np.prod(shape))].reshape(shape)
            for name, shape in shapes.items()
        }

    def prepared_inputs(self) -> dict[str, NDArray[Any]]:
        """The network's inputs [N,...] that the kernels computed from the part, for proofs."""
        with doing("reading the network's inputs"):
            for spec in self._wiring.inputs:
                self._memory.copy_out(spec.name, self._stream)
            self._stream.wait()
        return {
            spec.name: self._memory.pinned[spec.name]
            .bytes[: tensor_bytes(spec)]
            .view(spec.dtype)
            .reshape(spec.shape)
            .copy()
            for spec in self._wiring.inputs
        }

    def close(self) -> None:
        """Free everything, also after an error; raises the first error of freeing."""
        freeing = Freeing()
        self._free(freeing)
        with doing("freeing a slot"):
            freeing.finish()

    def _free(self, freeing: Freeing) -> None:
        if self._stream.handle:
            freeing.do(self._stream.wait)
        for prepared in self._prepared.values():
            prepared.close(freeing)
        self._prepared.clear()
        self._memory.close(freeing)
        for event in self._events:
            freeing.do(event.close)
        self._events.clear()
        if self._kernels is not None:
            freeing.do(self._kernels.close)
        freeing.do(self._stream.close)

    def _work(self, prepared: Prepared, *, in_graph: bool) -> None:
        """Enqueue the steps of one part: copy in, prepare, network, copy out, with events in between."""
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
            values = [np.uintp(addresses[a]) if isinstance(a, str) else a for a in launch.arguments]
            sizes = {"grid": launch.grid, "block": launch.block}
            self._kernels.launch(
                launch.kernel, values, self._stream, **sizes, shared_bytes=launch.shared_bytes
            )


def tensor_bytes(spec: TensorSpec) -> int:
    """Bytes of a tensor with a fixed shape."""
    return int(np.prod(spec.shape)) * int(np.dtype(spec.dtype).itemsize)
