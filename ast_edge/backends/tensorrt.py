"""TensorRT on the GPU: plans built here by `ast-edge build-engine`. Imports TensorRT."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ast_edge.backends.base import FrameBackend, Outputs, PartOutputs
from ast_edge.backends.settling import settled
from ast_edge.cuda.compile import compiled_kernels, source_sha256
from ast_edge.cuda.device import Device, find_device
from ast_edge.cuda.driver import Freeing, primary_context
from ast_edge.cuda.owner import Owner
from ast_edge.cuda.plan import FrameLayout, check_status
from ast_edge.cuda.slots import Layouts, Slot, Wiring
from ast_edge.errors import BackendError, FrameError
from ast_edge.frames.levels import Counts, levels_from_sums
from ast_edge.frames.part import Part
from ast_edge.model.arrays import Array
from ast_edge.model.engine_file import EngineFile, build_command
from ast_edge.model.engine_info import Build, BuiltFor, why_unfit
from ast_edge.model.manifest import Manifest
from ast_edge.trt import flavours
from ast_edge.trt.log import Log
from ast_edge.trt.runtime import Engine, Execution

if TYPE_CHECKING:
    import tensorrt as trt
else:
    trt = flavours.library()

_MOST_WARM_UP_RUNS = 200


def this_machine(device: Device) -> BuiltFor:
    """What a plan built here is built for."""
    return BuiltFor(
        gpu=device.name,
        compute_capability=device.compute_capability,
        driver=device.driver,
        tensorrt=trt.__version__,
        integrated=device.integrated,
    )


class TensorRtBackend(FrameBackend):
    """Runs the plan of a checked engine file on GPU `device`.

    One thread of its own owns the CUDA context and does all work on the GPU; any thread may call. With a
    fixed batch two parts may be on their way, on streams and memory of their own. Raises BackendError when
    the plan does not fit this machine or TensorRT refuses it.
    """

    _key: str | None

    def __init__(self, engine: EngineFile, *, device: int = 0, graph: bool = True) -> None:
        facts = find_device(device)
        if reason := why_unfit(engine.info, this_machine(facts)):
            command = build_command(engine.path, engine.info)
            where = "on this machine" if engine.info.rtx is None else "again"
            raise BackendError(f"{engine.path}: {reason}; build it {where}: {command}.")
        kernels = _kernels(engine, facts)
        plan = memoryview(engine.plan)
        version = "".join(c if c.isalnum() else "-" for c in trt.__version__)
        self._key = f"{engine.info.plan.sha256[:24]}-{facts.architecture}-{version}"
        self._open(plan, engine.manifest, engine.info.build, facts, kernels, graph=graph)

    @classmethod
    def of_plan(cls, plan: memoryview, manifest: Manifest, build: Build, device: Device) -> TensorRtBackend:
        """A plan in memory that was built on this machine a moment ago, to be proven."""
        backend = cls.__new__(cls)
        backend._key = None
        backend._open(plan, manifest, build, device, b"", graph=False)
        return backend

    @property
    def name(self) -> str:  # type: ignore[override]  # a constant of most engines
        """With its version and where it runs."""
        return f"{flavours.in_use().title} {trt.__version__} on {self._device.name}"

    @property
    def machine(self) -> BuiltFor:
        """The GPU, the driver and the library that it runs on."""
        return this_machine(self._device)

    @property
    def least_batch(self) -> int:
        """The smallest batch of the plan's range."""
        return self._batch.least

    def layers(self) -> list[dict[str, Any]]:
        """What TensorRT's inspector says of every layer (see `Engine.layers`)."""
        return self._owner.call(self._engine.layers)

    def prepare(self, part: Part) -> dict[str, NDArray[Any]]:
        """The network's inputs [N,...] as the kernels make them of one part, the first of N; for proofs."""
        layouts, inputs = _layouts(part)
        slot = self._free.get()
        try:
            if not slot.ready_for(layouts):
                self._owner.call(partial(slot.prepare, layouts, graph=self._graph))
            slot.fill(layouts, inputs)
            self._owner.call(slot.start)
            self._owner.call(slot.finish)
            return self._owner.call(slot.prepared_inputs)
        finally:
            self._free.put(slot)

    @override
    def submit(self, part: Part) -> Future[PartOutputs]:
        started = perf_counter_ns()
        if self._closed:
            raise BackendError(f"{self.name}: the engine was closed; open the model again.")
        layouts, inputs = _layouts(part)
        slot = self._free.get()
        answered: Future[PartOutputs] = Future()
        try:
            if not slot.ready_for(layouts):
                self._owner.call(partial(slot.prepare, layouts, graph=self._graph))
            slot.fill(layouts, inputs)
            handed_over = (perf_counter_ns() - started) / 1e6
            begun = self._owner.submit(slot.start)
            self._waiter.submit(partial(self._finish, slot, begun, answered, layouts, handed_over))
        except BaseException:
            self._free.put(slot)
            raise
        return answered

    def _open(
        self,
        plan: memoryview,
        manifest: Manifest,
        build: Build,
        device: Device,
        kernels: bytes,
        *,
        graph: bool,
    ) -> None:
        batch = build.batch.size
        super().__init__(manifest.input_specs(batch), manifest.output_specs(batch))
        spec = manifest.preprocessing
        self._counts = Counts.of(spec.image_size, spec.looked_at)
        self._device, self._graph = device, graph
        self._batch = build.batch
        self.in_flight = 1 if batch == -1 else 2  # TensorRT 8 wants a profile of its own for every context
        self._slots: list[tuple[Slot, Execution]] = []
        self._free: SimpleQueue[Slot] = SimpleQueue()
        most = build.batch.most
        wiring = Wiring(
            manifest.preprocessing,
            manifest.input_specs(most),
            manifest.output_specs(most),
            kernels,
            device.integrated,
        )
        self._owner = Owner(partial(primary_context, device.index), "ast-edge-cuda")
        try:
            self._owner.call(partial(self._load, plan, build, wiring))
            # Waits for the GPU, so that the owner can start the next part meanwhile.
            self._waiter = Owner(partial(primary_context, device.index), "ast-edge-cuda-wait")
        except BaseException:
            with contextlib.suppress(BackendError):  # the first error is the one to tell
                self._owner.call(self._release)
            with contextlib.suppress(BackendError):
                self._owner.close()
            raise

    def _load(self, plan: memoryview, build: Build, wiring: Wiring) -> None:
        self._engine = Engine(plan, build, (*self.inputs, *self.outputs), Log(), key=self._key)
        for _ in range(self.in_flight):
            execution = self._engine.execution()
            shapes = self._shapes(self._batch.least)
            bind = partial(execution.bind, shapes=shapes)
            slot = Slot(wiring, bind, execution.enqueue, execution.capturable)
            self._slots.append((slot, execution))
            self._free.put(slot)
            self._warm_up(slot)
        self._engine.keep_kernels()

    def _warm_up(self, slot: Slot) -> None:
        """Run the network on zeros until its time has settled: clocks rise, kernels are loaded."""
        inputs = {
            spec.name: np.zeros((self._batch.least, *spec.shape[1:]), spec.dtype) for spec in self.inputs
        }
        times: list[float] = []
        while not settled(times) and len(times) < _MOST_WARM_UP_RUNS:
            started = perf_counter_ns()
            slot.run(inputs)
            times.append((perf_counter_ns() - started) / 1e6)

    def _run(self, inputs: Mapping[str, Array]) -> Outputs:
        batch = len(next(iter(inputs.values())))
        if self.batch == -1 and not self._batch.least <= batch <= self._batch.most:
            raise FrameError(
                f"{self.name}: this engine takes {self._batch.least} to {self._batch.most} parts at once, "
                f"found {batch}."
            )
        slot = self._free.get()
        try:
            return self._owner.call(partial(self._run_on, slot, inputs, batch))
        finally:
            self._free.put(slot)

    def _run_on(self, slot: Slot, inputs: Mapping[str, Array], batch: int) -> Outputs:
        execution = next(execution for own, execution in self._slots if own is slot)
        try:
            execution.bind({}, self._shapes(batch))
            outputs = slot.run(inputs)
        finally:
            execution.bind({}, self._shapes(self._batch.least))
        return Outputs(outputs["score"], outputs["anomaly_map"])

    def _shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """What a free batch dimension is set to; nothing where it is fixed."""
        return {} if self.batch != -1 else {spec.name: (batch, *spec.shape[1:]) for spec in self.inputs}

    def _finish(
        self,
        slot: Slot,
        begun: Future[None],
        answered: Future[PartOutputs],
        layouts: Layouts,
        handed_over: float,
    ) -> None:
        """On the waiter's thread: take the results, free the slot, then tell."""
        try:
            begun.result()
            stages = {"hand_off": handed_over, **slot.finish()}
            outputs = self._results(slot, layouts, stages)
        except BaseException as exc:  # noqa: BLE001 (raised where the result is asked for)
            self._free.put(slot)
            answered.set_exception(exc)
        else:
            self._free.put(slot)
            answered.set_result(outputs)

    def _results(self, slot: Slot, layouts: Layouts, stages: Mapping[str, float]) -> PartOutputs:
        empty = check_status(int(slot.output("status", np.int32)[0]))
        frame, _ = layouts
        shape = self.outputs[1].shape[1:]
        anomaly_map = slot.output("anomaly_map", np.float32)[: int(np.prod(shape))].reshape(shape)
        levels = None if frame is None else levels_from_sums(slot.output("levels", np.uint64), self._counts)
        score = float(slot.output("score", np.float32)[0])
        return PartOutputs(score, anomaly_map, levels, not empty, stages)

    def _close(self) -> None:
        freeing = Freeing()
        freeing.do(self._waiter.close)
        freeing.do(partial(self._owner.call, self._release))
        freeing.do(self._owner.close)
        freeing.finish()

    def _release(self) -> None:
        """Slots, contexts, engine, runtime: in this order."""
        freeing = Freeing()
        for slot, _ in self._slots:
            freeing.do(slot.close)
        self._slots.clear()
        engine: Engine | None = getattr(self, "_engine", None)
        if engine is not None:
            engine.close()
        freeing.finish()


def _layouts(part: Part) -> tuple[Layouts, dict[str, NDArray[Any]]]:
    inputs: dict[str, NDArray[Any]] = {}
    frame_layout = depth_layout = None
    if part.frame is not None and part.colour is not None:
        frame_layout = FrameLayout.packed(part.colour, part.width, part.height)
        inputs["frame"] = part.frame
    if part.depth_m is not None:
        depth_layout = (part.height, part.width, part.depth_m.dtype)
        inputs["depth_m"] = part.depth_m
    return (frame_layout, depth_layout), inputs


def _kernels(engine: EngineFile, device: Device) -> bytes:
    """Those beside the engine, if they are of this ast-edge and for this GPU; else from the cache."""
    info = engine.info.kernels
    wanted = (source_sha256(), device.architecture)
    if engine.kernels is not None and info and (info.source_sha256, info.architecture) == wanted:
        return engine.kernels
    return compiled_kernels(device.architecture)
