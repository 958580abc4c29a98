"""The report's sentences and tables of figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ast_edge.data import GOOD
from ast_edge.train.evaluation import Evaluation, PartFigures
from ast_edge.train.intervals import auroc_interval
from ast_edge.train.metrics import ranked
from ast_edge.verdict.rates import Interval, interval_text, rate_interval, rate_text
from ast_edge.wording import percent_text


@dataclass(frozen=True)
class KindRow:
    """One line of the verdict table; `rate` is escapes, or false rejects of good parts, with its interval."""

    kind: str
    parts: int
    rejected: int
    passed: int
    faults: int
    rate: str
    interval: str
    auroc: str
    auroc_interval: str


def headline(evaluation: Evaluation) -> str:
    """Summarise the result at the shipped threshold in a sentence."""
    text = []
    if bad := evaluation.defective_parts:
        passed = evaluation.escapes
        text.append(f"{passed} of {bad} defective parts passed (escapes, {rate_text(passed, bad)})")
    if good := evaluation.good_parts:
        rejected = evaluation.false_rejects
        text.append(
            f"{rejected} of {good} good parts were rejected (false rejects, {rate_text(rejected, good)})"
        )
    return "; ".join(text) + "."


def kinds_of(parts: Sequence[PartFigures]) -> list[str]:
    """Return the kinds that occur, good first."""
    return sorted({part.defect for part in parts}, key=lambda kind: (kind != GOOD, kind))


def kind_row(kind: str, evaluation: Evaluation) -> KindRow:
    """Count the verdicts on one kind of parts."""
    parts = [part for part in evaluation.parts if part.defect == kind]
    passed = sum(part.verdict == "pass" for part in parts)
    faults = sum(part.verdict == "fault" for part in parts)
    wrong = len(parts) - passed if kind == GOOD else passed
    figures = evaluation.per_defect.get(kind)
    return KindRow(
        kind=kind,
        parts=len(parts),
        rejected=len(parts) - passed - faults,
        passed=passed,
        faults=faults,
        rate=percent_text(wrong, len(parts)),
        interval=interval_text(rate_interval(wrong, len(parts))),
        auroc="" if figures is None else _percent(figures.image_auroc),
        auroc_interval="" if figures is None else interval_text(_auroc_interval(kind, evaluation)),
    )


def _auroc_interval(kind: str, evaluation: Evaluation) -> Interval | None:
    scores = np.array([np.nan if part.score is None else part.score for part in evaluation.parts], np.float64)
    faults = np.array([part.verdict == "fault" for part in evaluation.parts], np.bool_)
    kinds = np.array([part.defect for part in evaluation.parts])
    chosen = (kinds == kind) | (kinds == GOOD)
    return auroc_interval(kinds[chosen] == kind, ranked(scores, faults)[chosen])


@dataclass(frozen=True)
class Figure:
    """A figure of merit in percent, with its interval where there is one."""

    name: str
    value: str
    interval: str = ""


def figures_of(evaluation: Evaluation) -> list[Figure]:
    """Return the figures of merit that the data determines, `-` for those that it does not."""
    at_escape = evaluation.false_reject_at_escape.items()
    at_false_reject = evaluation.escape_at_false_reject.items()
    named: list[tuple[str, float | None, Interval | None]] = [
        ("Image AUROC", evaluation.image_auroc, evaluation.image_auroc_interval),
        ("Escapes at the threshold", evaluation.escape_rate, evaluation.escape_interval),
        ("False rejects at the threshold", evaluation.false_reject_rate, evaluation.false_reject_interval),
        ("Image average precision", evaluation.image_ap, None),
        ("Largest F1", evaluation.image_f1max, None),
        ("Pixel AUROC", evaluation.pixel_auroc, None),
        ("Pixel average precision", evaluation.pixel_ap, None),
        ("AUPRO up to 30 % false positives", evaluation.aupro_30, None),
        ("AUPRO up to 5 % false positives", evaluation.aupro_05, None),
        *((f"False rejects at up to {rate} % escapes, at best", value, None) for rate, value in at_escape),
        *(
            (f"Escapes at up to {rate} % false rejects, at best", value, None)
            for rate, value in at_false_reject
        ),
        ("F1 of parts at the threshold (ClassF1)", evaluation.class_f1, None),
        ("F1 of pixels at the pixel threshold (SegF1)", evaluation.seg_f1, None),
    ]
    return [Figure(name, _percent(value), interval_text(interval)) for name, value, interval in named]


def _percent(value: float | None) -> str:
    """Round as `percent_text` does; a rate that lies on a half may be off by the last bit of a float."""
    return "-" if value is None else percent_text(math.floor(1e6 * value + 0.5), 1_000_000)
