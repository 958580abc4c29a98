"""From a data folder to a complete run: weights, features, teacher, student, calibration, references."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch

import ast_edge
from ast_edge.errors import DataError, RunError, UsageError, reason
from ast_edge.files import cache_root, write_bytes, write_text
from ast_edge.frames.levels import GreyLevels, grey_levels, span
from ast_edge.frames.reading import picture_size, read_xyz
from ast_edge.model.manifest import Mode, ModelSpec, PastCalibration, TrainedRange, TrainingData
from ast_edge.progress import stage
from ast_edge.train.area import crop_around_parts
from ast_edge.train.backbone import Trunk, build_trunk, calibrate_batch_norm, download_weights, load_weights
from ast_edge.train.checkpoint import load_module, read_tensors, save_tensors
from ast_edge.train.config import TrainConfig
from ast_edge.train.data import Dataset, Sample, fingerprint, open_dataset, split_holdout
from ast_edge.train.features import (
    Extraction,
    Features,
    cache_key,
    channel_statistics,
    input_batches,
)
from ast_edge.train.fit import Parts, Workplace, fit, student_phase, teacher_phase
from ast_edge.train.log import log_to, logger
from ast_edge.train.network import AstNetwork, TorchBackend
from ast_edge.train.references import reference_vectors
from ast_edge.train.run import Run, RunConfig, pick_device
from ast_edge.verdict import scoring
from ast_edge.verdict.calibration import GoodParts, Origin, calibrate

SEEDED: Literal["seeded"] = "seeded"
_CALIBRATION_PARTS = 64


@dataclass(frozen=True)
class TrainRequest:
    """A training job. `weights` is a safetensors file, `seeded` for random ones, or None to download them.

    With `crop_around_parts` the configuration's crop is replaced by one found from the good parts.
    """

    data: Path
    run: Path
    config: TrainConfig
    weights: Path | Literal["seeded"] | None = None
    device: str = "auto"
    workers: int = 0
    crop_around_parts: bool = False


@dataclass(frozen=True)
class Split:
    """A dataset with its good parts divided into those to train on and those held out."""

    dataset: Dataset
    train: tuple[Sample, ...]
    holdout: tuple[Sample, ...]

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All good parts, those to train on first."""
        return self.train + self.holdout

    @property
    def held_out(self) -> list[str]:
        """Names of the held-out parts in the data folder."""
        return [sample.name.relative_to(self.dataset.root).as_posix() for sample in self.holdout]

    def describe(self) -> TrainingData:
        """What the manifest says of them."""
        # In order of name, as the folder lists them: evaluation knows the parts again whatever was held out.
        samples = sorted(self.samples, key=lambda sample: sample.name.as_posix())
        return TrainingData(
            fingerprint=fingerprint(samples, self.dataset.root),
            layout=self.dataset.layout,
            train_parts=len(self.train),
            holdout_parts=len(self.holdout),
        )


def train(request: TrainRequest) -> Run:
    """Start a run in a new folder. UsageError when the folder already holds one; see `resume`."""
    run = Run(request.run)
    if run.started:
        raise UsageError(
            f"{run.path}: already holds a run; continue it with --resume or name another folder."
        )
    config, device = request.config, pick_device(request.device)
    if config.mode == "depth" and isinstance(request.weights, Path):
        raise UsageError("--weights: mode depth has no backbone; leave the option out.")
    split = split_parts(request.data, config)
    if request.crop_around_parts:
        config = config.model_copy(update={"crop": crop_around_parts(split.samples, config)})
    _make_folder(run.path)
    with log_to(run.log), _deterministic():
        if request.crop_around_parts:
            logger.info("crop around the parts: %s", config.crop or "the whole frame")
        weights = _prepare_trunk(run, replace(request, config=config), split.train)
        about = RunConfig(
            train=config,
            data=split.describe(),
            data_path=str(request.data.resolve()),
            weights=weights,
            versions=versions(),
        )
        write_text(run.config_file, about.model_dump_json(indent=1))
        _work(run, about, split, device, request.workers)
    return run


