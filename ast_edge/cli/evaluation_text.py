"""Output of `ast-edge evaluate`, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ast_edge.cli.reporting import table

if TYPE_CHECKING:
    from ast_edge.train.evaluation import Evaluation
    from ast_edge.train.side_by_side import SideBySide
    from ast_edge.verdict.acceptance import Acceptance
    from ast_edge.verdict.rates import Interval

_FAULTS = 10  # listed individually


def evaluation_json(evaluation: Evaluation, compared: SideBySide | None, decision: Acceptance | None) -> str:
    """Return the figures as JSON, with the second model under `against` and the limits under `acceptance`."""
    content = evaluation.model_dump(mode="json")
    if compared is not None:
        content["against"] = compared.model_dump(mode="json")
    if decision is not None:
        content["acceptance"] = decision.model_dump(mode="json")
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def side_by_side_text(first: str, evaluation: Evaluation, compared: SideBySide) -> str:
    """Format the main figures of two models in columns, and where the models differ."""
    other = compared.evaluation
    rows = [
        ("image AUROC", evaluation.image_auroc, other.image_auroc),
        ("false rejects", evaluation.false_reject_rate, other.false_reject_rate),
        ("escapes", evaluation.escape_rate, other.escape_rate),
    ]
    lines = [f"first          {first}", f"second         {compared.model}"]
    lines.append(f"{'':<15}{'first':>10}{'second':>10}")
    lines += [f"{name:<15}{_fraction(one):>10}{_fraction(two):>10}" for name, one, two in rows]
    lines.append(f"{'faults':<15}{evaluation.faults:>10}{other.faults:>10}")
    if (difference := compared.auroc_difference) is not None:
        low, high = difference.interval
        lines.append(
            f"{'AUROC apart':<15}{difference.value:+.4f}, 95 % confidence {low:+.4f} to {high:+.4f} (DeLong)"
        )
    else:
        lines.append(f"{'AUROC apart':<15}not determined: too few parts, or all of them in one order")
    return "\n".join([*lines, compared.text])


def evaluation_text(evaluation: Evaluation) -> str:
    """Format the figures of an evaluation as tables."""
    rows = [
        ("engine", evaluation.engine),
        ("parts", f"{evaluation.good_parts} good, {evaluation.defective_parts} defective"),
        ("image AUROC", f"{_fraction(evaluation.image_auroc)} ({evaluation.aggregation})"),
        *_interval(evaluation.image_auroc_interval),
        *(
            (f"  with {name}", _fraction(figures.image_auroc))
            for name, figures in evaluation.by_aggregation.items()
            if name != evaluation.aggregation
        ),
        ("image AP", _fraction(evaluation.image_ap)),
        ("image F1max", _fraction(evaluation.image_f1max)),
        *_looked_at(evaluation),
        *_pixel_rows(evaluation),
        ("threshold", f"{evaluation.threshold:.6g}"),
        ("false rejects", _fraction(evaluation.false_reject_rate)),
        *_interval(evaluation.false_reject_interval),
        ("escapes", _fraction(evaluation.escape_rate)),
        *_interval(evaluation.escape_interval),
        ("F1", f"{_fraction(evaluation.class_f1)} of parts (ClassF1)"),
        ("faults", str(evaluation.faults)),
        *_rates(evaluation),
    ]
    kinds = [f"{'defect':<16}{'parts':>6}{'AUROC':>9}{'escapes':>9}"]
    kinds += [
        f"{kind:<16}{f.count:>6}{_fraction(f.image_auroc):>9}{_fraction(f.escape_rate):>9}"
        for kind, f in evaluation.per_defect.items()
    ]
    unread = [f"fault: {part.name}: {part.reason}" for part in evaluation.parts if part.verdict == "fault"]
    more = [f"and {len(unread) - _FAULTS} more faults"] if len(unread) > _FAULTS else []
    return "\n".join([table(rows), *(kinds if evaluation.per_defect else []), *unread[:_FAULTS], *more])


def _rates(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """One error rate where the other is given, with the names of anomalib for what is left: PGn and PBn."""
    for percent, rate in evaluation.false_reject_at_escape.items():
        if rate is not None:
            yield f"at {percent} % escape", f"{rate:.4f} false rejects (PG{percent} {1 - rate:.4f})"
    for percent, rate in evaluation.escape_at_false_reject.items():
        if rate is not None:
            yield f"at {percent} % reject", f"{rate:.4f} escapes (PB{percent} {1 - rate:.4f})"


def _looked_at(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    if evaluation.looked_at is not None:
        share = f"{100 * evaluation.looked_at:.1f} % of the picture"
        yield "masks", f"{share} is looked at; pixel figures count these pixels only"


def _pixel_rows(evaluation: Evaluation) -> list[tuple[str, str]]:
    if evaluation.without_mask:
        return [
            (
                "pixel figures",
                f"left out: {evaluation.without_mask} of {evaluation.defective_parts} defective parts have "
                "no mask",
            )
        ]
    return [
        ("pixel AUROC", _fraction(evaluation.pixel_auroc)),
        ("pixel AP", _fraction(evaluation.pixel_ap)),
        ("AUPRO 30 %", _fraction(evaluation.aupro_30)),
        ("AUPRO 5 %", _fraction(evaluation.aupro_05)),
        ("pixel F1", f"{_fraction(evaluation.seg_f1)} at the pixel threshold (SegF1)"),
    ]


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _interval(interval: Interval | None) -> Iterator[tuple[str, str]]:
    if interval is not None:
        yield "  95 % between", f"{interval.low:.4f} and {interval.high:.4f}"
