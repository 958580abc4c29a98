"""The evaluation as one self-contained HTML file.

Charts are SVG drawn here; the page's script only moves the threshold and counts. File names are escaped by
the template engine, and scores are passed as JSON.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_curve, roc_curve

from ast_edge.inspector import Inspector
from ast_edge.model.manifest import Manifest
from ast_edge.overlay import depth_picture, draw_overlay
from ast_edge.train.data import GOOD, load, load_mask
from ast_edge.train.evaluate import Evaluation, Judged, PartFigures
from ast_edge.verdict.threshold import statement

GALLERY = 6  # pictures of the worst escapes and of the worst false rejects
PICTURE_WIDTH, JPEG_QUALITY = 420, 82
BINS, FAR_APART = 28, 5.0
WIDTH, HEIGHT = 100.0, 60.0  # of a chart, in its own units
_TRUTH = (64, 224, 255)  # the outline of a mask

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Shown:
    """A picture of the gallery: a data URI and its caption."""

    picture: str
    name: str
    kind: str
    score: str


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


@dataclass(frozen=True)
class Axis:
    """The position of a score on the charts, 0 to 1: linear, or logarithmic for a wide range."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def of(cls, scores: Scores, threshold: float) -> Axis:
        """Return an axis that includes all scores and the threshold."""
        values = np.append(scores, threshold)
        low, high = float(values.min()), float(values.max())
        logarithmic = low > 0 and high > FAR_APART * low
        if logarithmic:
            return cls(low / 1.05, high * 1.05, logarithmic)
        room = 0.03 * (high - low) or 1.0
        return cls(low - room, high + room, logarithmic)

    def place(self, score: float) -> float:
        """Return the position of a score; left end 0, right end 1."""
        if self.logarithmic:
            return math.log(score / self.low) / math.log(self.high / self.low)
        return (score - self.low) / (self.high - self.low)

    def ticks(self) -> list[str]:
        """Return the scores at both ends and at the quarters."""
        return [f"{self.at(place):.3g}" for place in (0.0, 0.25, 0.5, 0.75, 1.0)]

    def at(self, place: float) -> float:
        """Return the score at a position; the inverse of `place`."""
        if self.logarithmic:
            return self.low * math.exp(place * math.log(self.high / self.low))
        return self.low + place * (self.high - self.low)


def report_html(judged: Sequence[Judged], evaluation: Evaluation, inspector: Inspector, command: str) -> str:
    """Return the page. `command` reproduces it; pictures are read again from the parts' files."""
    spec = inspector.spec
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    parts = evaluation.parts
    scored = [part for part in parts if part.score is not None and part.verdict != "fault"]
    scores = np.array([part.score for part in scored], np.float64)
    defective = np.array([part.defect != GOOD for part in scored], np.bool_)
    axis = Axis.of(scores, evaluation.threshold)
    return environment.get_template("report.html").render(
        evaluation=evaluation,
        spec=spec,
        manifest=spec if isinstance(spec, Manifest) else None,
        statement=statement(spec.threshold),
        headline=headline(evaluation),
        rows=[_row(kind, evaluation) for kind in _kinds(parts)],
        figures=_figures(evaluation),
        axis=axis,
        histogram=_histogram(scores, defective, axis),
        curves=_curves(defective, scores),
        gallery=_gallery(judged, parts, inspector),
        data={
            "parts": [[part.defect, part.score] for part in scored],
            "faults": [part.defect for part in parts if part not in scored],
            "threshold": evaluation.threshold,
            "good": GOOD,
            "axis": [axis.low, axis.high, axis.logarithmic],
        },
        command=command,
        size=(WIDTH, HEIGHT),
    )


def headline(evaluation: Evaluation) -> str:
    """Summarise the result at the shipped threshold in a sentence."""
    good = [part for part in evaluation.parts if part.defect == GOOD]
    bad = [part for part in evaluation.parts if part.defect != GOOD]
    passed = sum(part.verdict == "pass" for part in bad)
    rejected = sum(part.verdict != "pass" for part in good)
    text = []
    if bad:
        text.append(f"{passed} of {len(bad)} defective parts passed (escapes, {rate_text(passed, len(bad))})")
    if good:
        rate = rate_text(rejected, len(good))
        text.append(f"{rejected} of {len(good)} good parts were rejected (false rejects, {rate})")
    return "; ".join(text) + "."


def rate_text(count: int, parts: int) -> str:
    """Format a rate with its 95 % Clopper-Pearson interval, in percent."""
    low, high = _interval(count, parts)
    return f"{100 * count / parts:.1f} %, 95 % confidence {100 * low:.1f} to {100 * high:.1f} %"


def _interval(count: int, parts: int) -> tuple[float, float]:
    found = binomtest(count, parts).proportion_ci(confidence_level=0.95, method="exact")
    return float(found.low), float(found.high)


def _kinds(parts: Sequence[PartFigures]) -> list[str]:
    return sorted({part.defect for part in parts}, key=lambda kind: (kind != GOOD, kind))


def _row(kind: str, evaluation: Evaluation) -> KindRow:
    parts = [part for part in evaluation.parts if part.defect == kind]
    passed = sum(part.verdict == "pass" for part in parts)
    faults = sum(part.verdict == "fault" for part in parts)
    wrong = len(parts) - passed if kind == GOOD else passed
    low, high = _interval(wrong, len(parts))
    figures = evaluation.per_defect.get(kind)
    return KindRow(
        kind=kind,
        parts=len(parts),
        rejected=len(parts) - passed - faults,
        passed=passed,
        faults=faults,
        rate=f"{100 * wrong / len(parts):.1f} %",
        interval=f"{100 * low:.0f} to {100 * high:.0f} %",
        auroc="" if figures is None else _percent(figures.image_auroc),
    )


