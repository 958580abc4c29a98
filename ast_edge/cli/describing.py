"""Output of `ast-edge info`: a description of a model, an engine or a training run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ast_edge.backends.fastest import kept_here
from ast_edge.cli.reporting import table
from ast_edge.model.engine_choice import Kept
from ast_edge.model.engine_file import AnyModel, EngineFile, read_any
from ast_edge.model.engine_info import BuiltForRtx, Proven
from ast_edge.model.engine_proof import proofs_of
from ast_edge.model.manifest import Manifest, ModelSpec, PastCalibration, Range, TensorSpec, TrainedRange
from ast_edge.model.seal import NO_SIGNATURE
from ast_edge.verdict.threshold import statement


@dataclass(frozen=True)
class Described:
    """A file or run folder and the settings that determine its verdicts; `size` in bytes, 0 for a folder."""

    path: Path
    size: int
    spec: ModelSpec
    versions: Mapping[str, str] = field(default_factory=dict)
    engine: EngineFile | None = None
    kept: Kept | None = None

    @classmethod
    def of_file(cls, model: AnyModel) -> Described:
        """Describe a model or an engine."""
        engine = model if isinstance(model, EngineFile) else None
        kept = None if isinstance(model, EngineFile) else kept_here(model)
        return cls(model.path, model.size, model.manifest, model.manifest.versions, engine, kept)


def describe(path: Path) -> Described:
    """Describe `path`. Raises ModelError or RunError when it is refused."""
    if not path.is_dir():
        return Described.of_file(read_any(path))
    from ast_edge.train.run import Run  # needs torch, which models do not

    run = Run(path)
    return Described(path, 0, run.spec(), run.config().versions)


def info_json(found: Described) -> str:
    """Return path, size in bytes, manifest and the threshold's statement as one JSON object."""
    content: dict[str, object] = {
        "path": str(found.path),
        "size_bytes": found.size,
        "threshold_statement": statement(found.spec.threshold),
        "seal": NO_SIGNATURE if isinstance(found.spec, Manifest) else None,
        "manifest": found.spec.model_dump(mode="json"),
    }
    if found.engine is not None:
        content["engine"] = found.engine.info.model_dump(mode="json", exclude={"manifest"})
        content["proofs"] = [proof.model_dump(mode="json") for proof in proofs_of(found.engine)]
    if found.kept is not None:
        choice = found.kept.choice
        content["choice"] = None if choice is None else choice.model_dump(mode="json")
        content["choice_void"] = found.kept.void
    return json.dumps(content, allow_nan=False)


def info_text(found: Described) -> str:
    """Format the manifest as lines of text."""
    return table(_rows(found))


def differences_text(first: Described, second: Described) -> str:
    """Format the rows in which two descriptions differ, one below the other."""
    ones, others = _by_name(first), _by_name(second)
    lines = []
    for name in dict.fromkeys([*ones, *others]):
        one, other = ones.get(name, "-"), others.get(name, "-")
        if one != other:
            lines += [(name, one), ("", other)]
    return table(lines)


def _by_name(found: Described) -> dict[str, str]:
    rows: dict[str, str] = {}
    above = ""
    for name, text in _rows(found):
        above = name or above  # a row without a name continues the row above
        rows[above] = f"{rows[above]}; {text}" if above in rows else text
    return rows


def _rows(found: Described) -> list[tuple[str, str]]:
    spec = found.spec
    data, threshold = spec.training_data, spec.threshold
    return [
        *_identity(found),
        *(_engine(found.engine) if found.engine is not None else ()),
        *(_choice(found.kept) if found.kept is not None else ()),
        ("frame", _frame(spec)),
        ("pictures", "from files are rotated by their EXIF orientation"),
        *((("good parts", _seen(spec.trained)),) if spec.trained is not None else ()),
        ("score", f"{spec.aggregation} of the anomaly map"),
        ("threshold", f"{threshold.value:.6g} (score), {threshold.pixel_value:.6g} (map)"),
        ("margin", f"{threshold.margin:.3g} above the score of a good part, to allow for engine differences"),
        ("", statement(threshold)),
        *_calibrations(spec),
        ("trained on", f"{data.train_parts} good parts, {data.holdout_parts} held out ({data.layout})"),
        ("data", f"fingerprint {data.fingerprint}"),
        ("created", f"{_made(spec)}with {_versions(found.versions)}"),
        *((("seal", NO_SIGNATURE),) if isinstance(spec, Manifest) else ()),
    ]


