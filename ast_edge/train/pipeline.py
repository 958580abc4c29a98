"""From a data folder to a complete run: weights, features, teacher, student, calibration, references."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import torch

import ast_edge
from ast_edge.data import (
    Sample,
    fingerprint,
)
from ast_edge.errors import RunError, UsageError
from ast_edge.files import cache_root, printable, remove_leftovers, write_bytes, write_text
from ast_edge.frames.levels import span
from ast_edge.frames.reading import picture_size, read_xyz
from ast_edge.model.manifest import (
    Mode,
    ModelSpec,
    PastCalibration,
    TrainedRange,
)
from ast_edge.progress import say, stage
from ast_edge.train.area import crop_around_parts
from ast_edge.train.backbone import (
    Trunk,
    build_trunks,
    calibrate_batch_norm,
    load_weights,
    pretrained_weights,
)
from ast_edge.train.checking import check_parts
from ast_edge.train.checkpoint import save_tensors, state_digest
from ast_edge.train.config import BackboneConfig, TrainConfig
from ast_edge.train.features import (
    Extraction,
    Features,
    cache_key,
    input_batches,
)
from ast_edge.train.fit import settled
from ast_edge.train.folder import already_there, claimed, new_folder
from ast_edge.train.folds import cross_judged, outliers, outliers_text, scale_text, scaled
from ast_edge.train.judged import JudgedPart, evidence
from ast_edge.train.log import log_to, logger
from ast_edge.train.network import TorchBackend
from ast_edge.train.networks import Making, judge_good_parts, trained_network
from ast_edge.train.references import reference_vectors
from ast_edge.train.roi import Masks, with_roi
from ast_edge.train.run import Run, RunConfig, pick_device
from ast_edge.train.split import Split, parts_text, same_parts, split_parts
from ast_edge.verdict.calibration import Origin, calibrate
from ast_edge.verdict.threshold import statement

SEEDED: Literal["seeded"] = "seeded"
_CALIBRATION_PARTS = 64


@dataclass(frozen=True)
class TrainRequest:
    """A training job. `weights` is a safetensors file, `seeded` for random ones, or None to download them.

    With `crop_around_parts` the crop is computed from the good parts. `masks` say where to look. Unusable
    parts are refused unless `skip_bad` skips them; frames of several sizes are refused unless `mixed_sizes`
    allows them.
    """

    data: Path
    run: Path
    config: TrainConfig
    weights: Path | Literal["seeded"] | None = None
    device: str = "auto"
    workers: int = 0
    crop_around_parts: bool = False
    skip_bad: bool = False
    mixed_sizes: bool = False
    masks: Masks = field(default_factory=Masks)


def train(request: TrainRequest) -> Run:
    """Start a run in a new folder; if it ends before training begins, nothing of it is left.

    Raises UsageError when the folder already contains a run (see `resume`), RunError while another process
    trains in it, DataError for unusable parts.
    """
    run = Run(request.run)
    device = pick_device(request.device)
    config = settled(request.config, device)
    if config.mode == "depth" and isinstance(request.weights, Path):
        raise UsageError("--weights: mode depth has no backbone; leave the option out.")
    if run.started:
        raise already_there(run)
    split, skipped = _checked_split(request)
    with new_folder(run), log_to(run.log), _deterministic():
        if request.crop_around_parts:
            config = config.model_copy(update={"crop": crop_around_parts(split.samples, config)})
            logger.info("crop around the parts: %s", config.crop or "the whole frame")
        if request.masks:
            size = _frame_size(split.train[0], config.mode)
            config = with_roi(config, request.masks, split.train, size, workers=request.workers)
            logger.info("looked at by %s", request.masks)
        for name, why in skipped.items():
            logger.warning("left out: %s (%s)", name, why)
        weights = _prepare_trunks(run, replace(request, config=config), split.train)
        about = RunConfig(
            train=config,
            data=split.describe(),
            data_path=os.fsencode(request.data.resolve()).decode("utf-8", "backslashreplace"),
            weights=weights,
            versions=versions(),
            skipped=skipped,
            sealed=True,
        )
        write_text(run.config_file, about.model_dump_json(indent=1))
        _work(run, about, split, device, request.workers)
    return run


def _checked_split(request: TrainRequest) -> tuple[Split, dict[str, str]]:
    """Return the checked training and held-out parts, and the reasons why others were skipped."""
    config = request.config
    split = split_parts(request.data, config)
    if request.masks:
        _check_masks(request, split)
    checked = check_parts(split.samples, config, workers=request.workers)
    if not request.skip_bad:
        checked.require_all()
    if not request.mixed_sizes:
        checked.require_one_shape()
    if said := checked.turned():
        say(said)
    skipped = {split.name(sample): why for sample, why in checked.bad.items()}
    if skipped:
        say(f"{len(skipped)} unusable good parts are skipped; the run's log names them.")
        split = split_parts(request.data, config, skipped)
    say(parts_text(split, config))
    return split, skipped


def _check_masks(request: TrainRequest, split: Split) -> None:
    """Refuse masks that cannot be used before every picture is read."""
    masks, mode = request.masks, request.config.mode
    if mode != "rgb":
        raise UsageError(
            f"{masks}: masks are for mode rgb; in mode {mode} a part's depth depends on the whole frame: "
            "use --crop, or train in mode rgb."
        )
    if request.mixed_sizes:
        raise UsageError(f"{masks}: a mask fits frames of one size; leave --mixed-sizes out.")
    masks.of_frame(*_frame_size(split.train[0], mode))


def resume(run: Run, data: Path, *, device: str = "auto", workers: int = 0) -> Run:
    """Continue an interrupted run, to the same result; a complete run is left alone.

    Raises RunError when there is no run, another process trains it, or `data` differs from the data it was
    started with.
    """
    if not run.started:
        raise RunError(f"{run.path}: contains no run to resume; start one without --resume.")
    if run.complete:
        run.spec()
        return run
    with claimed(run):
        about = run.config()
        split = split_parts(data, about.train, about.skipped)
        if not same_parts(split.describe(), about.data):
            raise RunError(
                f"{data}: is not the data that {run.path} was started with; give that folder unchanged."
            )
        remove_leftovers(run.path)
        with log_to(run.log), _deterministic():
            logger.info("resumed")
            _work(run, about, split, pick_device(device), workers)
    return run


def versions() -> dict[str, str]:
    """Return the versions of packages that affect results."""
    names = ("torch", "timm", "FrEIA", "numpy")
    return {
        "ast-edge": ast_edge.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def _prepare_trunks(run: Run, request: TrainRequest, train_parts: tuple[Sample, ...]) -> str:
    """Write the backbones' weights into the run folder; return the source of the network's own."""
    config = request.config
    if config.mode == "depth":
        return "none"
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        trunk, other = build_trunks(config)
    assert trunk is not None  # noqa: S101  # only mode depth has none
    origin = _load_weights(trunk, config.backbone, request, train_parts)
    save_tensors(run.trunk_file, trunk.state_dict())
    if other is not None and config.further_backbone is not None:
        # A weights file is for the network's own backbone; the other one has its package's or timm's.
        weights = SEEDED if request.weights == SEEDED else None
        further = _load_weights(
            other, config.further_backbone, replace(request, weights=weights), train_parts
        )
        logger.info("weights of %s for memories: %s", config.further_backbone.describe(), further)
        save_tensors(run.other_trunk_file, other.state_dict())
    return origin


def _load_weights(
    trunk: Trunk, backbone: BackboneConfig, request: TrainRequest, train_parts: tuple[Sample, ...]
) -> str:
    if request.weights is None:
        return pretrained_weights(trunk, backbone)
    if request.weights == SEEDED:
        config = request.config
        batches = input_batches(train_parts[:_CALIBRATION_PARTS], config, workers=request.workers)
        calibrate_batch_norm(trunk, [inputs["image"] for inputs in batches])
        return f"seed {config.seed}, batch norm calibrated"
    load_weights(trunk, request.weights)
    return f"{printable(Path(request.weights.name))}, sha256 {state_digest(trunk.state_dict())}"


def _work(run: Run, about: RunConfig, split: Split, device: torch.device, workers: int) -> None:
    """Run everything after the trunk's weights are in the run folder; each step reuses existing results."""
    config = about.train
    making = Making(config, *run.load_trunks(config), device, workers)
    features = _extract(about, split, making)
    crossed = None
    if config.calibration == "cross":
        crossed = cross_judged(run, making, split, features)
        split, features, crossed = _without_outliers(split, features, crossed, config)
    network = trained_network(run, making, split, features)
    save_tensors(run.weights, network.state_dict())
    held_out = judge_good_parts(network, making, split.holdout)
    good, judged = _calibrate(run, split, config, held_out, crossed)
    backend = TorchBackend(network, config, device)
    references = reference_vectors(backend, config, split.holdout, good.threshold.value)
    write_bytes(run.references_file, references.to_bytes())
    run.write_spec(
        ModelSpec(
            mode=config.mode,
            preset=config.preset,
            backbone="none" if config.mode == "depth" else config.backbone.describe(),
            training_data=about.data.model_copy(
                update={"train_parts": len(split.train), "holdout_parts": len(split.holdout)}
            ),
            preprocessing=config.preprocessing,
            smoothing=config.smoothing,
            aggregation=config.aggregation,
            threshold=good.threshold,
            calibration=good.calibration,
            trained=_trained_range(split.samples, config.mode, judged),
        )
    )
    run.checkpoint.unlink(missing_ok=True)
    run.teacher_file.unlink(missing_ok=True)
    shutil.rmtree(run.folds, ignore_errors=True)
    logger.info("complete: %s", statement(good.threshold))