def resume(run: Run, data: Path, *, device: str = "auto", workers: int = 0) -> Run:
    """Continue a run that was stopped, to the result that it would have had; a complete run is left alone.

    Raises RunError when there is no run or `data` is not what it was started with.
    """
    if not run.started:
        raise RunError(f"{run.path}: holds no run to resume; start one without --resume.")
    if run.complete:
        return run
    about = run.config()
    split = split_parts(data, about.train)
    if split.describe() != about.data:
        raise RunError(
            f"{data}: is not the data that {run.path} was started with; give that folder unchanged."
        )
    for left_behind in run.path.glob(".*.tmp"):  # by a write that a kill cut off
        left_behind.unlink()
    with log_to(run.log), _deterministic():
        logger.info("resumed")
        _work(run, about, split, pick_device(device), workers)
    return run


def versions() -> dict[str, str]:
    """Versions of what decides numbers."""
    names = ("torch", "timm", "FrEIA", "numpy")
    return {
        "ast-edge": ast_edge.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"{path}: cannot become a run folder ({reason(exc)}); name another.") from exc


def split_parts(data: Path, config: TrainConfig) -> Split:
    """The good parts of `data` as a run with `config` divides them. DataError for data that is unfit."""
    dataset = open_dataset(data, mode=config.mode, with_test=False)
    if len(dataset.validation) == 1:
        raise DataError(f"{dataset.validation[0].name}: is the only validation part; expected 2 or more.")
    if dataset.validation:
        return Split(dataset, dataset.train, dataset.validation)
    return Split(dataset, *split_holdout(dataset.train, fraction=config.holdout, seed=config.seed))


def _prepare_trunk(run: Run, request: TrainRequest, train_parts: tuple[Sample, ...]) -> str:
    """Put the backbone's weights into the run folder; say where they came from."""
    config = request.config
    if config.mode == "depth":
        return "none"
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        trunk = build_trunk(config.backbone, config.image_size)
    if request.weights is None:
        download_weights(trunk, config.backbone)
        origin = f"timm {config.backbone.name}"
    elif request.weights == SEEDED:
        batches = input_batches(train_parts[:_CALIBRATION_PARTS], config, workers=request.workers)
        calibrate_batch_norm(trunk, [inputs["image"] for inputs in batches])
        origin = f"seed {config.seed}, batch norm calibrated"
    else:
        load_weights(trunk, request.weights)
        origin = request.weights.name
    save_tensors(run.trunk_file, trunk.state_dict())
    return origin


def _work(run: Run, about: RunConfig, split: Split, device: torch.device, workers: int) -> None:
    """Everything after the trunk's weights lie in the run folder; each step picks up what it finds."""
    config = about.train
    trunk = run.load_trunk(config)
    if trunk is not None:
        trunk.to(device)
    parts = _extract(
        about, split, Extraction(split.samples, config, trunk, device, _cache(about, split, trunk), workers)
    )
    if trunk is not None:
        trunk.cpu()
    network = AstNetwork(config, trunk)
    if config.standardise == "channel":
        mean, std = channel_statistics(parts[0])
        network.standardise.mean.copy_(mean)
        network.standardise.std.copy_(std)
    network.to(device)
    _fit(run, network, Parts(*parts, network.standardise), config, device)
    _finish(run, about, network, split, device)


def _cache(about: RunConfig, split: Split, trunk: Trunk | None) -> Path:
    key = cache_key(about.data.fingerprint, about.train, trunk, held_out=split.held_out)
    return cache_root() / "features" / key


def _extract(about: RunConfig, split: Split, job: Extraction) -> tuple[Features, Features]:
    with stage("extracting features", len(split.samples)) as shown:
        features = job.run(shown.advance)
    logger.info("features of %d parts in %s", len(features), job.folder)
    return features.split(about.data.train_parts)


