"""A plan in memory, its tensors and its execution. Needs a current CUDA context; one thread at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from ast_edge.errors import BackendError
from ast_edge.model.engine_info import Build
from ast_edge.model.manifest import TensorSpec
from ast_edge.trt import flavours, versions
from ast_edge.trt.build import check_driver, constructed, made, shape_of
from ast_edge.trt.log import Log

if TYPE_CHECKING:
    import tensorrt as trt
else:
    trt = flavours.library()

_DTYPES: dict[trt.DataType, Literal["uint8", "float32"]] = {
    trt.DataType.UINT8: "uint8",
    trt.DataType.FLOAT: "float32",
}


class Engine:
    """A deserialised plan with its execution contexts; `close()` frees them in the order TensorRT wants.

    `key` names what TensorRT for RTX keeps of it between starts (see `flavours.Contexts`). Raises
    BackendError when TensorRT refuses the plan or the plan has other tensors than `specs`.
    """

    def __init__(
        self,
        plan: memoryview,
        build: Build,
        specs: tuple[TensorSpec, ...],
        log: Log,
        *,
        key: str | None = None,
    ) -> None:
        self._log = log
        self._contexts: list[Execution] = []
        # With an unsuitable driver, creating a TensorRT 8 runtime kills the process; a builder fails safely.
        check_driver(log)
        self._runtime: trt.Runtime = constructed(lambda: trt.Runtime(log), "the runtime", log)
        if build.version_compatible:
            versions.allow_host_code(self._runtime)
        self._engine: trt.ICudaEngine = made(
            self._runtime.deserialize_cuda_engine(plan), "an engine of the plan", log
        )
        found = {spec.name: spec for spec in self._tensors()}
        for spec in specs:
            if found.get(spec.name) != spec:
                raise BackendError(
                    f"the plan has other tensors than its model says: expected {spec}, found "
                    f"{found.get(spec.name)}; build the engine again."
                )
        self._making = flavours.Contexts(self._engine, key)

    def execution(self) -> Execution:
        """A new execution context."""
        context: trt.IExecutionContext = made(
            self._making.make(), "an execution context (the GPU's memory may be full)", self._log
        )
        execution = Execution(context, self._log)
        self._contexts.append(execution)
        return execution

    def keep_kernels(self) -> None:
        """Keep the kernels compiled for this GPU for the next start."""
        self._making.keep()

    def layers(self) -> list[dict[str, Any]]:
        """What TensorRT's inspector reports about every layer; needs a plan built with `layers`."""
        inspector: trt.EngineInspector = made(
            self._engine.create_engine_inspector(), "the inspector", self._log
        )
        text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        content: dict[str, Any] = json.loads(text)
        return [layer if isinstance(layer, dict) else {"Name": layer} for layer in content.get("Layers", [])]

    def close(self) -> None:
        """Free contexts, engine and runtime; a second call does nothing."""
        for execution in self._contexts:
            execution.close()
        self._contexts.clear()
        # In this order, while the CUDA context exists.
        if hasattr(self, "_making"):
            self._making.close()
            del self._making
        if hasattr(self, "_engine"):
            del self._engine
        if hasattr(self, "_runtime"):
            del self._runtime

    def _tensors(self) -> list[TensorSpec]:
        engine = self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        return [
            TensorSpec(
                name=name,
                dtype=_DTYPES[engine.get_tensor_dtype(name)],
                shape=shape_of(engine.get_tensor_shape(name)),
            )
            for name in names
        ]


class Execution:
    """One execution context; several of them may be in flight on streams of their own."""

    def __init__(self, context: trt.IExecutionContext, log: Log) -> None:
        self._context = context
        self._log = log

    def bind(self, addresses: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Set every tensor's address in device memory and the shapes of the inputs."""
        context: trt.IExecutionContext = self._context
        for name, shape in shapes.items():
            self._check(context.set_input_shape(name, versions.dims(shape)), f"the shape of '{name}'")
        for name, address in addresses.items():
            self._check(context.set_tensor_address(name, address), f"the address of '{name}'")

    def enqueue(self, stream: int) -> None:
        """Start the network on the stream with this handle."""
        context: trt.IExecutionContext = self._context
        self._check(context.execute_async_v3(stream), "the execution")

    def capturable(self, stream: int) -> bool:
        """Whether `enqueue` can be captured in a graph now."""
        return flavours.capturable(self._context, stream)

    def close(self) -> None:
        """Free the context."""
        del self._context

    def _check(self, accepted: bool, what: str) -> None:  # noqa: FBT001 (TensorRT's answer)
        if not accepted:
            raise BackendError(f"{flavours.in_use().title} refused {what}: {self._log.words()}.")
