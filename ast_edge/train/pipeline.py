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
from ast_edge.errors import RunError, UsageError
from ast_edge.files import cache_root, printable, remove_leftovers, write_bytes, write_text
from ast_edge.frames.levels import GreyLevels, grey_levels, span
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
from ast_edge.train.checkpoint import load_module, read_tensors, save_tensors, state_digest
from ast_edge.train.config import BackboneConfig, TrainConfig
from ast_edge.train.data import (
    Sample,
    fingerprint,
)
from ast_edge.train.features import (
    Extraction,
    Features,
    cache_key,
    channel_statistics,
    input_batches,
)
from ast_edge.train.fit import Parts, Workplace, fit, settled, student_phase, teacher_phase
from ast_edge.train.folder import already_there, claimed, new_folder
from ast_edge.train.log import log_to, logger
from ast_edge.train.network import AstNetwork, TorchBackend
from ast_edge.train.references import reference_vectors
from ast_edge.train.remember import fit_fusion, remember
from ast_edge.train.run import Run, RunConfig, pick_device
from ast_edge.train.split import Split, parts_text, same_parts, split_parts
from ast_edge.verdict.calibration import GoodParts, Origin, calibrate
from ast_edge.verdict.threshold import statement

SEEDED: Literal["seeded"] = "seeded"
_CALIBRATION_PARTS = 64


@dataclass(frozen=True)
class TrainRequest:
    """A training job. `weights` is a safetensors file, `seeded` for random ones, or None to download them.

    With `crop_around_parts` the crop is computed from the good parts. Unusable parts are refused unless
    `skip_bad` skips them; frames of several sizes are refused unless `mixed_sizes` allows them.
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
    say(parts_text(split, config.false_reject_rate))
    return split, skipped


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
    trunk, other = run.load_trunks(config)
    if trunk is not None:
        trunk.to(device)
    parts = _extract(
        about, split, Extraction(split.samples, config, trunk, device, _cache(about, split, trunk), workers)
    )
    if trunk is not None:
        trunk.cpu()
    network = AstNetwork(config, trunk, other)
    if config.standardise == "channel":
        mean, std = channel_statistics(parts[0])
        network.standardise.mean.copy_(mean)
        network.standardise.std.copy_(std)
    network.to(device)
    _fit(run, network, Parts(*parts, network.standardise), config, device)
    if network.memories is not None:
        network.eval()
        remember(network, split.train, config, device=device, workers=workers)
        fit_fusion(network, split.holdout, config, device=device, workers=workers)
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
    logger.info("complete: %s", statement(threshold))


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
        {"part": printable(sample.name), "score": score, "map_maximum": maximum}
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
