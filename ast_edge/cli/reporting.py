"""What the commands print, for people and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ast_edge.backends.proof import Parity
from ast_edge.errors import ParityError
from ast_edge.model.engine_file import AnyModel
from ast_edge.model.manifest import Manifest, PastCalibration, Range, TensorSpec, TrainedRange
from ast_edge.verdict.scoring import statement

if TYPE_CHECKING:
    from ast_edge.train.evaluate import Evaluation
    from ast_edge_export import Exported


def parity_text(model: AnyModel, engine: str, source: str, parity: Parity) -> str:
    """The proof in a few lines: which vectors, how far apart, and the verdict on the engine."""
    rows = [
        ("model", f"{model.path} ({model.manifest.model_id}, {model.manifest.precision})"),
        ("references", f"{parity.count}, {source}"),
        ("score error", f"{parity.max_relative_score_error:.2g} relative, allowed {parity.tolerance:g}"),
        ("map error", f"{parity.max_absolute_map_error:.2g} absolute"),
        ("verdicts", f"{parity.flipped_verdicts} of {parity.count} differ"),
        ("result", f"{engine} {'reproduces' if parity.ok else 'does not reproduce'} the model"),
    ]
    return table(rows)


def parity_json(model: AnyModel, engine: str, source: str, parity: Parity) -> str:
    """The proof as one JSON object; an error that is not finite becomes null."""
    content = {
        "path": str(model.path),
        "model_id": model.manifest.model_id,
        "precision": model.manifest.precision,
        "engine": engine,
        "references": source,
        "count": parity.count,
        "max_relative_score_error": _finite(parity.max_relative_score_error),
        "max_absolute_map_error": _finite(parity.max_absolute_map_error),
        "flipped_verdicts": parity.flipped_verdicts,
        "tolerance": parity.tolerance,
        "ok": parity.ok,
    }
    return json.dumps(content, allow_nan=False)


def failed_parity(model: AnyModel, engine: str, parity: Parity) -> ParityError:
    """The error of a model that does not reproduce its reference vectors."""
    error, flipped = parity.max_relative_score_error, parity.flipped_verdicts
    return ParityError(
        f"{model.path}: {engine} does not reproduce the reference vectors (relative score error expected at "
        f"most {parity.tolerance:g}, found {error:.2g}; {flipped} of {parity.count} verdicts differ); do not "
        "use this model here: export it again or change the version of the engine library."
    )


def info_json(model: AnyModel) -> str:
    """The manifest with path, size in bytes and the threshold's statement, as one JSON object."""
    content = {
        "path": str(model.path),
        "size_bytes": model.size,
        "threshold_statement": statement(model.manifest.threshold),
        "manifest": model.manifest.model_dump(mode="json"),
    }
    return json.dumps(content, allow_nan=False)


def info_text(model: AnyModel) -> str:
    """The manifest in readable lines."""
    manifest = model.manifest
    data, threshold = manifest.training_data, manifest.threshold
    rows = [
        ("model", f"{model.path} ({model.size / 1e6:.1f} MB, format {manifest.format_version})"),
        ("id", manifest.model_id),
        (
            "network",
            f"mode {manifest.mode}, preset {manifest.preset}, {manifest.backbone}, {manifest.precision}",
        ),
        ("inputs", _tensors(manifest.inputs)),
        ("outputs", _tensors(manifest.outputs)),
        ("frame", _frame(manifest)),
        *((("good parts", _seen(manifest.trained)),) if manifest.trained is not None else ()),
        ("score", f"{manifest.aggregation} of the anomaly map"),
        ("threshold", f"{threshold.value:.6g} (score), {threshold.pixel_value:.6g} (map)"),
        ("", statement(threshold)),
        *_calibrations(manifest),
        ("trained on", f"{data.train_parts} good parts, {data.holdout_parts} held out ({data.layout})"),
        ("data", f"fingerprint {data.fingerprint}"),
        ("created", f"{manifest.created} with {_versions(manifest.versions)}"),
    ]
    return table(rows)


