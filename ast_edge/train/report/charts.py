"""The report's charts as numbers for SVG: histogram, ROC and precision over recall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from ast_edge.train.metrics import Flags, Scores
from ast_edge.train.report.axis import Axis

WIDTH, HEIGHT = 100.0, 60.0  # of the histogram, in its own units
_BINS = 28


@dataclass(frozen=True)
class Bar:
    """A bar of the histogram in the chart's units; good parts point up, defective ones down."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


def histogram(scores: Scores, defective: Flags, axis: Axis) -> list[Bar]:
    """Return the bars of both kinds; empty bins have none."""
    places = np.array([axis.place(score) for score in scores])
    counts = {
        kind: np.histogram(places[chosen], bins=_BINS, range=(0, 1))[0]
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
            ends = f"{axis.at(index / _BINS):.3g} to {axis.at((index + 1) / _BINS):.3g}"
            width = WIDTH / _BINS
            bars.append(Bar(index * width, y, width * 0.9, height, kind, f"{number} {kind}, score {ends}"))
    return bars


def curves(defective: Flags, scores: Scores) -> dict[str, str]:
    """Return points of the ROC and the precision-recall curve for SVG; empty unless both kinds occur."""
    if not defective.any() or defective.all():
        return {}
    false_positive, true_positive, _ = roc_curve(defective, scores, drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(defective, scores)
    return {"roc": _points(false_positive, true_positive), "pr": _points(recall, precision)}


def _points(x: Scores, y: Scores) -> str:
    return " ".join(f"{100 * a:.2f},{100 - 100 * b:.2f}" for a, b in zip(x, y, strict=True))