def _identity(found: Described) -> list[tuple[str, str]]:
    spec = found.spec
    network = f"mode {spec.mode}, preset {spec.preset}, {spec.backbone}"
    if not isinstance(spec, Manifest):
        return [("run", str(found.path)), ("network", network)]
    return [
        ("model", f"{found.path} ({found.size / 1e6:.1f} MB, format {spec.format_version})"),
        ("id", spec.model_id),
        ("network", f"{network}, {spec.precision}"),
        ("inputs", _tensors(spec.inputs)),
        ("outputs", _tensors(spec.outputs)),
    ]


def _engine(engine: EngineFile) -> Iterator[tuple[str, str]]:
    """Describe where an engine may run, how it was built, and on which machines it was proven."""
    info = engine.info
    built, batch = info.built_for, info.build.batch
    if isinstance(built, BuiltForRtx):
        yield "engine", f"TensorRT for RTX {built.tensorrt_rtx}, for {', '.join(built.compute_capabilities)}"
    else:
        yield "engine", f"TensorRT {built.tensorrt}, for {built.gpu} ({built.compute_capability})"
    size = f"{batch.least}" if batch.size > 0 else f"{batch.least} to {batch.most}, usually {batch.usual}"
    yield "built", f"{info.built} from {info.source}, {info.build.precision}, parts at once: {size}"
    if info.proven is not None:
        yield "proven", f"when built: {_proven(info.proven)}"
    proofs = proofs_of(engine) if isinstance(built, BuiltForRtx) else []
    for proof in proofs:
        yield "proven", f"{proof.at} on {proof.machine.gpu}: {_proven(proof.proven)}"
    if info.proven is None and not proofs:
        yield "proven", "not yet on any machine; `ast-edge verify` does it on one with the GPU"


def _choice(kept: Kept) -> Iterator[tuple[str, str]]:
    """Describe which engine runs the model on this machine, where that was measured."""
    if kept.choice is not None:
        yield "choice", str(kept.choice)
    elif kept.void is not None:
        yield "choice", f"void: {kept.void}; ONNX Runtime runs the model"


def _proven(proven: Proven) -> str:
    return (
        f"{proven.vectors} reference vectors, score within {proven.max_relative_score_error:.1e} relative "
        f"(limit {proven.tolerance:.0e})"
    )


def _made(spec: ModelSpec) -> str:
    return f"{spec.created} " if isinstance(spec, Manifest) else ""


def _calibrations(spec: ModelSpec) -> list[tuple[str, str]]:
    """Describe every threshold that the model has had, the one in force first."""
    if spec.calibration is None:
        return []
    current = PastCalibration(threshold=spec.threshold, calibration=spec.calibration)
    earlier = spec.earlier if isinstance(spec, Manifest) else ()
    rows = []
    for past in (current, *reversed(earlier)):
        calibration, threshold = past.calibration, past.threshold
        who = f", {calibration.operator}" if calibration.operator else ""
        when = f", {calibration.made}" if calibration.made else ""
        text = (
            f"{threshold.value:.6g} from {threshold.good_parts} good parts ({calibration.origin}{who}{when})"
        )
        rows.append((f"revision {calibration.revision}", text))
    return rows


def _tensors(specs: Iterable[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.dtype} {_shape(spec)}" for spec in specs)


def _shape(spec: TensorSpec) -> str:
    return "[" + ",".join("N" if size == -1 else str(size) for size in spec.shape) + "]"


def _frame(spec: ModelSpec) -> str:
    settings = spec.preprocessing
    crop = settings.crop
    area = "whole frame" if crop is None else f"crop {crop.width}x{crop.height} at x {crop.x}, y {crop.y}"
    text = f"{area}, resized to {settings.image_size}x{settings.image_size} ({settings.resize})"
    if settings.roi is not None:
        share = 100 * settings.roi.pixels(settings.image_size).mean()
        text += f"; {share:.1f} % of it is looked at, by a mask"
    if settings.depth is None:
        return text
    depth = settings.depth
    return f"{text}; part: {1000 * depth.foreground_min_m:g} mm from the background, {depth.mask} mask"


def _seen(trained: TrainedRange) -> str:
    """Describe the range of good parts' frames; a frame outside it is a fault."""
    text = f"{_range(trained.width)} x {_range(trained.height)} pixels"
    for name, found in (("brightness", trained.brightness), ("contrast", trained.contrast)):
        text += "" if found is None else f", {name} {_range(found)}"
    return f"{text}; a frame outside this range is a fault"


def _range(found: Range) -> str:
    return f"{found.low:.4g}" if found.low == found.high else f"{found.low:.4g} to {found.high:.4g}"


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or "unknown versions"