def _figures(evaluation: Evaluation) -> list[tuple[str, str]]:
    named = [
        ("Image AUROC", evaluation.image_auroc),
        ("Image average precision", evaluation.image_ap),
        ("Largest F1", evaluation.image_f1max),
        ("Pixel AUROC", evaluation.pixel_auroc),
        ("Pixel average precision", evaluation.pixel_ap),
        ("AUPRO up to 30 % false positives", evaluation.aupro_30),
        ("AUPRO up to 5 % false positives", evaluation.aupro_05),
        *(
            (f"False rejects at up to {rate} % escapes, at best", value)
            for rate, value in evaluation.false_reject_at_escape.items()
        ),
        *(
            (f"Escapes at up to {rate} % false rejects, at best", value)
            for rate, value in evaluation.escape_at_false_reject.items()
        ),
        ("F1 of parts at the threshold (ClassF1)", evaluation.class_f1),
        ("F1 of pixels at the pixel threshold (SegF1)", evaluation.seg_f1),
    ]
    return [(name, _percent(value)) for name, value in named if value is not None]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


@dataclass(frozen=True)
class Bar:
    """A bar of the histogram in the chart's units; good parts point up, defective ones down."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


def _histogram(scores: Scores, defective: NDArray[np.bool_], axis: Axis) -> list[Bar]:
    places = np.array([axis.place(score) for score in scores])
    counts = {
        kind: np.histogram(places[chosen], bins=BINS, range=(0, 1))[0]
        for kind, chosen in (("good", ~defective), ("defective", defective))
    }
    largest = max(int(count.max(initial=0)) for count in counts.values()) or 1
    bars = []
    for kind, count in counts.items():
        for index, number in enumerate(count.tolist()):
            if not number:
                continue
            height = number / largest * (HEIGHT / 2 - 2)
            y = HEIGHT / 2 - height if kind == "good" else HEIGHT / 2
            ends = f"{axis.at(index / BINS):.3g} to {axis.at((index + 1) / BINS):.3g}"
            width = WIDTH / BINS
            bars.append(Bar(index * width, y, width * 0.9, height, kind, f"{number} {kind}, score {ends}"))
    return bars


def _curves(defective: NDArray[np.bool_], scores: Scores) -> dict[str, str]:
    """Return points of the ROC and the precision-recall curve for SVG; empty unless both kinds occur."""
    if not defective.any() or defective.all():
        return {}
    false_positive, true_positive, _ = roc_curve(defective, scores, drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(defective, scores)
    return {"roc": _points(false_positive, true_positive), "pr": _points(recall, precision)}


def _points(x: Scores, y: Scores) -> str:
    return " ".join(f"{100 * a:.2f},{100 - 100 * b:.2f}" for a, b in zip(x, y, strict=True))


def _gallery(
    judged: Sequence[Judged], parts: Sequence[PartFigures], inspector: Inspector
) -> list[tuple[str, str, list[Shown]]]:
    """Return title, explanation and pictures of each part of the gallery."""
    rows = [
        (part, figures) for part, figures in zip(judged, parts, strict=True) if figures.verdict != "fault"
    ]
    rows.sort(key=lambda row: row[0].inspection.score)
    bad = [row for row in rows if row[1].defect != GOOD]
    escapes = [row for row in bad if row[1].verdict == "pass"][:GALLERY]
    false_rejects = [row for row in rows if row[1].defect == GOOD and row[1].verdict == "reject"][::-1][
        :GALLERY
    ]
    hits = []
    for kind in _kinds(parts):
        found = [row for row in bad if row[1].defect == kind and row[1].verdict == "reject"]
        hits += found[len(found) // 2 : len(found) // 2 + 1]
    chosen = (
        ("Worst escapes", "Defective parts that passed, the least suspicious first.", escapes),
        ("Worst false rejects", "Good parts that were rejected, the most suspicious first.", false_rejects),
        ("Typical hits", "Of each kind of defect the rejected part with the median score.", hits),
    )
    return [(title, about, [_shown(*row, inspector) for row in found]) for title, about, found in chosen]


def _shown(part: Judged, figures: PartFigures, inspector: Inspector) -> Shown:
    loaded = load(part.sample, inspector.spec.mode)
    picture = loaded.image
    if picture is None:
        assert loaded.depth_m is not None  # noqa: S101  # a loaded sample has one or the other
        picture = depth_picture(loaded.depth_m)
    if part.sample.mask is not None:
        mask = load_mask(part.sample, part.shape).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        picture = np.array(picture)  # a copy, since the contours are drawn into it
        cv2.drawContours(picture, outlines, -1, _TRUTH, 1)
    overlay = Image.fromarray(draw_overlay(picture, part.inspection, inspector.spec))
    overlay.thumbnail((PICTURE_WIDTH, 4 * PICTURE_WIDTH))
    stream = io.BytesIO()
    overlay.save(stream, format="JPEG", quality=JPEG_QUALITY)
    data = base64.b64encode(stream.getvalue()).decode()
    return Shown(f"data:image/jpeg;base64,{data}", figures.name, figures.defect, f"{figures.score:.4g}")
