"""The training loop of both networks: shuffle, noise, loss, Adam, a checkpoint after every epoch.

Random numbers of an epoch (order and noise) depend only on the seed, the phase and the epoch, so a resumed
run draws the same ones as an uninterrupted run.
"""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ast_edge.errors import RunError
from ast_edge.files import write_text
from ast_edge.progress import Stage, stage
from ast_edge.train.checkpoint import Position, load_checkpoint, save_checkpoint
from ast_edge.train.config import TrainConfig
from ast_edge.train.features import Features
from ast_edge.train.log import logger
from ast_edge.train.losses import student_loss, teacher_loss
from ast_edge.train.network import AstNetwork, Standardise

WARM_UP, WARM_UP_FROM = 0.3, 25.0
Loss = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Phase:
    """Training of one network: its parameters, duration, and loss on standardised features."""

    name: str
    module: nn.Module
    epochs: int
    loss: Loss


@dataclass(frozen=True)
class Parts:
    """Features of the training parts and of the held-out good parts, and their standardisation."""

    train: Features
    holdout: Features
    standardise: Standardise


@dataclass(frozen=True)
class Workplace:
    """The folder for the state of a phase, and the device to compute on."""

    checkpoint: Path
    history: Path
    device: torch.device


def teacher_phase(network: AstNetwork, config: TrainConfig) -> Phase:
    """Return the phase of maximum likelihood of good parts' features (paper, "Teacher")."""

    def loss(features: Tensor, mask: Tensor | None) -> Tensor:
        z, log_det = network.teacher(features)
        return teacher_loss(z, log_det, mask)

    return Phase("teacher", network.teacher, config.teacher.epochs, loss)


def student_phase(network: AstNetwork, config: TrainConfig) -> Phase:
    """Return the phase of regression on the frozen teacher's output (paper, "Student")."""
    network.teacher.eval()

    def loss(features: Tensor, mask: Tensor | None) -> Tensor:
        # In full precision regardless of the student's: this is the teacher that will be shipped.
        with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
            z_teacher, _ = network.teacher(features)
        z_student = network.student(features).float()
        return student_loss(z_teacher, z_student, mask, config.student.hard_share)

    return Phase("student", network.student, config.student.epochs, loss)


def fit(phase: Phase, parts: Parts, config: TrainConfig, place: Workplace) -> None:
    """Train `phase` to its last epoch, resuming from its checkpoint if there is one.

    Raises RunError when the loss is no longer finite.
    """
    phase.module.to(memory_format=torch.channels_last)
    trainable = [p for p in phase.module.parameters() if p.requires_grad]
    # L2 inside Adam, not AdamW (paper, "Implementation Details", and the published code).
    optimiser = torch.optim.Adam(trainable, lr=config.lr, weight_decay=config.weight_decay)
    done = load_checkpoint(place.checkpoint, phase.module, optimiser, phase.name)
    history = [row for row in _read(place.history) if row["phase"] != phase.name or int(row["epoch"]) <= done]
    steps = _steps(len(parts.train), config.batch_size)
    with stage(f"training {phase.name}", phase.epochs * steps) as shown:
        shown.resume_at(done * steps)
        for epoch in range(done + 1, phase.epochs + 1):
            loss = _epoch(phase, parts, config, _Epoch(epoch, optimiser, place.device, shown))
            held_out = _finite(_held_out_loss(phase, parts, config, place.device), phase, epoch)
            history.append({"phase": phase.name, "epoch": epoch, "loss": loss, "holdout_loss": held_out})
            logger.info("%s epoch %d loss %.6g held-out %.6g", phase.name, epoch, loss, held_out)
            # History first: rows beyond the checkpoint are dropped on resume.
            write_text(place.history, json.dumps(history, indent=1))
            save_checkpoint(place.checkpoint, phase.module, optimiser, Position(phase.name, epoch))
    phase.module.to(memory_format=torch.contiguous_format)


def expected_seconds(network: AstNetwork, parts: Parts, config: TrainConfig, device: torch.device) -> float:
    """Return about how long both phases will take; what is trained later is not changed.

    From the time of a batch through both networks: backward takes about twice as long as forward, and each
    step of the student runs the teacher forward too.
    """
    size = min(config.batch_size, len(parts.train))
    features, _ = parts.train.batch(np.arange(size), device)
    features = parts.standardise(features)
    with torch.inference_mode():
        teacher = _forward_seconds(network.teacher, features)
        with _precision(config, device):
            student = _forward_seconds(network.student, features)
    steps = _steps(len(parts.train), config.batch_size)
    return steps * (config.teacher.epochs * 3 * teacher + config.student.epochs * (teacher + 3 * student))


