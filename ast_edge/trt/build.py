"""ONNX file to plan. TensorRT needs a current CUDA context, TensorRT for RTX does not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ast_edge.errors import BackendError, UsageError
from ast_edge.files import claim, write_bytes
from ast_edge.model.engine_info import Batch
from ast_edge.model.manifest import Precision
from ast_edge.trt import flavours, versions
from ast_edge.trt.layers import listed
from ast_edge.trt.log import Log

if TYPE_CHECKING:
    import tensorrt as trt
else:
    trt = flavours.library()

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Request:
    """What to build: `half` are the name prefixes of the layers that an FP16 graph holds in FP16.

    `tell` gets every step of the work that TensorRT reports (phase, step, of how many) and stops the build by
    answering False. `layers` keeps what the layer report needs in the plan. `capabilities` are the GPUs to
    build for, as "8.9"; without them, the GPU that is here.
    """

    onnx: Path
    precision: Precision
    batch: Batch
    workspace_bytes: int
    half: Sequence[str]
    timing_cache: Path | None
    tell: Callable[[str, int, int], bool]
    optimization_level: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    dla_core: int | None = None
    layers: bool = False
    capabilities: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Parsed:
    """A layer of the network as it was parsed: name, kind ("CONVOLUTION"), types of its outputs ("HALF")."""

    name: str
    kind: str
    types: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Built:
    """The plan's bytes, and how many layers did not fit DLA (None without it).

    Where `layers` was asked for, the layers that were `parsed`, and those that were `compiled` of them, with
    the keys of TensorRT's inspector, as far as the builder lists them.
    """

    plan: memoryview
    dla_fallback_layers: int | None
    parsed: Sequence[Parsed] = ()
    compiled: Sequence[dict[str, Any]] = ()


def build_plan(request: Request, log: Log) -> Built:
    """Parse, configure, build. Raises BackendError with TensorRT's own words, UsageError for a request that
    this version or board cannot fulfil.
    """
    flavours.refuse_lacking(request)
    builder: trt.Builder = new_builder(log)
    network: trt.INetworkDefinition = made(
        builder.create_network(versions.network_flags()), "the network", log
    )
    _parse(network, request.onnx, log)
    config: trt.IBuilderConfig = made(builder.create_builder_config(), "the builder's settings", log)
    _set_batch(builder, network, config, request.batch, log)
    _configure(network, config, request)
    fallback = None
    if request.dla_core is not None:
        fallback = _use_dla(builder, network, config, request)
    parsed = _parsed(network) if request.layers else ()
    monitor = _monitor(config, request.tell)
    with _timing_cache(config, request.timing_cache, log):
        plan: Any = builder.build_serialized_network(network, config)
        if plan is None:
            stopped = monitor is not None and monitor.stopped
            why = "it was interrupted" if stopped else log.words()
            raise BackendError(f"{request.onnx}: {flavours.in_use().title} built no engine: {why}.")
    return Built(memoryview(plan), fallback, parsed, listed(log.layers))


def new_builder(log: Log) -> trt.Builder:
    """A builder. Raises BackendError if TensorRT makes none, for example with a driver that is too old."""
    return constructed(lambda: trt.Builder(log), "the builder", log)


def check_driver(log: Log) -> None:
    """Check the driver by creating a builder. Raises BackendError if TensorRT refuses."""
    new_builder(log)


def constructed(make: Callable[[], _Made], what: str, log: Log) -> _Made:
    """Call a constructor of TensorRT. Raises BackendError with its reason if it returns nothing.

    Functions return None then, but constructors raise TypeError (a factory that returned a null pointer).
    """
    try:
        return make()
    except TypeError as exc:
        raise BackendError(f"{flavours.in_use().title} did not make {what}: {log.words()}.") from exc


def made(thing: _Made | None, what: str, log: Log) -> _Made:
    """`thing`, unless TensorRT returned None. Raises BackendError with its reason."""
    if thing is None:
        raise BackendError(f"{flavours.in_use().title} did not make {what}: {log.words()}.")
    return thing


def shape_of(dims: Any) -> tuple[int, ...]:
    """TensorRT's `Dims` is a sequence that does not say so."""
    return tuple(dims)


def _parse(network: trt.INetworkDefinition, path: Path, log: Log) -> None:
    parser: trt.OnnxParser = constructed(lambda: trt.OnnxParser(network, log), "the ONNX parser", log)
    if parser.parse_from_file(str(path)):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    words = "; ".join(_describe_error(error) for error in errors) or log.words()
    library = f"{flavours.in_use().title} {trt.__version__}"
    raise BackendError(f"{path}: {library} cannot read the network: {words}.")


def _describe_error(error: trt.ParserError) -> str:
    return f"node {flavours.node_of(error)}: {' '.join(error.desc().split())} ({error.code()})"