def _extract(about: RunConfig, split: Split, making: Making) -> Features:
    """The features of all parts, in the order of the samples of `split`."""
    config, trunk = making.config, making.trunk
    if trunk is not None:
        trunk.to(making.device)
    key = cache_key(about.data.fingerprint, config, trunk, held_out=split.held_out)
    folder = cache_root() / "features" / key
    job = Extraction(split.samples, config, trunk, making.device, folder, making.workers)
    with stage("extracting features", len(split.samples)) as shown:
        features = job.run(shown.advance)
    logger.info("features of %d parts in %s", len(features), job.folder)
    return features


def _without_outliers(
    split: Split, features: Features, judged: list[JudgedPart], config: TrainConfig
) -> tuple[Split, Features, list[JudgedPart]]:
    """Name the parts that may be defective and, with `exclude_outliers`, leave them out."""
    strange = outliers(judged)
    for at in strange:
        logger.warning("may be defective: %s (score %.6g)", judged[at].part, judged[at].score)
    if strange:
        say(outliers_text([judged[at] for at in strange], judged, excluded=config.exclude_outliers))
    if not strange or not config.exclude_outliers:
        return split, features, judged
    kept = np.setdiff1d(np.arange(len(judged)), strange)
    at_train = len(split.train)
    smaller = replace(
        split,
        train=tuple(split.samples[at] for at in kept if at < at_train),
        holdout=tuple(split.samples[at] for at in kept if at >= at_train),
    )
    return smaller, features.only(kept), [judged[at] for at in kept]


