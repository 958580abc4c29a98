"""TensorRT and TensorRT for RTX, and all their differences.

The other modules of this package are the same for both. A process uses one of the two: `use` says which
before any of them is imported, TensorRT by default. No library is imported here before
`library` is called.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ast_edge.errors import BackendError, UsageError
from ast_edge.machine.kept import KeptFiles
from ast_edge.wording import install_hint

if TYPE_CHECKING:
    import tensorrt as trt

# Kernels that TensorRT for RTX compiled on a GPU: a file for each plan, GPU and version of the library.
# NVIDIA advises against a runtime cache above 100 MB, which may take longer to read than it saves.
KERNELS = KeptFiles("rtx", ".rtxcache", most_bytes=100_000_000, most_bytes_together=256 << 20)


class Lack(NamedTuple):
    """An option that a library does not have, and what to do instead."""

    option: str
    advice: str


@dataclass(frozen=True)
class Flavour:
    """One of the two libraries.

    `module` is the Python module, `extra` the extra of ast-edge that brings it. `builds_without_gpu` says
    that no driver is needed to build. `lacks` has a field of `Request` for every option that is refused.
    """

    module: str
    title: str
    extra: str
    builds_without_gpu: bool
    lacks: Mapping[str, Lack]

    @property
    def installed(self) -> bool:
        """Whether the Python module is installed; nothing is imported."""
        return importlib.util.find_spec(self.module) is not None

    def need(self, what: str) -> None:
        """Raise UsageError, naming the request `what`, if the module is not installed."""
        if not self.installed:
            raise UsageError(
                f"{what}: the Python package {self.module.replace('_', '-')} is not installed; "
                f"{install_hint(self.extra)}."
            )


TENSORRT = Flavour(
    "tensorrt",
    "TensorRT",
    "tensorrt",
    builds_without_gpu=False,
    lacks={"capabilities": Lack("--gpu", "it builds for the GPU that it runs on; leave it out")},
)
RTX = Flavour(
    "tensorrt_rtx",
    "TensorRT for RTX",
    "rtx",
    builds_without_gpu=True,
    lacks={
        "timing_cache": Lack(
            "--timing-cache", "it measures nothing while it builds, so there is nothing to keep; leave it out"
        ),
        "optimization_level": Lack(
            "--optimization-level", "it chooses its kernels on the GPU that opens the engine; leave it out"
        ),
        "version_compatible": Lack(
            "--version-compatible",
            "its engines run on the version that built them; build again after an update, which takes no GPU",
        ),
        "hardware_compatible": Lack("--hardware-compatible", "name the GPUs with --gpu, or give --gpu all"),
        "dla_core": Lack("--dla", "a Jetson, which has DLAs, takes TensorRT: build there without --for rtx"),
    },
)
_chosen: list[Flavour] = []


def use(flavour: Flavour) -> None:
    """Choose the library of this process. Raises BackendError if the other one is in use."""
    if _chosen and _chosen[0] is not flavour:
        raise BackendError(
            f"this process already uses {_chosen[0].title}, and {flavour.title} needs one of its own: run "
            "engines of the two kinds in separate processes."
        )
    _chosen[:] = [flavour]


def in_use() -> Flavour:
    """The library of this process."""
    return _chosen[0] if _chosen else TENSORRT


def library() -> Any:
    """The Python module of the library in use, imported."""
    if in_use() is RTX:
        import tensorrt_rtx  # noqa: PLC0415 (one of the two, and only where it is used)

        return tensorrt_rtx
    import tensorrt  # noqa: PLC0415

    use(TENSORRT)
    return tensorrt


def refuse_lacking(request: object) -> None:
    """Raise UsageError for an attribute of `request` without an option in the library in use."""
    flavour = in_use()
    for name, lack in flavour.lacks.items():
        value = getattr(request, name, None)
        if not (value is None or value is False or value == ()):  # 0 is a level, and the first DLA
            raise UsageError(f"{lack.option}: {flavour.title} has no such option: {lack.advice}.")


def node_of(error: trt.ParserError) -> str:
    """The ONNX node of a parser's error: its name and operator if the library reports them."""
    if in_use() is RTX:
        found: Any = error
        return f"{found.node_name()} ({found.node_operator()})" if found.node_operator() else "of the graph"
    return str(error.node())


class Contexts:
    """Creates the execution contexts of an engine and keeps their compiled kernels between starts.

    TensorRT compiles at build time, TensorRT for RTX when a context is created or first run: `key`
    names the file that keeps it, None keeps nothing.
    """

    def __init__(self, engine: Any, key: str | None) -> None:
        self._engine, self._key = engine, key
        self._config: Any = None
        self._cache: Any = None
        self._kept = b""
        if in_use() is RTX:
            self._prepare()

    def make(self) -> Any:
        """A context, or None with the reason in the log."""
        engine: trt.ICudaEngine = self._engine
        if self._config is None:
            return engine.create_execution_context()
        return self._engine.create_execution_context(self._config)

    def keep(self) -> None:
        """Save the kernels compiled so far, if there are more than before."""
        if self._cache is None or self._key is None:
            return
        serialized = self._cache.serialize()
        content = b"" if serialized is None else bytes(memoryview(serialized))
        if content and content != self._kept:
            KERNELS.keep(self._key, content)
            self._kept = content

    def close(self) -> None:
        """Release settings and cache, before the engine."""
        self._config = self._cache = self._engine = None

    def _prepare(self) -> None:
        config = self._engine.create_runtime_config()
        cache = None if config is None else config.create_runtime_cache()
        if cache is None:
            raise BackendError(
                f"{in_use().title} did not make the runtime's settings; the GPU's memory may be full."
            )
        if self._key is not None and (kept := KERNELS.read(self._key)) and cache.deserialize(kept):
            self._kept = kept  # refused after a change of the driver: kernels are compiled again
        # Compile all kernels before the first part, none between parts.
        strategy = library().DynamicShapesKernelSpecializationStrategy
        config.dynamic_shapes_kernel_specialization_strategy = strategy.EAGER
        if not config.set_runtime_cache(cache):
            raise BackendError(f"{in_use().title} refused its runtime cache; update tensorrt-rtx.")
        self._config, self._cache = config, cache


def capturable(context: Any, stream: int) -> bool:
    """Whether a run of `context` on the stream may be captured in a CUDA graph."""
    return in_use() is not RTX or bool(context.is_stream_capturable(stream))


def set_capabilities(config: Any, capabilities: Sequence[str]) -> None:
    """Build for GPUs of these compute capabilities ("8.9"), or for this machine's GPU without any.

    Raises UsageError for one that this version does not know.
    """
    if not capabilities:
        return
    known = library().ComputeCapability.__members__
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        value = known.get("SM" + capability.replace(".", ""))
        if value is None or not config.set_compute_capability(value, index):
            names = ", ".join(name for name in known if name.startswith("SM"))
            raise UsageError(
                f"--gpu: {in_use().title} {library().__version__} builds nothing for GPUs of compute "
                f"capability {capability}, only for {names}; others take TensorRT."
            )