def _forward_seconds(module: nn.Module, features: Tensor) -> float:
    """Return the shorter of two runs after a first one; evaluation mode leaves statistics as they are."""
    training = module.training
    module.eval()
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        module(features)
        if features.is_cuda:
            torch.cuda.synchronize(features.device)
        taken.append(time.perf_counter() - started)
    module.train(training)
    return min(taken[1:])


def learning_rate(config: TrainConfig, done: float) -> float:
    """Return Adam's learning rate after the fraction `done` of a phase.

    One cycle rises along half a cosine from `lr` / 25 to `lr` in the first 30 % and falls along
    another to zero (Smith and Topin, "Super-Convergence", 2018): it takes fewer epochs.
    """
    if config.schedule == "constant":
        return config.lr
    if done < WARM_UP:
        low, way = config.lr / WARM_UP_FROM, done / WARM_UP
    else:
        low, way = 0.0, (1 - done) / (1 - WARM_UP)
    return low + (config.lr - low) * (1 - math.cos(math.pi * way)) / 2


@dataclass(frozen=True)
class _Epoch:
    number: int
    optimiser: torch.optim.Optimizer
    device: torch.device
    shown: Stage


def _epoch(phase: Phase, parts: Parts, config: TrainConfig, epoch: _Epoch) -> float:
    phase.module.train()
    seed = zlib.crc32(f"{config.seed} {phase.name} {epoch.number}".encode())
    order = np.random.default_rng(seed).permutation(len(parts.train))
    noise = torch.Generator(epoch.device).manual_seed(seed)
    size = min(config.batch_size, len(order))
    steps, total = _steps(len(order), config.batch_size), 0.0
    for step in range(steps):
        features, mask = parts.train.batch(np.sort(order[step * size : (step + 1) * size]), epoch.device)
        features = parts.standardise(features)
        if config.noise:
            drawn = torch.randn(features.shape, generator=noise, device=epoch.device)
            features = features + config.noise * drawn
        for group in epoch.optimiser.param_groups:
            group["lr"] = learning_rate(config, (epoch.number - 1 + step / steps) / phase.epochs)
        features = features.contiguous(memory_format=torch.channels_last)
        epoch.optimiser.zero_grad(set_to_none=True)
        with _precision(config, epoch.device):
            loss = phase.loss(features, mask)
        loss.backward()  # type: ignore[no-untyped-call]
        epoch.optimiser.step()
        total += _finite(loss.item(), phase, epoch.number)
        epoch.shown.advance(1, f"epoch {epoch.number}/{phase.epochs} loss {total / (step + 1):.4g}")
    return total / steps


def _held_out_loss(phase: Phase, parts: Parts, config: TrainConfig, device: torch.device) -> float:
    phase.module.eval()
    total, held_out = 0.0, parts.holdout
    with torch.inference_mode(), _precision(config, device):
        for start in range(0, len(held_out), config.batch_size):
            index = np.arange(start, min(start + config.batch_size, len(held_out)))
            features, mask = held_out.batch(index, device)
            total += float(phase.loss(parts.standardise(features), mask)) * len(index)
    return total / len(held_out)


def _precision(config: TrainConfig, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bool(config.mixed_precision))


def settled(config: TrainConfig, device: torch.device) -> TrainConfig:
    """Resolve mixed precision in `config` for `device`, so that the run records the choice.

    If unspecified, bfloat16 is used if the CPU multiplies it in hardware, which is about three times as fast
    as float32; elsewhere it is emulated, and a GPU is fast enough without.
    """
    if config.mixed_precision is not None:
        return config
    able = torch.cpu.get_capabilities()
    fast = device.type == "cpu" and bool(able.get("amx_bf16") or able.get("avx512_bf16"))
    return config.model_copy(update={"mixed_precision": fast})


def _finite(value: float, phase: Phase, epoch: int) -> float:
    if not math.isfinite(value):
        raise RunError(
            f"the {phase.name}'s loss became {value} in epoch {epoch}; start again with a smaller --lr "
            "or without --mixed-precision."
        )
    return value


def _steps(parts: int, batch_size: int) -> int:
    # An incomplete last batch is skipped: batch-norm statistics would depend on a few parts.
    return max(1, parts // batch_size)


def _read(history: Path) -> list[dict[str, str | int | float]]:
    if not history.exists():
        return []
    try:
        rows: list[dict[str, str | int | float]] = json.loads(history.read_text(encoding="utf-8"))
    except ValueError as exc:
        raise RunError(f"{history}: is damaged ({exc}); train again.") from exc
    return rows
