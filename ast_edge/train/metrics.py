"""Figures of merit from scores and maps; every one is scikit-learn's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

Flags = NDArray[np.bool_]
Scores = NDArray[np.float64]


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


def pixel_auroc(masks: Sequence[Flags], maps: Sequence[NDArray[np.float32]]) -> float | None:
    """AUROC over all pixels of all parts together; mask and map of a part have one shape [H,W]."""
    if not masks:
        return None
    flat = np.concatenate([mask.ravel() for mask in masks])
    if not _both(flat):
        return None
    return float(roc_auc_score(flat, np.concatenate([values.ravel() for values in maps])))


def share(flags: Flags) -> float | None:
    """The fraction that is true; None of nothing."""
    return float(flags.mean()) if flags.size else None


def _both(flags: Flags) -> bool:
    return bool(flags.any()) and not bool(flags.all())
