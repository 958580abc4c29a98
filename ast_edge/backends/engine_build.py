"""Model file to TensorRT engine, on the device that will run it.

The order is: what this machine has (without a usable driver a TensorRT object ends the process), the model
and its precision, the plan, the proof on the reference vectors, the files. Where one step fails, there is no
engine.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast_edge.backends.proof import SCORE_TOLERANCE, Parity, prove
from ast_edge.cuda.device import Device, find_device, missing_for_tensorrt
from ast_edge.cuda.driver import free_memory, primary_context
from ast_edge.cuda.owner import Owner
from ast_edge.errors import AstEdgeError, BackendError, ParityError, UsageError, reason
from ast_edge.files import cache_root, write_text
from ast_edge.model.engine_file import EngineFile, content_of, write_engine_file
from ast_edge.model.engine_info import Batch, Build, EngineInfo, Kernels, Proven
from ast_edge.model.manifest import Precision
from ast_edge.model.onnx_file import HALF_SCOPES, ModelFile, read_model_file
from ast_edge.model.references import load_references
from ast_edge.trt import flavours
from ast_edge.version import VERSION
from ast_edge.wording import install_hint

if TYPE_CHECKING:
    from ast_edge.backends.tensorrt import TensorRtBackend

_HOW_TO_GET_THEM = (
    "on a Jetson it comes with JetPack (`sudo apt install nvidia-jetpack`, then a virtual environment made "
    "with --system-site-packages), on a desktop with the NVIDIA driver and "
    f"{install_hint('tensorrt')}"
)
_MIB = 1 << 20
_MOST_WORKSPACE_MIB = 4096  # more has bought nothing for networks of this size
ONE = Batch(least=1, usual=1, most=1)


@dataclass(frozen=True)
class Options:
    """What `build_engine` is asked for.

    `timing_cache` None takes the one of this GPU and TensorRT in the cache folder. `verify` False leaves out
    the proof; `report` is where the layer report goes. `tell` gets every step of TensorRT's progress (phase,
    step, of how many) and stops the build by answering False.
    """

    precision: Precision = "fp16"
    batch: Batch = ONE
    workspace_mib: int | None = None
    timing_cache: Path | None = None
    optimization_level: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    dla_core: int | None = None
    verify: bool = True
    report: Path | None = None
    tell: Callable[[str, int, int], bool] = lambda *_: True
    say: Callable[[str], None] = lambda _: None


def build_engine(model: Path, output: Path | None = None, options: Options | None = None) -> EngineFile:
    """Build the engine of the model file `model`, prove it, and write it to `output`.

    `output` is by default the model's path with the suffix `.engine`. Raises UsageError for impossible
    requests, ModelError when a file is refused, BackendError when this machine lacks something or TensorRT
    fails, ParityError when the engine does not reproduce the reference vectors. Then no engine is left.
    """
    options = options or Options()
    target = engine_path(model, output)
    file = read_model_file(model)
    if missing := missing_for_tensorrt():
        raise BackendError(
            f"{target} cannot be built on this machine: {' and '.join(missing)}; {_HOW_TO_GET_THEM}."
        )
    device = find_device()
    source = in_precision(file, options.precision, options.say)
    make_folder(target.parent)
    flavours.use(flavours.TENSORRT)
    return _Builder(source, target, device, options).build()


def in_precision(file: ModelFile, precision: Precision, say: Callable[[str], None]) -> ModelFile:
    """The model file that holds `file`'s network in `precision`: itself, the one beside it, or, for FP16, one
    written beside it now.

    Raises UsageError when there is none and none can be made.
    """
    if file.manifest.precision == precision:
        return file
    beside = _beside(file.path, precision)
    if beside.exists():
        found = read_model_file(beside)
        if found.manifest.reference_sha256 != file.manifest.reference_sha256:
            raise UsageError(
                f"{beside}: belongs to another export than {file.path.name}; export both again, or move it "
                "away."
            )
        return found
    if precision != "fp16" or file.manifest.precision != "fp32":
        raise UsageError(
            f"{file.path}: is {file.manifest.precision}, and there is no {beside.name} beside it; make one "
            f"with `ast-edge export RUN -o {_beside(file.path, 'fp32').name} --precision {precision}`."
        )
    if importlib.util.find_spec("onnx") is None:
        raise UsageError(
            f"{file.path}: there is no {beside.name} beside it, and the Python package onnx, which could "
            f"make one, is not installed: copy {beside.name} from the export, `pip install onnx`, or build "
            "with --precision fp32."
        )
    from ast_edge.backends.mixed_precision import write_mixed_precision  # noqa: PLC0415 (imports onnx)

    made = write_mixed_precision(file, beside)
    say(f"{beside}: written, {file.path.name} in mixed precision")
    return made


def _beside(path: Path, precision: Precision) -> Path:
    stem = path.stem.removesuffix(".fp16").removesuffix(".int8")
    return path.with_name(f"{stem}.onnx" if precision == "fp32" else f"{stem}.{precision}.onnx")


def engine_path(model: Path, output: Path | None) -> Path:
    """Where the engine goes. Raises UsageError for another suffix than `.engine`, or a folder."""
    target = model.with_suffix(".engine") if output is None else output
    if target.suffix != ".engine":
        raise UsageError(f"{target}: an engine file ends in .engine; give another path with -o.")
    if target.is_dir():
        raise UsageError(f"{target}: this is a folder; give the path of the engine file with -o.")
    return target


def make_folder(folder: Path) -> None:
    """Make the folder that an engine goes to. Raises UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"{folder}: the folder cannot be made ({reason(exc)}).") from exc


