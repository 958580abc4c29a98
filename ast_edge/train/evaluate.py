"""Evaluation of a model on labelled parts, for a run (PyTorch) and for an exported model alike.

Every part goes through the same `Inspector` as on the line, so the figures are those of the shipped verdict.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ast_edge.backends import BackendName
from ast_edge.data import (
    GOOD,
    Dataset,
    Sample,
    fingerprint,
    load_mask,
    open_dataset,
    refuse_seen,
)
from ast_edge.errors import DataError, UsageError
from ast_edge.files import printable
from ast_edge.frames.depth import depth_input
from ast_edge.inspector import Inspection, Inspector
from ast_edge.model.manifest import Aggregation, Crop, ModelSpec, Preprocessing
from ast_edge.progress import stage
from ast_edge.samples import inspect_loaded, load_or_why
from ast_edge.train import metrics
from ast_edge.train.evaluation import AggregationFigures, DefectFigures, Evaluation, PartFigures
from ast_edge.train.intervals import auroc_interval
from ast_edge.train.network import TorchBackend
from ast_edge.train.run import Run, pick_device
from ast_edge.verdict import scoring
from ast_edge.verdict.rates import Interval, rate_interval

AGGREGATIONS: tuple[Aggregation, ...] = ("mean", "max", "top5", "top10")
RATES_PERCENT = (0, 1, 5, 10)


@dataclass(frozen=True)
class Judged:
    """One test part with its inspection.

    `foreground` float32 [1,h,h] in the modes with depth and with a region of interest; `shape` is the
    picture's (height, width) in pixels.
    """

    sample: Sample
    inspection: Inspection
    foreground: NDArray[np.float32] | None
    shape: tuple[int, int]


def open_model(
    path: Path, *, device: str = "auto", threads: int | None = None, backend: BackendName | None = None
) -> Inspector:
    """Open an inspector for a run folder (PyTorch), or for a model or engine file on `backend`."""
    if not path.is_dir():
        return Inspector.open(path, threads=threads, backend=backend)
    run = Run(path)
    spec, config = run.spec(), run.config().train
    return Inspector(spec, TorchBackend(run.load_network(), config, pick_device(device)))


def parts_to_test(data: Path, inspector: Inspector, defective: Path | None = None) -> Dataset:
    """Return the dataset whose test parts are to be judged.

    In a plain folder the pictures directly in it are good ones. UsageError names parts that the model was
    trained on, whose figures would be too good. DataError when there is nothing to test.
    """
    dataset = open_dataset(data, mode=inspector.spec.mode, defective=defective)
    if dataset.layout != "folder":
        if not dataset.test:
            raise DataError(
                f"{data}: has no test pictures; add test/good and a folder for each kind of defect."
            )
        refuse_seen(dataset.test, inspector.spec)
        return dataset
    if fingerprint(dataset.train, dataset.root) == inspector.spec.training_data.fingerprint:
        raise UsageError(
            f"{data}: these are the parts the model was trained on; give good parts it has not seen."
        )
    parts = dataset.train + dataset.test
    refuse_seen(parts, inspector.spec)
    return Dataset(dataset.root, dataset.layout, (), (), parts)


def evaluate(inspector: Inspector, dataset: Dataset) -> Evaluation:
    """Judge every test part of `dataset` and compute the figures; see `judge` and `figures`."""
    return figures(judge(inspector, dataset), inspector, dataset)


def judge(inspector: Inspector, dataset: Dataset) -> list[Judged]:
    """Judge every test part of `dataset`; one that is unreadable or does not fit is a fault."""
    judged = []
    with stage("evaluating", len(dataset.test)) as shown:
        for sample in dataset.test:
            judged.append(_judge(inspector, sample))
            shown.advance()
    return judged


def _judge(inspector: Inspector, sample: Sample) -> Judged:
    spec, foreground = inspector.spec, None
    settings = spec.preprocessing
    if settings.roi is not None:
        foreground = settings.roi.places(settings.image_size, settings.map_size).astype(np.float32)[None]
    loaded = load_or_why(sample, spec.mode)
    inspection = inspect_loaded(inspector, loaded)
    if isinstance(loaded, str) or not inspection.stages_ms:
        return Judged(sample, inspection, None, (0, 0))
    if loaded.depth_m is not None:
        foreground = depth_input(loaded.depth_m, settings).foreground
    return Judged(sample, inspection, foreground, loaded.shape)


def figures(judged: list[Judged], inspector: Inspector, dataset: Dataset) -> Evaluation:
    """Compute the figures of parts that `inspector` judged."""
    spec = inspector.spec
    defective = np.array([part.sample.defect != GOOD for part in judged])
    passed = np.array([part.inspection.verdict == "pass" for part in judged])
    faults = np.array([part.inspection.verdict == "fault" for part in judged])
    scores = metrics.ranked(np.array([part.inspection.score for part in judged]), faults)
    pixels = _pixel_figures(judged, spec)
    roi = spec.preprocessing.roi
    return Evaluation(
        image_auroc=metrics.auroc(defective, scores),
        image_auroc_interval=auroc_interval(defective, scores),
        image_ap=metrics.average_precision(defective, scores),
        image_f1max=metrics.f1_max(defective, scores),
        pixel_auroc=None if pixels is None else pixels.auroc,
        pixel_ap=None if pixels is None else pixels.ap,
        aupro_30=None if pixels is None else pixels.aupro[0.3],
        aupro_05=None if pixels is None else pixels.aupro[0.05],
        false_reject_at_escape={
            f"{percent}": metrics.false_reject_at_escape(defective, scores, percent / 100)
            for percent in RATES_PERCENT
        },
        escape_at_false_reject={
            f"{percent}": metrics.escape_at_false_reject(defective, scores, percent / 100)
            for percent in RATES_PERCENT
        },
        threshold=spec.threshold.value,
        aggregation=spec.aggregation,
        false_reject_rate=metrics.share(~passed[~defective]),
        false_reject_interval=_interval(~passed[~defective]),
        escape_rate=metrics.share(passed[defective]),
        escape_interval=_interval(passed[defective]),
        class_f1=metrics.f1(defective, ~passed),
        seg_f1=None if pixels is None else pixels.f1,
        per_defect=_per_defect(judged, scores, passed),
        by_aggregation=_by_aggregation(judged, defective, faults, spec),
        good_parts=int((~defective).sum()),
        defective_parts=int(defective.sum()),
        faults=int(faults.sum()),
        looked_at=None if roi is None else float(roi.pixels(spec.preprocessing.image_size).mean()),
        without_mask=sum(part.sample.defect != GOOD and part.sample.mask is None for part in judged),
        engine=inspector.engine,
        data=printable(Path(dataset.root.name)),
        data_fingerprint=_fingerprint(dataset),
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        parts=[_part_figures(part, dataset.root) for part in judged],
    )


def _interval(flags: NDArray[np.bool_]) -> Interval | None:
    return rate_interval(int(flags.sum()), flags.size) if flags.size else None


def _fingerprint(dataset: Dataset) -> str | None:
    """Return the fingerprint of the parts' files; None while one of them cannot be read."""
    try:
        return fingerprint(dataset.test, dataset.root)
    except DataError:
        return None


