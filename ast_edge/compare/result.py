"""The result of a comparison, as `ast-edge compare --json` writes it."""

from __future__ import annotations

import math
from collections import Counter

from pydantic import BaseModel, ConfigDict

from ast_edge.inspector import Inspection
from ast_edge.latency.figures import Figures
from ast_edge.latency.result import Ratio
from ast_edge.model.manifest import Crop, Mode
from ast_edge.verdict.acceptance import Acceptance
from ast_edge.verdict.rates import Interval, chance_text
from ast_edge.verdict.scoring import Verdict

VERDICTS: tuple[Verdict, ...] = ("pass", "reject", "fault")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class LeftOut(_Frozen):
    """So many parts of a place could not be compared on, and why."""

    place: str
    reason: str
    count: int


class LineVerdict(_Frozen):
    """What the line said of an archived part when it was produced, with the recipe of that time."""

    verdict: str
    score: float | None
    threshold: float | None
    recipe: str


class Opinion(_Frozen):
    """What a model says of a part; `times` is its score over the threshold, None for a threshold of 0."""

    verdict: Verdict
    score: float | None
    times: float | None
    reason: str

    @classmethod
    def of(cls, inspection: Inspection) -> Opinion:
        """Return verdict and numbers of an inspection; the reason of a fault only."""
        fault = inspection.verdict == "fault"
        score = None if fault or not math.isfinite(inspection.score) else inspection.score
        times = None if score is None or inspection.threshold <= 0 else score / inspection.threshold
        return cls(
            verdict=inspection.verdict, score=score, times=times, reason=inspection.reason if fault else ""
        )


class PartRow(_Frozen):
    """A part as both models judge it; `kind` is None for unlabelled parts, `line` unless it is archived."""

    name: str
    kind: str | None
    old: Opinion
    new: Opinion
    line: LineVerdict | None

    @property
    def changed(self) -> bool:
        """Whether the verdicts differ."""
        return self.old.verdict != self.new.verdict

    @property
    def change(self) -> str:
        """Both verdicts in words."""
        return f"{self.old.verdict} to {self.new.verdict}"

    @property
    def shift(self) -> float | None:
        """How far the score moved, in multiples of each model's threshold; None without both."""
        if self.old.times is None or self.new.times is None:
            return None
        return self.new.times - self.old.times


def weight(row: PartRow) -> tuple[bool, float]:
    """Sorting key: the further the score moved, the larger. A change to or from a fault has no distance."""
    return (row.shift is not None, abs(row.shift or 0.0))


class Paired(_Frozen):
    """Good or defective parts by which model errs: a good part does not pass, or a defective one does.

    `p_value` is that of McNemar's exact test, None where both err on the same parts.
    """

    good: bool
    neither: int
    only_old: int
    only_new: int
    both: int
    p_value: float | None

    @property
    def parts(self) -> int:
        """How many there are."""
        return self.neither + self.only_old + self.only_new + self.both

    @property
    def errors(self) -> tuple[int, int]:
        """The errors of both models."""
        return self.only_old + self.both, self.only_new + self.both

    @property
    def text(self) -> str:
        """The four numbers of the table, and what McNemar's test says of them, in words."""
        kind = "good" if self.good else "defective"
        text = (
            f"Of {self.parts} {kind} parts both are right on {self.neither} and wrong on {self.both}; only "
            f"the old model is wrong on {self.only_old}, only the new one on {self.only_new}"
        )
        if self.p_value is None:
            return f"{text}: there is no difference to test."
        return f"{text}; {chance_text(self.p_value)}."


class Rate(_Frozen):
    """An error rate of one model with its exact interval (95 %); a fault counts as rejected."""

    count: int
    parts: int
    faults: int
    interval: Interval


class Errors(_Frozen):
    """One kind of error, of both models on the same labelled parts, with the table of McNemar's test."""

    old: Rate
    new: Rate
    paired: Paired


class Latency(_Frozen):
    """Milliseconds from frame to verdict on one part, both models alternating; `part` names it."""

    part: str
    old: Figures
    new: Figures
    ratio: Ratio
    warnings: tuple[str, ...]


class ComparedModel(_Frozen):
    """What is compared; `crop` in pixels of the frame, None for all of it."""

    file: str
    model_id: str
    mode: Mode
    preset: str
    precision: str
    image_size: int
    crop: Crop | None
    threshold: float
    engine: str


class Comparison(_Frozen):
    """Two models on the same parts.

    `false_rejects` is None without good parts, `escapes` without defective ones, `latency` if no part was
    judged by both. `worse` lists in what NEW is worse than OLD on labelled parts. `made` is the time in UTC.
    """

    old: ComparedModel
    new: ComparedModel
    parts: list[PartRow]
    left_out: list[LeftOut]
    false_rejects: Errors | None
    escapes: Errors | None
    latency: Latency | None
    notes: list[str]
    worse: list[str]
    acceptance: Acceptance | None
    command: str
    made: str

    @property
    def changed(self) -> list[PartRow]:
        """The parts whose verdict changes, those first whose score moved furthest."""
        return sorted((row for row in self.parts if row.changed), key=weight, reverse=True)

    @property
    def faults(self) -> list[PartRow]:
        """The parts that one of the models, or both, could not judge."""
        return [row for row in self.parts if "fault" in (row.old.verdict, row.new.verdict)]

    @property
    def changes(self) -> Counter[str]:
        """How many verdicts change in which way."""
        return Counter(row.change for row in self.parts if row.changed)

    @property
    def table(self) -> list[list[int]]:
        """Numbers of parts by the old verdict (rows) and the new one (columns), in the order of VERDICTS."""
        found = Counter((row.old.verdict, row.new.verdict) for row in self.parts)
        return [[found[old, new] for new in VERDICTS] for old in VERDICTS]

    @property
    def as_line(self) -> tuple[int, int, int] | None:
        """Archived parts, and on how many of them OLD and NEW say what the line said; None without any."""
        archived = [row for row in self.parts if row.line is not None]
        if not archived:
            return None
        same = [
            sum(row.line is not None and getattr(row, one).verdict == row.line.verdict for row in archived)
            for one in ("old", "new")
        ]
        return len(archived), same[0], same[1]