def _set_batch(
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    config: trt.IBuilderConfig,
    batch: Batch,
    log: Log,
) -> None:
    """Write a fixed batch into the network, so that every shape is known before it runs."""
    inputs: list[trt.ITensor] = [network.get_input(index) for index in range(network.num_inputs)]
    free = [tensor for tensor in inputs if tensor.shape[0] == -1]
    if len(free) != len(inputs):
        fixed = next(tensor.shape[0] for tensor in inputs if tensor.shape[0] != -1)
        if batch.size != fixed:
            raise UsageError(f"--batch: this model was exported for batches of {fixed} and takes no other.")
        return
    shapes = {tensor.name: shape_of(tensor.shape)[1:] for tensor in inputs}
    if batch.size != -1:
        for tensor in inputs:
            tensor.shape = versions.dims((batch.size, *shapes[tensor.name]))
        return
    profile: trt.IOptimizationProfile = made(builder.create_optimization_profile(), "the profile", log)
    for name, rest in shapes.items():
        sizes = (versions.dims((size, *rest)) for size in (batch.least, batch.usual, batch.most))
        profile.set_shape(name, *sizes)
    if config.add_optimization_profile(profile) < 0:
        raise BackendError(f"TensorRT refused the batch range: {log.words()}.")


def _configure(network: trt.INetworkDefinition, config: trt.IBuilderConfig, request: Request) -> None:
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    # TF32 has FP16's ten bits of mantissa; FP32 in the graph means FP32.
    config.clear_flag(trt.BuilderFlag.TF32)
    flavours.set_capabilities(config, request.capabilities)
    versions.set_precision(network, config, request.precision, request.half)
    if request.layers:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if request.optimization_level is not None:
        versions.set_optimization_level(config, request.optimization_level)
    if request.version_compatible:
        versions.set_version_compatible(config)
    if request.hardware_compatible:
        versions.set_hardware_compatible(config)


def _parsed(network: trt.INetworkDefinition) -> list[Parsed]:
    layers: list[trt.ILayer] = [network.get_layer(index) for index in range(network.num_layers)]
    found = []
    for layer in layers:
        outputs: list[trt.ITensor] = [layer.get_output(index) for index in range(layer.num_outputs)]
        found.append(Parsed(layer.name, layer.type.name, tuple(output.dtype.name for output in outputs)))
    return found


def _use_dla(
    builder: trt.Builder, network: trt.INetworkDefinition, config: trt.IBuilderConfig, request: Request
) -> int:
    """Use a deep-learning accelerator where possible; returns the number of layers that it cannot run."""
    if request.dla_core is None or not 0 <= request.dla_core < builder.num_DLA_cores:
        raise UsageError(f"--dla {request.dla_core}: this machine has {builder.num_DLA_cores} DLA cores.")
    if request.precision == "fp32":
        raise UsageError("--dla: a DLA computes in FP16 or INT8 only; leave out --precision fp32.")
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = request.dla_core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    layers = (network.get_layer(index) for index in range(network.num_layers))
    return sum(not config.can_run_on_DLA(layer) for layer in layers)


def _monitor(config: trt.IBuilderConfig, tell: Callable[[str, int, int], bool]) -> Any:
    """Send TensorRT's progress to `tell` if this version reports it; returns the monitor, or None."""
    base = versions.optional("IProgressMonitor")
    if base is None:
        return None

    class Monitor(base):  # type: ignore[misc, valid-type]  # the base exists in some versions only
        """Called from TensorRT's threads."""

        def __init__(self) -> None:
            base.__init__(self)
            self.stopped = False
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self.steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self.steps and not tell(phase_name, step + 1, self.steps[phase_name]):
                self.stopped = True
            return not self.stopped

        def phase_finish(self, phase_name: str) -> None:
            if (steps := self.steps.pop(phase_name, None)) is not None:
                tell(phase_name, steps, steps)

    monitor = Monitor()
    config.progress_monitor = monitor
    return monitor


@contextlib.contextmanager
def _timing_cache(config: trt.IBuilderConfig, path: Path | None, log: Log) -> Iterator[None]:
    """Build with the measurements in `path`, and add this build's to them.

    The file is locked only while it is read and written: what others measured meanwhile is merged in. One
    of another GPU or TensorRT is refused by TensorRT itself and written again.
    """
    if path is None:
        yield
        return
    cache: trt.ITimingCache = made(config.create_timing_cache(_read(path)), "the timing cache", log)
    if not config.set_timing_cache(cache, ignore_mismatch=False):
        cache = made(config.create_timing_cache(b""), "the timing cache", log)
        config.set_timing_cache(cache, ignore_mismatch=False)
    yield
    measured: trt.ITimingCache = made(config.get_timing_cache(), "the timing cache", log)
    with claim(path.with_name(path.name + ".lock"), wait=True):
        others = config.create_timing_cache(_read(path))
        if others is not None:
            measured.combine(others, ignore_mismatch=False)
        content: Any = made(measured.serialize(), "the timing cache's bytes", log)
        write_bytes(path, bytes(content))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