def _part_figures(part: Judged, root: Path) -> PartFigures:
    score = part.inspection.score
    return PartFigures(
        # Defective parts may be in a folder of their own.
        name=printable(Path(os.path.relpath(part.sample.name, root))),
        defect=part.sample.defect,
        verdict=part.inspection.verdict,
        reason=part.inspection.reason if part.inspection.verdict == "fault" else "",
        score=score if math.isfinite(score) else None,
    )


def _per_defect(
    judged: list[Judged], scores: NDArray[np.float64], passed: NDArray[np.bool_]
) -> dict[str, DefectFigures]:
    kinds = np.array([part.sample.defect for part in judged])
    figures = {}
    for kind in sorted(set(kinds.tolist()) - {GOOD}):
        chosen = (kinds == kind) | (kinds == GOOD)
        figures[kind] = DefectFigures(
            image_auroc=metrics.auroc(kinds[chosen] == kind, scores[chosen]),
            escape_rate=metrics.share(passed[kinds == kind]),
            count=int((kinds == kind).sum()),
        )
    return figures


def _by_aggregation(
    judged: list[Judged], defective: NDArray[np.bool_], faults: NDArray[np.bool_], spec: ModelSpec
) -> dict[Aggregation, AggregationFigures]:
    places = spec.preprocessing.places
    names = [name for name in AGGREGATIONS if name in {"mean", "max"} or scoring.top_count(name) <= places]
    figures: dict[Aggregation, AggregationFigures] = {}
    for name in dict.fromkeys([*names, spec.aggregation]):
        scores = np.array([_score(part, name) for part in judged], dtype=np.float64)
        figures[name] = AggregationFigures(
            image_auroc=metrics.auroc(defective, metrics.ranked(scores, faults))
        )
    return figures


def _score(part: Judged, aggregation: Aggregation) -> float:
    return float(scoring.aggregate(part.inspection.anomaly_map[None], part.foreground, aggregation)[0])


def _pixel_figures(judged: list[Judged], spec: ModelSpec) -> metrics.PixelFigures | None:
    """Return the pixel figures of all parts that are not faults; None if a defective one has no mask."""
    if any(part.sample.defect != GOOD and part.sample.mask is None for part in judged):
        return None
    seen = [part for part in judged if part.inspection.verdict != "fault"]
    if not seen:
        return None
    values = np.concatenate([part.inspection.anomaly_map.ravel() for part in seen])
    pictures = (_pixels(part, spec.preprocessing) for part in seen)
    return metrics.pixel_figures(pictures, metrics.histogram_edges(values), spec.threshold.pixel_value)


def _pixels(part: Judged, spec: Preprocessing) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Return the full-size mask and the map resized to it (bilinear); outside the crop below any value.

    Outside a region of interest the values are NaN.
    """
    mask = load_mask(part.sample, part.shape)
    area = spec.crop or Crop(x=0, y=0, width=part.shape[1], height=part.shape[0])
    size = (area.width, area.height)
    values = np.full(part.shape, -np.inf if spec.roi is None else np.nan, np.float32)
    window = values[area.y : area.y + area.height, area.x : area.x + area.width]
    window[:] = cv2.resize(part.inspection.anomaly_map, size, interpolation=cv2.INTER_LINEAR)
    if spec.roi is not None:
        looked_at = spec.roi.pixels(spec.image_size).astype(np.uint8)
        window[cv2.resize(looked_at, size, interpolation=cv2.INTER_NEAREST) == 0] = np.nan
    return mask, values
