"""From a data folder to a complete run: weights, features, teacher, student, calibration, references."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import torch

import ast_edge
from ast_edge import scoring
from ast_edge.backends.base import Array, Outputs
from ast_edge.errors import DataError, RunError, UsageError
from ast_edge.files import write_bytes, write_text
from ast_edge.manifest import ModelSpec, Threshold, TrainingData
from ast_edge.references import References
from ast_edge.train.backbone import Trunk, build_trunk, calibrate_batch_norm, download_weights, load_weights
from ast_edge.train.checkpoint import load_module, read_tensors, save_tensors
from ast_edge.train.config import TrainConfig
from ast_edge.train.data import Dataset, Sample, fingerprint, open_dataset, split_holdout
from ast_edge.train.features import (
    Extraction,
    Features,
    cache_key,
    cache_root,
    channel_statistics,
    input_batches,
    network_inputs,
)
from ast_edge.train.fit import Parts, Workplace, fit, student_phase, teacher_phase
from ast_edge.train.network import AstNetwork, TorchBackend
from ast_edge.train.progress import log_to, logger, stage
from ast_edge.train.run import Run, RunConfig, pick_device

SEEDED: Literal["seeded"] = "seeded"
REFERENCE_GOOD, REFERENCE_DISTURBED = 4, 2
DISTURBED_SHARES = (1 / 6, 1 / 3, 1 / 2, 1.0)
REFERENCE_MARGIN = 0.02  # twice what FP16 may cost
_CALIBRATION_PARTS = 64


@dataclass(frozen=True)
class TrainRequest:
    """A training job. `weights` is a safetensors file, `seeded` for random ones, or None to download them."""

    data: Path
    run: Path
    config: TrainConfig
    weights: Path | Literal["seeded"] | None = None
    device: str = "auto"
    workers: int = 0


@dataclass(frozen=True)
class _Split:
    dataset: Dataset
    train: tuple[Sample, ...]
    holdout: tuple[Sample, ...]

    @property
    def samples(self) -> tuple[Sample, ...]:
        return self.train + self.holdout

    @property
    def held_out(self) -> list[str]:
        """Names of the held-out parts in the data folder."""
        return [sample.name.relative_to(self.dataset.root).as_posix() for sample in self.holdout]

    def describe(self) -> TrainingData:
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
    split = _split(request.data, config)
    _make_folder(run.path)
    with log_to(run.log), _deterministic():
        weights = _prepare_trunk(run, request, split.train)
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
    split = _split(data, about.train)
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
        raise UsageError(f"{path}: cannot become a run folder ({exc.strerror}); name another.") from exc


def _split(data: Path, config: TrainConfig) -> _Split:
    dataset = open_dataset(data, mode=config.mode)
    if dataset.validation:
        return _Split(dataset, dataset.train, dataset.validation)
    return _Split(dataset, *split_holdout(dataset.train, fraction=config.holdout, seed=config.seed))


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


def _work(run: Run, about: RunConfig, split: _Split, device: torch.device, workers: int) -> None:
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


def _cache(about: RunConfig, split: _Split, trunk: Trunk | None) -> Path:
    key = cache_key(about.data.fingerprint, about.train, trunk, held_out=split.held_out)
    return cache_root() / "features" / key


def _extract(about: RunConfig, split: _Split, job: Extraction) -> tuple[Features, Features]:
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


def _finish(run: Run, about: RunConfig, network: AstNetwork, split: _Split, device: torch.device) -> None:
    network.eval()
    save_tensors(run.weights, network.state_dict())
    backend = TorchBackend(network, about.train, device)
    threshold = _calibrate(run, about, backend, split.holdout)
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
            aggregation=config.aggregation,
            threshold=threshold,
        )
    )
    run.checkpoint.unlink(missing_ok=True)
    run.teacher_file.unlink(missing_ok=True)
    logger.info("complete: %s", scoring.statement(threshold))


def _calibrate(run: Run, about: RunConfig, backend: TorchBackend, holdout: tuple[Sample, ...]) -> Threshold:
    scores: list[float] = []
    maxima: list[float] = []
    with stage("calibrating", len(holdout)) as shown:
        for inputs in input_batches(holdout, about.train):
            outputs = backend.run({name: tensor.numpy() for name, tensor in inputs.items()})
            scores += outputs.score.tolist()
            maxima += outputs.anomaly_map.max(axis=(1, 2)).tolist()
            shown.advance(len(outputs.score))
    rows = [
        {"part": str(sample.name), "score": score, "map_maximum": maximum}
        for sample, score, maximum in zip(holdout, scores, maxima, strict=True)
    ]
    threshold = scoring.calibrate(
        np.array(scores), np.array(maxima), false_reject_rate=about.train.false_reject_rate
    )
    content = {"threshold": threshold.model_dump(), "held_out_parts": rows}
    write_text(run.calibration, json.dumps(content, indent=1))
    return threshold


def reference_vectors(
    backend: TorchBackend, config: TrainConfig, holdout: tuple[Sample, ...], threshold: float
) -> References:
    """Inputs of held-out good parts, then of two of them disturbed to score higher, with PyTorch's answers.

    Without the disturbed ones a proof would only ever see one side of the threshold. A part whose score is
    the threshold itself, give or take the rounding of FP16, proves nothing about verdicts and is passed over.
    """
    chosen: list[_Answered] = []
    for make, wanted in ((_as_it_is, REFERENCE_GOOD), (_rejected, REFERENCE_GOOD + REFERENCE_DISTURBED)):
        for sample in holdout:
            if len(chosen) == wanted:
                break
            answered = make(network_inputs(sample, config.mode, config.preprocessing), backend, threshold)
            if abs(answered.score - threshold) > REFERENCE_MARGIN * abs(threshold):
                chosen.append(answered)
    if not chosen:
        raise DataError(
            f"{holdout[0].name}: this and all other held-out good parts score the threshold itself "
            f"({threshold:.6g}), whatever is done to them; give pictures that are not all the same."
        )
    return References(
        {name: np.stack([answered.vector[name] for answered in chosen]) for name in chosen[0].vector},
        np.concatenate([answered.outputs.score for answered in chosen]),
        np.concatenate([answered.outputs.anomaly_map for answered in chosen]),
    )


@dataclass(frozen=True, eq=False)
class _Answered:
    vector: dict[str, Array]
    outputs: Outputs

    @property
    def score(self) -> float:
        return float(self.outputs.score[0])


def _as_it_is(vector: dict[str, Array], backend: TorchBackend, _threshold: float) -> _Answered:
    return _Answered(vector, backend.run({name: array[None] for name, array in vector.items()}))


def _rejected(vector: dict[str, Array], backend: TorchBackend, threshold: float) -> _Answered:
    """The part with the smallest disturbance that takes it clearly above the threshold, else the largest."""
    for share in DISTURBED_SHARES:
        answered = _as_it_is(disturbed(vector, share), backend, threshold)
        if answered.score - threshold > REFERENCE_MARGIN * abs(threshold):
            break
    return answered


def disturbed(vector: dict[str, Array], share: float) -> dict[str, Array]:
    """A copy with noise on a central square, `share` of the side: any colour, about 1 cm of depth."""
    out = {name: array.copy() for name, array in vector.items()}
    rng = np.random.default_rng(0)
    if "image" in out:
        image = out["image"]
        centre = _central(image.shape[0], share)
        image[centre, centre] = rng.integers(0, 256, image[centre, centre].shape, dtype=np.uint8)
    if "depth" in out:
        depth = out["depth"][0]
        centre = _central(depth.shape[0], share)
        depth[centre, centre] += rng.standard_normal(depth[centre, centre].shape, dtype=np.float32)
    return out


def _central(size: int, share: float) -> slice:
    half = max(int(size * share / 2), 1)
    return slice(size // 2 - half, size // 2 + half)


@contextmanager
def _deterministic() -> Iterator[None]:
    """Same seed, same machine, same result: algorithms that may differ from run to run are refused."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
