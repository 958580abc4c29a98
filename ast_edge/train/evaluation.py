"""The result of an evaluation, as `ast-edge evaluate --json` writes it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from ast_edge.model.manifest import Aggregation
from ast_edge.verdict.acceptance import ErrorCounts, count_errors
from ast_edge.verdict.rates import Interval
from ast_edge.verdict.scoring import Verdict


class DefectFigures(BaseModel):
    """One kind of defect: image AUROC against all good parts, and the fraction of its parts that passed."""

    model_config = ConfigDict(frozen=True)

    image_auroc: float | None
    escape_rate: float | None
    count: int


class AggregationFigures(BaseModel):
    """Image AUROC of another aggregation of the same maps."""

    model_config = ConfigDict(frozen=True)

    image_auroc: float | None


class PartFigures(BaseModel):
    """One part: path of its picture in the data folder, kind, verdict, and the reason of a fault."""

    model_config = ConfigDict(frozen=True)

    name: str
    defect: str
    verdict: Verdict
    reason: str = ""
    score: float | None


class Evaluation(BaseModel):
    """Figures as fractions; None if the data does not determine them (no good parts, no masks).

    A part counts as rejected unless it passes: a fault actuates the reject output too. For the AUROC a fault
    ranks above every score. `aupro_30` and `aupro_05` integrate up to false-positive rates of 0.3 and 0.05.
    `false_reject_at_escape` is the smallest false-reject rate of any threshold that lets at most that
    fraction of defective parts pass, keyed by percent ("5"), and `escape_at_false_reject` the reverse: 1 less
    these are PGn and PBn (Baitieva et al., CVPRW 2025), but for the interpolation of thresholds there.
    `class_f1` and `seg_f1` are the F1 of parts and pixels at the model's thresholds (MVTec AD 2, 2025). Pixel
    figures cover the whole frame: pixels outside the crop were not inspected and count as normal. With masks
    only the pixels inside count, `looked_at` of the crop or frame as a fraction. Pixel figures are None if
    any of the defective parts (`without_mask` of them) has no mask. The intervals have 95 % confidence (see
    `ast_edge.train.intervals` and `ast_edge.verdict.rates`). `data_fingerprint` is over names and contents of
    the parts' files, None while one of them cannot be read; `made` is the time in UTC.
    """

    model_config = ConfigDict(frozen=True)

    image_auroc: float | None
    image_auroc_interval: Interval | None = None
    image_ap: float | None
    image_f1max: float | None
    pixel_auroc: float | None
    pixel_ap: float | None
    aupro_30: float | None
    aupro_05: float | None
    false_reject_at_escape: dict[str, float | None]
    escape_at_false_reject: dict[str, float | None]
    threshold: float
    aggregation: Aggregation
    false_reject_rate: float | None
    false_reject_interval: Interval | None = None
    escape_rate: float | None
    escape_interval: Interval | None = None
    class_f1: float | None = None
    seg_f1: float | None = None
    per_defect: dict[str, DefectFigures]
    by_aggregation: dict[Aggregation, AggregationFigures]
    good_parts: int
    defective_parts: int
    faults: int
    looked_at: float | None = None
    without_mask: int = 0
    engine: str
    data: str
    data_fingerprint: str | None = None
    made: str | None = None
    parts: list[PartFigures]

    @property
    def counts(self) -> ErrorCounts:
        """The errors, counted."""
        return count_errors((part.defect, part.verdict) for part in self.parts)

    @property
    def escapes(self) -> int:
        """How many defective parts passed."""
        return self.counts.escapes

    @property
    def false_rejects(self) -> int:
        """How many good parts did not pass."""
        return self.counts.false_rejects
