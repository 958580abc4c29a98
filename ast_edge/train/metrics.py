"""Figures of merit from scores and maps, by scikit-learn where available.

Pixel figures are computed in one pass that keeps histograms instead of pixels, so memory use does not grow
with the number of pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import auc, average_precision_score, f1_score, precision_recall_curve, roc_auc_score

Flags = NDArray[np.bool_]
Scores = NDArray[np.float64]
Map = NDArray[np.float32]

BINS = 20_000  # of a pixel histogram; figures are exact if no bin contains both kinds of pixels
AUPRO_LIMITS = (0.3, 0.05)


def ranked(scores: Scores, faults: Flags) -> Scores:
    """Return scores with faults above the largest: a part that was not judged never counts as good."""
    top = scores[~faults].max() + 1.0 if (~faults).any() else 0.0
    return np.where(faults, top, scores)


def auroc(defective: Flags, scores: Scores) -> float | None:
    """Return the area under the ROC curve as a fraction; None unless both kinds occur."""
    return float(roc_auc_score(defective, scores)) if _both(defective) else None


def average_precision(defective: Flags, scores: Scores) -> float | None:
    """Return the average precision with defective as the positive class; None unless both kinds occur."""
    return float(average_precision_score(defective, scores)) if _both(defective) else None


def f1_max(defective: Flags, scores: Scores) -> float | None:
    """Return the largest F1 of any threshold; None unless both kinds occur."""
    if not _both(defective):
        return None
    precision, recall, _ = precision_recall_curve(defective, scores)
    total = precision + recall
    return float(np.max(np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)))


def f1(defective: Flags, rejected: Flags) -> float | None:
    """Return the F1 of the verdicts, defective being the positive class; None unless both kinds occur."""
    return float(f1_score(defective, rejected)) if _both(defective) else None


def false_reject_at_escape(defective: Flags, scores: Scores, escape_rate: float) -> float | None:
    """Return the smallest false-reject rate of any threshold whose escape rate is at most `escape_rate`.

    A part is rejected above the threshold, as on the line; None unless both kinds occur.
    """
    if not _both(defective):
        return None
    bad = np.sort(scores[defective])
    allowed = _whole_parts(escape_rate, bad.size)
    if allowed >= bad.size:
        return 0.0
    # The threshold may be arbitrarily close to the first part that must not escape.
    return float(np.mean(scores[~defective] >= bad[allowed]))


def escape_at_false_reject(defective: Flags, scores: Scores, false_reject_rate: float) -> float | None:
    """Return the smallest escape rate of any threshold with a false-reject rate up to `false_reject_rate`."""
    if not _both(defective):
        return None
    good = np.sort(scores[~defective])[::-1]
    allowed = _whole_parts(false_reject_rate, good.size)
    if allowed >= good.size:
        return 0.0
    return float(np.mean(scores[defective] <= good[allowed]))


@dataclass(frozen=True)
class PixelFigures:
    """Figures over all pixels of all pictures, as fractions; `aupro` by its limit of the false-positive rate.

    Per-region overlap is the fraction of a defect's connected region (8 neighbours) above the threshold,
    averaged with equal weight over all regions (MVTec AD, IJCV 2021, "Evaluation metrics"); its area up to a
    limit is divided by that limit. `f1` is the F1 of the pixels above the threshold given (SegF1 in MVTec
    AD 2, 2025); None without a threshold.
    """

    auroc: float
    ap: float
    aupro: dict[float, float]
    f1: float | None = None


def histogram_edges(values: Map) -> Map:
    """Return at most `BINS` increasing float32 thresholds with about equally many `values` in between."""
    return np.unique(np.quantile(values, np.linspace(0, 1, BINS), method="nearest")).astype(np.float32)


def pixel_figures(
    pictures: Iterable[tuple[Flags, Map]], edges: Map, threshold: float | None = None
) -> PixelFigures | None:
    """Compute figures of masks bool [H,W] and maps float32 [H,W]; None unless both kinds of pixels occur.

    Pixels whose value is NaN do not count.

    A pixel's value is rounded down to one of `edges`: exact if `edges` contains every value. With
    `histogram_edges` of the maps before resizing, figures are accurate to about 2e-4. The F1 at `threshold`
    is exact.
    """
    good, bad = (np.zeros(len(edges) + 1, np.int64) for _ in range(2))
    overlap, regions = np.zeros(len(edges) + 1), 0
    hits = wrong = 0  # pixels found, and pixels that are found or defective and not both
    for marked, values in pictures:
        counted = ~np.isnan(values)
        mask = marked & counted
        bins = np.searchsorted(edges, values, side="right")
        counts = _count(bins[mask], edges)
        bad += counts
        good += _count(bins[counted], edges) - counts
        number, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        inside, found = labels[mask], bins[mask]
        for label in range(1, number):
            chosen = found[inside == label]
            overlap += _count(chosen, edges) / chosen.size
        regions += number - 1
        if threshold is not None:
            above = values > threshold
            hits += int((above & mask).sum())
            wrong += int((above != mask).sum())
    if not good.any() or not bad.any():
        return None
    figures = _figures(_above(good), _above(bad), _above(overlap) / regions)
    return figures if threshold is None else replace(figures, f1=2 * hits / (2 * hits + wrong))


def share(flags: Flags) -> float | None:
    """Return the fraction that is true; None for an empty array."""
    return float(flags.mean()) if flags.size else None


def _count(bins: NDArray[np.int64], edges: Map) -> NDArray[np.int64]:
    return np.bincount(bins, minlength=len(edges) + 1)


def _above(counts: NDArray[np.int64] | Scores) -> Scores:
    """Return the counts in a bin and all above it, from the topmost bin down, starting with 0."""
    return np.concatenate([[0.0], np.cumsum(counts[::-1], dtype=np.float64)])


def _figures(good: Scores, bad: Scores, overlap: Scores) -> PixelFigures:
    false_positive, recall = good / good[-1], bad / bad[-1]
    found = good + bad
    precision = np.divide(bad, found, out=np.ones_like(bad), where=found > 0)
    return PixelFigures(
        auroc=float(auc(false_positive, recall)),
        ap=float(np.sum(np.diff(recall) * precision[1:])),
        aupro={limit: _area(false_positive, overlap, limit) for limit in AUPRO_LIMITS},
    )


def _area(false_positive: Scores, overlap: Scores, limit: float) -> float:
    """Return the area under overlap over false-positive rate up to `limit`, divided by it."""
    last = int(
        np.searchsorted(false_positive, limit, side="right")
    )  # at most all but one: limits are below 1
    ends = slice(last - 1, last + 1)
    at_limit = np.interp(limit, false_positive[ends], overlap[ends])
    return float(auc(np.append(false_positive[:last], limit), np.append(overlap[:last], at_limit)) / limit)


def _whole_parts(rate: float, parts: int) -> int:
    return math.floor(rate * parts + 1e-9)  # 5 % of 20 parts is one, despite binary rounding


def _both(defective: Flags) -> bool:
    return bool(defective.any()) and not bool(defective.all())
