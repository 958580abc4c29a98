"""Output of the commands, as text and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ast_edge.backends.base import Backend
from ast_edge.backends.proof import Parity
from ast_edge.errors import ParityError
from ast_edge.model.engine_file import AnyModel
from ast_edge.model.manifest import Manifest
from ast_edge.verdict.margin import SCORE_TOLERANCE, undecided_parts

if TYPE_CHECKING:
    from ast_edge.trt.check import Checked
    from ast_edge_export import Exported
    from ast_edge_export.int8_gate import Int8Report


def parity_text(model: AnyModel, engine: Backend, source: str, parity: Parity) -> str:
    """Format the proof: which vectors, how large the errors, and the result for the engine."""
    rows = [
        ("model", f"{model.path} ({model.manifest.model_id}, {model.manifest.precision})"),
        ("references", f"{parity.count}, {source}"),
        ("score error", f"{parity.max_relative_score_error:.2g} relative, allowed {parity.tolerance:g}"),
        ("map error", f"{parity.max_absolute_map_error:.2g} absolute"),
        ("verdicts", f"{parity.flipped_verdicts} of {parity.count} differ"),
        ("threshold", _margin(model.manifest)),
        *((("choice", engine.choice),) if engine.choice else ()),
        ("result", f"{engine.name} {'reproduces' if parity.ok else 'does not reproduce'} the model"),
    ]
    return table(rows)


def parity_json(model: AnyModel, engine: Backend, source: str, parity: Parity) -> str:
    """Format the proof as one JSON object; an error that is not finite becomes null."""
    content = {
        "path": str(model.path),
        "model_id": model.manifest.model_id,
        "precision": model.manifest.precision,
        "engine": engine.name,
        "engine_choice": engine.choice,
        "references": source,
        "count": parity.count,
        "max_relative_score_error": _finite(parity.max_relative_score_error),
        "max_absolute_map_error": _finite(parity.max_absolute_map_error),
        "flipped_verdicts": parity.flipped_verdicts,
        "tolerance": parity.tolerance,
        **_margin_figures(model.manifest),
        "ok": parity.ok,
    }
    return json.dumps(content, allow_nan=False)


def _margin_figures(manifest: Manifest) -> dict[str, object]:
    """Return the threshold's margin and the number of held-out scores that engines may judge differently."""
    known = manifest.calibration is not None
    return {
        "threshold_margin": manifest.threshold.margin,
        "held_out_scores": len(manifest.calibration.scores) if manifest.calibration else None,
        "held_out_within_margin": undecided_parts(manifest, manifest.precision) if known else None,
    }


def _margin(manifest: Manifest) -> str:
    threshold = manifest.threshold
    text = f"{threshold.value:.6g}, {threshold.margin:.2g} above the score of a held-out part"
    if manifest.calibration is None:
        return f"{text}; the model contains no held-out scores"
    within, scores = undecided_parts(manifest, manifest.precision), len(manifest.calibration.scores)
    return (
        f"{text}; {within} of {scores} held-out scores are within {SCORE_TOLERANCE[manifest.precision]:g} "
        "(relative) of it, where engines may differ"
    )


def failed_parity(model: AnyModel, engine: str, parity: Parity) -> ParityError:
    """Return the error of a model that does not reproduce its reference vectors."""
    error, flipped = parity.max_relative_score_error, parity.flipped_verdicts
    return ParityError(
        f"{model.path}: {engine} does not reproduce the reference vectors (relative score error expected at "
        f"most {parity.tolerance:g}, found {error:.2g}; {flipped} of {parity.count} verdicts differ); do not "
        "use this model here: export it again or change the version of the engine library."
    )


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Format names and values in two columns."""
    return "\n".join(f"{name:<15}{value}" for name, value in rows)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def export_text(exported: Exported) -> str:
    """Describe one exported file with the figures of its proof."""
    parity, int8 = exported.parity, exported.int8
    text = (
        f"{exported.path}: {exported.path.stat().st_size / 1e6:.1f} MB, {exported.precision}; "
        f"{parity.count} reference vectors through ONNX Runtime: score within "
        f"{parity.max_relative_score_error:.1e} relative (limit {parity.tolerance:.0e}), map within "
        f"{parity.max_absolute_map_error:.1e}, {parity.flipped_verdicts} flipped verdicts"
    )
    if int8 is not None:
        text += _int8_text(int8)
    if exported.checked is not None:
        text += "\n" + checked_text(exported.checked)
    return text


def _int8_text(int8: Int8Report) -> str:
    figures = int8.figures
    auroc = "" if figures.auroc is None else f", image AUROC {figures.auroc:.4f} ({figures.auroc_fp32:.4f})"
    return (
        f"; {len(int8.sensitivity) - len(int8.in_fp32)} of {len(int8.sensitivity)} layers in INT8; "
        f"held-out false rejects {figures.false_reject_rate:.3f} "
        f"(FP32 {figures.false_reject_rate_fp32:.3f}){auroc}"
    )


def checked_text(checked: Checked) -> str:
    """What NVIDIA's builder made of one graph: types, and for each group of GPUs the slower convolutions."""
    types = ", ".join(f"{count} {kind}" for kind, count in sorted(checked.types.items()))
    lines = [f"  {checked.library}: parsed, layers by type: {types}"]
    for group in checked.groups:
        fast = group.convolutions - len(group.slower)
        lines.append(
            f"  built for {', '.join(group.capabilities)}: {group.plan_bytes / 1e6:.1f} MB, {fast} of "
            f"{group.convolutions} convolutions of trunk and student in {checked.precision.upper()}"
        )
        if group.slower:
            lines.append(f"    wider: {', '.join(group.slower)}")
    return "\n".join(lines)
