"""The list of parts: one row each for the page, and the same rows as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ast_edge.data import GOOD
from ast_edge.pages.layers import Pictures
from ast_edge.train.evaluation import Evaluation, PartFigures
from ast_edge.wording import csv_text


@dataclass(frozen=True)
class Opinion:
    """What a model says of a part; `times` is its score as a multiple of the threshold."""

    verdict: str
    score: float | None
    times: float | None
    wrong: bool

    @classmethod
    def of(cls, part: PartFigures, threshold: float) -> Opinion:
        """Return the verdict on `part` with the numbers behind it."""
        score = None if part.verdict == "fault" else part.score
        times = None if score is None or threshold <= 0 else score / threshold
        return cls(part.verdict, score, times, (part.verdict == "pass") != (part.defect == GOOD))


@dataclass(frozen=True)
class Row:
    """A part: file, kind, the reason of a fault, what each model says, and its pictures."""

    number: int
    name: str
    kind: str
    reason: str
    opinions: tuple[Opinion, ...]
    pictures: Pictures

    @property
    def wrong(self) -> bool:
        """Whether the first model is wrong."""
        return self.opinions[0].wrong

    @property
    def differs(self) -> bool:
        """Whether the models give different verdicts."""
        return len({opinion.verdict for opinion in self.opinions}) > 1


def part_rows(evaluations: Sequence[Evaluation], pictures: Sequence[Pictures]) -> list[Row]:
    """Return the rows of parts that all `evaluations` judged, in their order."""
    rows = []
    for number, shown in enumerate(pictures):
        parts = [evaluation.parts[number] for evaluation in evaluations]
        opinions = tuple(
            Opinion.of(part, evaluation.threshold)
            for part, evaluation in zip(parts, evaluations, strict=True)
        )
        reason = next((part.reason for part in parts if part.reason), "")
        rows.append(Row(number, parts[0].name, parts[0].defect, reason, opinions, shown))
    return rows


def parts_csv(evaluations: Sequence[Evaluation]) -> str:
    """Return the parts as CSV, a line each: file, kind, and verdict, score and threshold of each model."""
    header = ["part", "kind", "verdict", "score", "threshold", "reason"]
    header += [f"{name}_2" for _ in evaluations[1:] for name in header[2:]]
    rows: list[list[object]] = [list(header)]
    for number, first in enumerate(evaluations[0].parts):
        row: list[object] = [first.name, first.defect]
        for evaluation in evaluations:
            part = evaluation.parts[number]
            score = "" if part.score is None else repr(part.score)
            row += [part.verdict, score, repr(evaluation.threshold), part.reason]
        rows.append(row)
    return csv_text(rows)