def _calibrate(
    run: Run,
    split: Split,
    config: TrainConfig,
    held_out: list[JudgedPart],
    crossed: list[JudgedPart] | None,
) -> tuple[PastCalibration, list[JudgedPart]]:
    """Threshold and evidence, and the parts that they rest on."""
    content: dict[str, object] = {
        "held_out_parts": [part.model_dump(exclude={"levels"}) for part in held_out]
    }
    judged, samples, how = held_out, split.holdout, "held out in training"
    if crossed is not None:
        factor, judged = scaled(crossed, held_out)
        samples, how = split.samples, f"cross-calibrated in training, {config.folds} folds"
        content["scale_of_folds"] = factor
        content["parts_by_folds"] = [part.model_dump(exclude={"levels"}) for part in crossed]
        logger.info("scale of the folds' scores: %.4f", factor)
        if said := scale_text(factor, config):
            say(said)
    good = calibrate(
        evidence(judged, fingerprint(samples, split.dataset.root)),
        Origin(how),
        false_reject_rate=config.false_reject_rate,
        method=config.calibration,
    )
    content["threshold"] = good.threshold.model_dump()
    write_text(run.calibration, json.dumps(content, indent=1))
    return good, judged


def _frame_size(sample: Sample, mode: Mode) -> tuple[int, int]:
    if mode == "depth" and sample.xyz is not None:
        height, width = read_xyz(sample.xyz).shape
        return width, height
    return picture_size(sample.name)


def _trained_range(samples: tuple[Sample, ...], mode: Mode, judged: list[JudgedPart]) -> TrainedRange:
    levels = [part.levels for part in judged if part.levels is not None]
    sizes = [_frame_size(sample, mode) for sample in samples]
    return TrainedRange(
        width=span([width for width, _ in sizes]),
        height=span([height for _, height in sizes]),
        brightness=span([level.brightness for level in levels]) if levels else None,
        contrast=span([level.contrast for level in levels]) if levels else None,
    )


@contextmanager
def _deterministic() -> Iterator[None]:
    """Make runs reproducible for the same seed and machine: nondeterministic algorithms are refused."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(mode=True)
    try:
        # TensorFloat-32 would round features and scores to three digits; the exported model has seven.
        with torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.use_deterministic_algorithms(before)
