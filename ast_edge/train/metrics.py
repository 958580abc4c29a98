"""Figures of merit from scores and maps: scikit-learn's where it has them.

Pixel figures run over the pictures once and keep histograms, not pixels: 200 pictures of 5 megapixels need as
little memory as one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

Flags = NDArray[np.bool_]
Scores = NDArray[np.float64]
Map = NDArray[np.float32]

BINS = 20_000  # of a pixel histogram; the figures are exact where no two kinds of pixels share a bin
AUPRO_LIMITS = (0.3, 0.05)


def auroc(defective: Flags, scores: Scores) -> float | None:
    """Area under the ROC curve as a fraction; None unless there are both kinds."""
    return float(roc_auc_score(defective, scores)) if _both(defective) else None


def average_precision(defective: Flags, scores: Scores) -> float | None:
    """Average precision with defective as the positive class; None unless there are both kinds."""
    return float(average_precision_score(defective, scores)) if _both(defective) else None


def f1_max(defective: Flags, scores: Scores) -> float | None:
    """The largest F1 that any threshold reaches; None unless there are both kinds."""
    if not _both(defective):
        return None
    precision, recall, _ = precision_recall_curve(defective, scores)
    total = precision + recall
    return float(np.max(np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)))


def false_reject_at_escape(defective: Flags, scores: Scores, escape_rate: float) -> float | None:
    """The smallest false-reject rate of any threshold whose escape rate is at most `escape_rate`.

    A part is rejected above the threshold, as on the line; None unless there are both kinds.
    """
    if not _both(defective):
        return None
    bad = np.sort(scores[defective])
    allowed = _whole_parts(escape_rate, bad.size)
    if allowed >= bad.size:
        return 0.0
    # The threshold may come as close to the first part that must not escape as one likes.
    return float(np.mean(scores[~defective] >= bad[allowed]))


def escape_at_false_reject(defective: Flags, scores: Scores, false_reject_rate: float) -> float | None:
    """The smallest escape rate of any threshold whose false-reject rate is at most `false_reject_rate`."""
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

    Per-region overlap is the share of a defect's connected region (8 neighbours) that lies above the
    threshold, the mean of all regions counting alike (MVTec AD, IJCV 2021, "Evaluation metrics"); its area
    up to a limit is divided by that limit.
    """

    auroc: float
    ap: float
    aupro: dict[float, float]


def histogram_edges(values: Map) -> Map:
    """At most `BINS` thresholds, float32 and increasing, with about as many of `values` between any two."""
    return np.unique(np.quantile(values, np.linspace(0, 1, BINS), method="nearest")).astype(np.float32)


def pixel_figures(pictures: Iterable[tuple[Flags, Map]], edges: Map) -> PixelFigures | None:
    """Figures of masks bool [H,W] and their maps float32 [H,W]; None unless there are both kinds of pixels.

    A pixel's value counts as the largest of `edges` that is not above it: exact where `edges` holds every
    value. With `histogram_edges` of the maps before they were enlarged, figures are good to about 2e-4.
    """
    good, bad = (np.zeros(len(edges) + 1, np.int64) for _ in range(2))
    overlap, regions = np.zeros(len(edges) + 1), 0
    for mask, values in pictures:
        bins = np.searchsorted(edges, values, side="right")
        counts = _count(bins[mask], edges)
        bad += counts
        good += _count(bins.ravel(), edges) - counts
        number, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        inside, found = labels[mask], bins[mask]
        for label in range(1, number):
            chosen = found[inside == label]
            overlap += _count(chosen, edges) / chosen.size
        regions += number - 1
    if not good.any() or not bad.any():
        return None
    return _figures(_above(good), _above(bad), _above(overlap) / regions)


def share(flags: Flags) -> float | None:
    """The fraction that is true; None of nothing."""
    return float(flags.mean()) if flags.size else None


def _count(bins: NDArray[np.int64], edges: Map) -> NDArray[np.int64]:
    return np.bincount(bins, minlength=len(edges) + 1)


def _above(counts: NDArray[np.int64] | Scores) -> Scores:
    """How many lie in a bin or above it, from the topmost bin down, none first."""
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
    """Area under overlap over false-positive rate up to `limit`, divided by it."""
    last = int(
        np.searchsorted(false_positive, limit, side="right")
    )  # at most all but one: limits are below 1
    ends = slice(last - 1, last + 1)
    at_limit = np.interp(limit, false_positive[ends], overlap[ends])
    return float(auc(np.append(false_positive[:last], limit), np.append(overlap[:last], at_limit)) / limit)


def _whole_parts(rate: float, parts: int) -> int:
    return math.floor(rate * parts + 1e-9)  # 5 % of 20 parts is one, whatever binary fractions make of it


def _both(defective: Flags) -> bool:
    return bool(defective.any()) and not bool(defective.all())
