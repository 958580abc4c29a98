"""How good is a model on labelled parts: the same code for a run (PyTorch) and for an exported model.

Every part goes through the `Inspector` that the line uses, so the figures are those of the shipped verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ast_edge import scoring
from ast_edge.errors import DataError, FrameError, UsageError
from ast_edge.inspector import Inspection, Inspector
from ast_edge.manifest import Aggregation, Crop
from ast_edge.preprocess import depth_input
from ast_edge.train import metrics
from ast_edge.train.data import (
    GOOD,
    Dataset,
    LoadedSample,
    Sample,
    fingerprint,
    load,
    load_mask,
    open_dataset,
)
from ast_edge.train.network import TorchBackend
from ast_edge.train.progress import stage
from ast_edge.train.run import Run, pick_device


class DefectFigures(BaseModel):
    """One kind of defect: image AUROC against all good parts, and the share of its parts that passed."""

    model_config = ConfigDict(frozen=True)

    image_auroc: float | None
    escape_rate: float | None
    count: int


class AggregationFigures(BaseModel):
    """What image AUROC an aggregation of the same maps gives."""

    model_config = ConfigDict(frozen=True)

    image_auroc: float | None


class Evaluation(BaseModel):
    """Figures as fractions; None where the data cannot tell (no good parts, no masks).

    A part counts as rejected when it does not pass: a fault actuates the reject output too. For the AUROC a
    fault ranks above every score.
    """

    model_config = ConfigDict(frozen=True)

    image_auroc: float | None
    image_ap: float | None
    image_f1max: float | None
    pixel_auroc: float | None
    threshold: float
    aggregation: Aggregation
    false_reject_rate: float | None
    escape_rate: float | None
    per_defect: dict[str, DefectFigures]
    by_aggregation: dict[Aggregation, AggregationFigures]
    good_parts: int
    defective_parts: int
    faults: int
    engine: str
    data: str


@dataclass(frozen=True)
class Judged:
    """One test part with its inspection.

    `foreground` float32 [h,h] in the modes with depth; `shape` is the picture's (height, width) in pixels.
    """

    sample: Sample
    inspection: Inspection
    foreground: NDArray[np.float32] | None
    shape: tuple[int, int]


def open_model(path: Path, *, device: str = "auto", threads: int | None = None) -> Inspector:
    """An inspector for a run folder (PyTorch) or a model file (ONNX Runtime)."""
    if not path.is_dir():
        return Inspector.open(path, threads=threads)
    run = Run(path)
    spec, config = run.spec(), run.config().train
    return Inspector(spec, TorchBackend(run.load_network(), config, pick_device(device)))


def parts_to_test(data: Path, inspector: Inspector, defective: Path | None = None) -> Dataset:
    """The dataset whose test parts are to be judged.

    In a plain folder the pictures directly in it are the good ones; UsageError when they are those that the
    model was trained on. DataError when there is nothing to test.
    """
    dataset = open_dataset(data, mode=inspector.spec.mode, defective=defective)
    if dataset.layout != "folder":
        if not dataset.test:
            raise DataError(
                f"{data}: has no test pictures; add test/good and a folder for each kind of defect."
            )
        return dataset
    if fingerprint(dataset.train, dataset.root) == inspector.spec.training_data.fingerprint:
        raise UsageError(
            f"{data}: these are the parts the model was trained on; give good parts it has not seen."
        )
    return Dataset(dataset.root, dataset.layout, (), (), dataset.train + dataset.test)


def evaluate(inspector: Inspector, dataset: Dataset) -> Evaluation:
    """Judge every test part of `dataset` and take the figures; see `judge` and `figures`."""
    return figures(judge(inspector, dataset), inspector, dataset)


def judge(inspector: Inspector, dataset: Dataset) -> list[Judged]:
    """Judge every test part of `dataset`. DataError names a file that cannot be judged."""
    judged = []
    with stage("evaluating", len(dataset.test)) as shown:
        for sample in dataset.test:
            judged.append(_judge(inspector, sample))
            shown.advance()
    return judged


def _judge(inspector: Inspector, sample: Sample) -> Judged:
    loaded = load(sample, inspector.spec.mode)
    colour = None if loaded.image is None else "rgb"
    foreground = None
    try:
        inspection = inspector.inspect(loaded.image, colour=colour, depth_m=loaded.depth_m)  # type: ignore[arg-type]
        if loaded.depth_m is not None:
            foreground = depth_input(loaded.depth_m, inspector.spec.preprocessing).foreground
    except FrameError as exc:
        raise DataError(f"{sample.name}: {exc}") from exc
    return Judged(sample, inspection, foreground, _shape(loaded))


def _shape(loaded: LoadedSample) -> tuple[int, int]:
    picture = loaded.image if loaded.image is not None else loaded.depth_m
    assert picture is not None  # noqa: S101  # a loaded sample has one or the other
    return picture.shape[0], picture.shape[1]


def figures(judged: list[Judged], inspector: Inspector, dataset: Dataset) -> Evaluation:
    """The figures of parts that `inspector` judged."""
    spec = inspector.spec
    defective = np.array([part.sample.defect != GOOD for part in judged])
    passed = np.array([part.inspection.verdict == "pass" for part in judged])
    faults = np.array([part.inspection.verdict == "fault" for part in judged])
    scores = _ranked(np.array([part.inspection.score for part in judged]), faults)
    masks, maps = _pixels(judged, spec.preprocessing.crop)
    return Evaluation(
        image_auroc=metrics.auroc(defective, scores),
        image_ap=metrics.average_precision(defective, scores),
        image_f1max=metrics.f1_max(defective, scores),
        pixel_auroc=metrics.pixel_auroc(masks, maps),
        threshold=spec.threshold.value,
        aggregation=spec.aggregation,
        false_reject_rate=metrics.share(~passed[~defective]),
        escape_rate=metrics.share(passed[defective]),
        per_defect=_per_defect(judged, scores, passed),
        by_aggregation=_by_aggregation(judged, defective, faults),
        good_parts=int((~defective).sum()),
        defective_parts=int(defective.sum()),
        faults=int(faults.sum()),
        engine=inspector.engine,
        data=dataset.root.name,
    )


def _ranked(scores: NDArray[np.float64], faults: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Scores with every fault above the largest of them: what was not judged is never taken for good."""
    top = scores[~faults].max() + 1.0 if (~faults).any() else 0.0
    return np.where(faults, top, scores)


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
    judged: list[Judged], defective: NDArray[np.bool_], faults: NDArray[np.bool_]
) -> dict[Aggregation, AggregationFigures]:
    figures: dict[Aggregation, AggregationFigures] = {}
    names: tuple[Aggregation, ...] = ("mean", "max")
    for name in names:
        scores = np.array([_score(part, name) for part in judged], dtype=np.float64)
        figures[name] = AggregationFigures(image_auroc=metrics.auroc(defective, _ranked(scores, faults)))
    return figures


def _score(part: Judged, aggregation: Aggregation) -> float:
    return float(scoring.aggregate(part.inspection.anomaly_map[None], part.foreground, aggregation)[0])


def _pixels(
    judged: list[Judged], crop: Crop | None
) -> tuple[list[NDArray[np.bool_]], list[NDArray[np.float32]]]:
    """Full-size masks and maps brought to it (bilinear), inside the crop; empty if a mask lacks."""
    masks, maps = [], []
    for part in judged:
        if part.sample.defect != GOOD and part.sample.mask is None:
            return [], []
        if part.inspection.verdict == "fault":
            continue
        mask = load_mask(part.sample, part.shape)
        if crop is not None:
            mask = mask[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
        size = (mask.shape[1], mask.shape[0])
        masks.append(mask)
        maps.append(
            cv2.resize(part.inspection.anomaly_map, size, interpolation=cv2.INTER_LINEAR).astype(np.float32)
        )
    return masks, maps