def _fit(run: Run, network: AstNetwork, parts: Parts, config: TrainConfig, device: torch.device) -> None:
    place = Workplace(run.checkpoint, run.history, device)
    if run.teacher_file.exists():
        load_module(network.teacher, read_tensors(run.teacher_file)[0], run.teacher_file)
    else:
        fit(teacher_phase(network, config), parts, config, place)
        save_tensors(run.teacher_file, network.teacher.state_dict())
    fit(student_phase(network, config), parts, config, place)


def _finish(run: Run, about: RunConfig, network: AstNetwork, split: Split, device: torch.device) -> None:
    network.eval()
    save_tensors(run.weights, network.state_dict())
    backend = TorchBackend(network, about.train, device)
    good, levels = _calibrate(run, about, backend, split)
    threshold = good.threshold
    references = reference_vectors(backend, about.train, split.holdout, threshold.value)
    write_bytes(run.references_file, references.to_bytes())
    config = about.train
    run.write_spec(
        ModelSpec(
            mode=config.mode,
            preset=config.preset,
            backbone="none" if config.mode == "depth" else config.backbone.describe(),
            training_data=about.data,
            preprocessing=config.preprocessing,
            smoothing=config.smoothing,
            aggregation=config.aggregation,
            threshold=threshold,
            calibration=good.calibration,
            trained=_trained_range(split.samples, config.mode, levels),
        )
    )
    run.checkpoint.unlink(missing_ok=True)
    run.teacher_file.unlink(missing_ok=True)
    logger.info("complete: %s", scoring.statement(threshold))


def _calibrate(
    run: Run, about: RunConfig, backend: TorchBackend, split: Split
) -> tuple[PastCalibration, list[GreyLevels]]:
    holdout = split.holdout
    scores: list[float] = []
    levels: list[GreyLevels] = []
    maxima: list[float] = []
    with stage("calibrating", len(holdout)) as shown:
        for inputs in input_batches(holdout, about.train):
            outputs = backend.run({name: tensor.numpy() for name, tensor in inputs.items()})
            scores += outputs.score.tolist()
            maxima += outputs.anomaly_map.max(axis=(1, 2)).tolist()
            levels += [grey_levels(image) for image in inputs["image"].numpy()] if "image" in inputs else []
            shown.advance(len(outputs.score))
    rows = [
        {"part": str(sample.name), "score": score, "map_maximum": maximum}
        for sample, score, maximum in zip(holdout, scores, maxima, strict=True)
    ]
    digest = fingerprint(holdout, split.dataset.root)
    good = calibrate(
        GoodParts(scores, maxima, levels, digest),
        Origin("held out in training"),
        false_reject_rate=about.train.false_reject_rate,
    )
    content = {"threshold": good.threshold.model_dump(), "held_out_parts": rows}
    write_text(run.calibration, json.dumps(content, indent=1))
    return good, levels


def _frame_size(sample: Sample, mode: Mode) -> tuple[int, int]:
    if mode == "depth" and sample.xyz is not None:
        height, width = read_xyz(sample.xyz).shape
        return width, height
    return picture_size(sample.name)


def _trained_range(samples: tuple[Sample, ...], mode: Mode, levels: list[GreyLevels]) -> TrainedRange:
    sizes = [_frame_size(sample, mode) for sample in samples]
    return TrainedRange(
        width=span([width for width, _ in sizes]),
        height=span([height for _, height in sizes]),
        brightness=span([level.brightness for level in levels]) if levels else None,
        contrast=span([level.contrast for level in levels]) if levels else None,
    )


@contextmanager
def _deterministic() -> Iterator[None]:
    """Same seed, same machine, same result: algorithms that may differ from run to run are refused."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(mode=True)
    try:
        # TensorFloat-32 would round features and scores to three digits; the exported model has seven.
        with torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.use_deterministic_algorithms(before)