def _calibrations(manifest: Manifest) -> list[tuple[str, str]]:
    """Every threshold that the model has had, the one in force first."""
    if manifest.calibration is None:
        return []
    current = PastCalibration(threshold=manifest.threshold, calibration=manifest.calibration)
    rows = []
    for past in (current, *reversed(manifest.earlier)):
        calibration, threshold = past.calibration, past.threshold
        who = f", {calibration.operator}" if calibration.operator else ""
        when = f", {calibration.made}" if calibration.made else ""
        text = (
            f"{threshold.value:.6g} from {threshold.good_parts} good parts ({calibration.origin}{who}{when})"
        )
        rows.append((f"revision {calibration.revision}", text))
    return rows


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values in two columns."""
    return "\n".join(f"{name:<15}{value}" for name, value in rows)


def _tensors(specs: Iterable[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.dtype} {_shape(spec)}" for spec in specs)


def _shape(spec: TensorSpec) -> str:
    return "[" + ",".join("N" if size == -1 else str(size) for size in spec.shape) + "]"


def _frame(manifest: Manifest) -> str:
    settings = manifest.preprocessing
    crop = settings.crop
    area = "whole frame" if crop is None else f"crop {crop.width}x{crop.height} at x {crop.x}, y {crop.y}"
    text = f"{area}, resized to {settings.image_size}x{settings.image_size} ({settings.resize})"
    if settings.depth is None:
        return text
    depth = settings.depth
    return f"{text}; part: {1000 * depth.foreground_min_m:g} mm from the background, {depth.mask} mask"


def _seen(trained: TrainedRange) -> str:
    """What good parts' frames were like; one that is not like them is a fault."""
    text = f"{_range(trained.width)} x {_range(trained.height)} pixels"
    for name, found in (("brightness", trained.brightness), ("contrast", trained.contrast)):
        text += "" if found is None else f", {name} {_range(found)}"
    return f"{text}; a frame unlike that is a fault"


def _range(found: Range) -> str:
    return f"{found.low:.4g}" if found.low == found.high else f"{found.low:.4g} to {found.high:.4g}"


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or "unknown versions"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def evaluation_text(evaluation: Evaluation) -> str:
    """Figures of an evaluation as tables."""
    rows = [
        ("engine", evaluation.engine),
        ("parts", f"{evaluation.good_parts} good, {evaluation.defective_parts} defective"),
        ("image AUROC", f"{_fraction(evaluation.image_auroc)} ({evaluation.aggregation})"),
        *(
            (f"  with {name}", _fraction(figures.image_auroc))
            for name, figures in evaluation.by_aggregation.items()
            if name != evaluation.aggregation
        ),
        ("image AP", _fraction(evaluation.image_ap)),
        ("image F1max", _fraction(evaluation.image_f1max)),
        ("pixel AUROC", _fraction(evaluation.pixel_auroc)),
        ("pixel AP", _fraction(evaluation.pixel_ap)),
        ("AUPRO 30 %", _fraction(evaluation.aupro_30)),
        ("AUPRO 5 %", _fraction(evaluation.aupro_05)),
        ("threshold", f"{evaluation.threshold:.6g}"),
        ("false rejects", _fraction(evaluation.false_reject_rate)),
        ("escapes", _fraction(evaluation.escape_rate)),
        ("faults", str(evaluation.faults)),
        *(
            (f"at {percent} % escape", f"{_fraction(rate)} false rejects")
            for percent, rate in evaluation.false_reject_at_escape.items()
            if rate is not None
        ),
    ]
    kinds = [f"{'defect':<16}{'parts':>6}{'AUROC':>9}{'escapes':>9}"]
    kinds += [
        f"{kind:<16}{f.count:>6}{_fraction(f.image_auroc):>9}{_fraction(f.escape_rate):>9}"
        for kind, f in evaluation.per_defect.items()
    ]
    return "\n".join([table(rows), *(kinds if evaluation.per_defect else [])])


def export_text(exported: Exported) -> str:
    """One exported file with the figures of its proof."""
    parity, int8 = exported.parity, exported.int8
    text = (
        f"{exported.path}: {exported.path.stat().st_size / 1e6:.1f} MB, {exported.precision}; "
        f"{parity.count} reference vectors through ONNX Runtime: score within "
        f"{parity.max_relative_score_error:.1e} relative (limit {parity.tolerance:.0e}), map within "
        f"{parity.max_absolute_map_error:.1e}, {parity.flipped_verdicts} flipped verdicts"
    )
    if int8 is None:
        return text
    figures = int8.figures
    auroc = "" if figures.auroc is None else f", image AUROC {figures.auroc:.4f} ({figures.auroc_fp32:.4f})"
    return (
        f"{text}; {len(int8.sensitivity) - len(int8.in_fp32)} of {len(int8.sensitivity)} layers in INT8; "
        f"held-out false rejects {figures.false_reject_rate:.3f} "
        f"(FP32 {figures.false_reject_rate_fp32:.3f}){auroc}"
    )


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
