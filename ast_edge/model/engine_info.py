"""The record of an engine: what the plan was built from, with which settings, and where it may run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ast_edge.model.manifest import Manifest, Positive, Precision, Sha256
from ast_edge.model.seal import sealed

FORMAT_VERSION = 2
_AMPERE = (8, 0)
_MAX_NAME_BYTES = 255


def _file_name(name: str) -> str:
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise ValueError("expected the name of a file without its folder")
    if len(name.encode("utf-8", "replace")) > _MAX_NAME_BYTES:
        raise ValueError(f"expected a file name of at most {_MAX_NAME_BYTES} bytes")
    return name


FileName = Annotated[str, AfterValidator(_file_name)]
Capability = Annotated[str, Field(pattern=r"^\d{1,2}\.\d$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Content(_Strict):
    """Size and SHA-256 of a file."""

    bytes: Positive
    sha256: Sha256


class Kernels(Content):
    """Compiled kernels: digest of their source, and their architecture ("sm_87")."""

    source_sha256: Sha256
    architecture: str


class BuiltFor(_Strict):
    """The machine that a plan was built on; versions as reported by the libraries."""

    gpu: str
    compute_capability: str
    driver: str
    tensorrt: str
    integrated: bool


class BuiltForRtx(_Strict):
    """The GPUs that a plan of TensorRT for RTX serves, as ("8.6", "8.9"), wherever it was built."""

    tensorrt_rtx: str
    compute_capabilities: Annotated[tuple[Capability, ...], Field(min_length=1)]
    proof: Literal["pending"] = "pending"


class Batch(_Strict):
    """Smallest, usual and largest number of parts at once; three equal numbers mean a fixed batch."""

    least: Positive
    usual: Positive
    most: Positive

    @property
    def size(self) -> int:
        """The fixed batch size, or -1."""
        return self.least if self.least == self.most else -1


class Build(_Strict):
    """The settings of the builder."""

    precision: Precision
    batch: Batch
    workspace_mib: Positive
    optimization_level: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    dla_core: int | None = None
    dla_fallback_layers: int | None = None


class Proven(_Strict):
    """The errors of the engine on the reference vectors when it was built."""

    vectors: Positive
    max_relative_score_error: Annotated[float, Field(ge=0)]
    max_absolute_map_error: Annotated[float, Field(ge=0)]
    tolerance: Annotated[float, Field(gt=0)]


class EngineInfo(_Strict):
    """The sidecar. `proven` is None for an engine built with --no-verify, and for TensorRT for RTX."""

    format_version: Literal[1, 2] = 2  # of the file that it was read from
    source: FileName  # of the ONNX file
    manifest: Manifest
    plan: Content
    kernels: Kernels | None
    built_for: BuiltFor | BuiltForRtx
    build: Build
    proven: Proven | None
    built: str
    ast_edge: str

    @property
    def rtx(self) -> BuiltForRtx | None:
        """What is special about an engine of TensorRT for RTX; None for one of TensorRT."""
        return self.built_for if isinstance(self.built_for, BuiltForRtx) else None

    def to_json(self) -> str:
        """The sealed JSON text."""
        content = self.model_dump(mode="json", exclude={"manifest"})
        content |= {"format_version": FORMAT_VERSION, "manifest": self.manifest.content()}
        return sealed(content, indent=1) + "\n"


def why_unfit(info: EngineInfo, machine: BuiltFor) -> str | None:
    """Describe why a plan must not be loaded on `machine`; None if it may.

    TensorRT: the same version, or the same and later ones for a version-compatible plan. GPU: the same name
    and compute capability, or any from Ampere on for a hardware-compatible plan (TensorRT's own rule).
    TensorRT for RTX: the same version, and a GPU that the plan serves.
    """
    built = info.built_for
    if isinstance(built, BuiltForRtx):
        return _why_unfit_rtx(built, machine)
    return _why_unfit(built, info.build, machine)


def _why_unfit(built: BuiltFor, build: Build, machine: BuiltFor) -> str | None:
    if build.version_compatible:
        if version_tuple(machine.tensorrt)[:2] < version_tuple(built.tensorrt)[:2]:
            return (
                f"it was built with TensorRT {built.tensorrt}, this machine has the older {machine.tensorrt}"
            )
    elif machine.tensorrt != built.tensorrt:
        return f"it was built with TensorRT {built.tensorrt}, this machine has {machine.tensorrt}"
    if build.hardware_compatible:
        if version_tuple(machine.compute_capability) < _AMPERE:
            return f"it needs a GPU from Ampere on (8.0), this one has {machine.compute_capability}"
        return None
    if (machine.gpu, machine.compute_capability) != (built.gpu, built.compute_capability):
        return (
            f"it was built for {built.gpu} ({built.compute_capability}), this machine has {machine.gpu} "
            f"({machine.compute_capability})"
        )
    return None


def _why_unfit_rtx(built: BuiltForRtx, machine: BuiltFor) -> str | None:
    if machine.tensorrt != built.tensorrt_rtx:
        return f"it was built with TensorRT for RTX {built.tensorrt_rtx}, this machine has {machine.tensorrt}"
    if machine.compute_capability not in built.compute_capabilities:
        return (
            f"it was built for GPUs of compute capability {', '.join(built.compute_capabilities)}, this "
            f"machine has {machine.gpu} ({machine.compute_capability})"
        )
    return None


def version_tuple(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: (10, 3, 0) of "10.3.0.post1"."""
    numbers = []
    for part in text.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