def workspace_mib(free_bytes: int, asked: int | None) -> int:
    """MiB that TensorRT may use while it tries layers: half of what is free, at most 4096, or what is asked.

    Raises UsageError when more is asked for than is free.
    """
    free = free_bytes // _MIB
    if asked is None:
        return max(1, min(_MOST_WORKSPACE_MIB, free // 2))
    if asked > free:
        raise UsageError(f"--workspace-mib {asked}: only {free} MiB of the GPU's memory are free.")
    return asked


@dataclass(frozen=True)
class _Builder:
    """One build; imports TensorRT, which was found."""

    source: ModelFile
    target: Path
    device: Device
    options: Options

    def build(self) -> EngineFile:
        from ast_edge.backends.tensorrt import TensorRtBackend, this_machine  # noqa: PLC0415
        from ast_edge.cuda.compile import compiled_kernels, source_sha256  # noqa: PLC0415

        options, manifest = self.options, self.source.manifest
        machine = this_machine(self.device)
        kernels = compiled_kernels(self.device.architecture)
        plan, build = self._plan(machine.tensorrt)
        backend = TensorRtBackend.of_plan(plan, manifest, build, self.device)
        with backend:
            proven = self._proven(backend) if options.verify else None
            if options.report is not None:
                write_text(options.report, json.dumps(layer_report(backend.layers()), indent=1) + "\n")
        info = EngineInfo(
            source=self.source.path.name,
            manifest=manifest,
            plan=content_of(plan),
            kernels=Kernels(
                **content_of(kernels).model_dump(),
                source_sha256=source_sha256(),
                architecture=self.device.architecture,
            ),
            built_for=machine,
            build=build,
            proven=proven,
            built=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            ast_edge=VERSION,
        )
        return write_engine_file(self.target, plan, kernels, info)

    def _plan(self, tensorrt: str) -> tuple[memoryview, Build]:
        """The plan, built on a thread that owns a context of its own, and what it was built with."""
        from ast_edge.trt.build import Request, build_plan  # noqa: PLC0415
        from ast_edge.trt.log import Log  # noqa: PLC0415

        options = self.options
        owner = Owner(partial(primary_context, self.device.index), "ast-edge-build")
        try:
            free = owner.call(free_memory)
            mib = workspace_mib(free, options.workspace_mib)
            options.say(f"workspace: up to {mib} MiB of {free // _MIB} MiB that are free")
            request = Request(
                onnx=self.source.path,
                precision=options.precision,
                batch=options.batch,
                workspace_bytes=mib * _MIB,
                half=HALF_SCOPES,
                timing_cache=options.timing_cache or self._usual_timing_cache(tensorrt),
                tell=options.tell,
                optimization_level=options.optimization_level,
                version_compatible=options.version_compatible,
                hardware_compatible=options.hardware_compatible,
                dla_core=options.dla_core,
                layers=options.report is not None,
            )
            built = owner.call(partial(build_plan, request, Log()))
        finally:
            owner.close()
        if built.dla_fallback_layers is not None:
            options.say(f"DLA: {built.dla_fallback_layers} layers do not fit it and run on the GPU")
        return built.plan, Build(
            precision=options.precision,
            batch=options.batch,
            workspace_mib=mib,
            optimization_level=options.optimization_level,
            version_compatible=options.version_compatible,
            hardware_compatible=options.hardware_compatible,
            dla_core=options.dla_core,
            dla_fallback_layers=built.dla_fallback_layers,
        )

    def _usual_timing_cache(self, tensorrt: str) -> Path:
        gpu = "".join(c if c.isalnum() else "-" for c in self.device.name)
        return cache_root() / "timing" / f"{gpu}-{self.device.architecture}-{tensorrt}.timing"

    def _proven(self, backend: TensorRtBackend) -> Proven:
        references, where = load_references(self.source)
        parity = prove(
            backend, references, self.source.manifest, SCORE_TOLERANCE[self.source.manifest.precision]
        )
        if not parity.ok:
            raise _not_proven(self.target, backend.name, parity)
        self.options.say(f"proven on {parity.count} reference vectors ({where})")
        return parity.proven


def _not_proven(target: Path, engine: str, parity: Parity) -> AstEdgeError:
    return ParityError(
        f"{target}: {engine} does not reproduce the reference vectors: {parity.differences}; "
        "no engine was written: build with --precision fp32, or with another version of TensorRT."
    )


def layer_report(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """What `--report` writes: every layer of the plan with its precision, tactic and what was fused into it.

    `layers` are those of TensorRT's inspector, whose keys differ between versions; each is kept whole under
    `raw`. `by_precision` counts the layers.
    """
    rows = [
        {
            "name": layer.get("Name", ""),
            "type": layer.get("LayerType", layer.get("ParameterType")),
            "precision": _precision(layer),
            "tactic": layer.get("TacticName") or layer.get("TacticValue"),
            "fused": _fused(layer),
            "raw": layer,
        }
        for layer in layers
    ]
    count: dict[str, int] = {}
    for row in rows:
        count[row["precision"]] = count.get(row["precision"], 0) + 1
    return {"by_precision": count, "layers": rows}


def _precision(layer: dict[str, Any]) -> str:
    """Of the first output; TensorRT writes it into a format such as "Half NCHW", or apart as a data type."""
    outputs = layer.get("Outputs") or [{}]
    words = f"{outputs[0].get('Format/Datatype', '')} {outputs[0].get('Datatype', '')}".upper()
    for name, marks in _MARKS.items():
        if any(mark in words for mark in marks):
            return name
    return "other"


_MARKS = {
    "fp16": ("FP16", "HALF"),
    "int8": ("INT8",),
    "fp32": ("FP32", "FLOAT"),
}


def _fused(layer: dict[str, Any]) -> list[str]:
    """Names of the ONNX nodes in a layer, where TensorRT kept them."""
    metadata = str(layer.get("Metadata") or "")
    marked = [part.partition("]")[0] for part in metadata.split("[ONNX Layer: ")[1:]]
    return marked or [name for name in str(layer.get("Name", "")).split(" + ") if name]
