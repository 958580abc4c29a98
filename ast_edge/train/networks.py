"""One trained network: standardisation, teacher, student, memories and their fusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ast_edge.data import Sample
from ast_edge.files import printable
from ast_edge.frames.levels import grey_levels
from ast_edge.progress import duration_text, say, stage
from ast_edge.train.backbone import Trunk
from ast_edge.train.checkpoint import load_module, read_tensors, save_tensors
from ast_edge.train.config import TrainConfig
from ast_edge.train.features import Features, channel_statistics, input_batches
from ast_edge.train.fit import Parts, Workplace, expected_seconds, fit, student_phase, teacher_phase
from ast_edge.train.judged import JudgedPart
from ast_edge.train.network import AstNetwork, TorchBackend
from ast_edge.train.remember import fit_fusion, remember
from ast_edge.train.run import Run
from ast_edge.train.split import Split


@dataclass(frozen=True)
class Making:
    """What all networks of a run have in common: settings, frozen backbones, device, reading processes."""

    config: TrainConfig
    trunk: Trunk | None
    other: Trunk | None
    device: torch.device
    workers: int = 0


def trained_network(run: Run, making: Making, split: Split, features: Features) -> AstNetwork:
    """Train a network on `split`, whose `features` are in the order of `split.samples`.

    Its state lies in the folder `run` meanwhile; what is complete there is loaded. The network comes back in
    evaluation mode, on the device.
    """
    config, device = making.config, making.device
    for trunk in (making.trunk, making.other):
        if trunk is not None:
            trunk.cpu()  # where a network is built
    network = AstNetwork(config, making.trunk, making.other)
    both = np.split(np.arange(len(features)), [len(split.train)])
    train, holdout = (features.only(index) for index in both)
    if config.standardise == "channel":
        mean, std = channel_statistics(train)
        network.standardise.mean.copy_(mean)
        network.standardise.std.copy_(std)
    network.to(device)
    _fit(run, network, Parts(train, holdout, network.standardise), making)
    network.eval()
    if network.memories is not None:
        remember(network, split.train, config, device=device, workers=making.workers)
        fit_fusion(network, split.holdout, config, device=device, workers=making.workers)
    return network


def _fit(run: Run, network: AstNetwork, parts: Parts, making: Making) -> None:
    place = Workplace(run.checkpoint, run.history, making.device)
    if not run.checkpoint.exists() and not run.teacher_file.exists():
        expected = expected_seconds(network, parts, making.config, making.device)
        say(f"training: about {duration_text(expected)} on this machine, {_epochs_text(making.config)}")
    if run.teacher_file.exists():
        load_module(network.teacher, read_tensors(run.teacher_file)[0], run.teacher_file)
    else:
        fit(teacher_phase(network, making.config), parts, making.config, place)
        save_tensors(run.teacher_file, network.teacher.state_dict())
    fit(student_phase(network, making.config), parts, making.config, place)


def _epochs_text(config: TrainConfig) -> str:
    return f"teacher {config.teacher.epochs} and student {config.student.epochs} epochs"


def judge_good_parts(network: AstNetwork, making: Making, samples: Sequence[Sample]) -> list[JudgedPart]:
    """Judge good parts as the line would. Raises DataError for an unusable file."""
    backend = TorchBackend(network, making.config, making.device)
    judged: list[JudgedPart] = []
    with stage("calibrating", len(samples)) as shown:
        for inputs in input_batches(samples, making.config, workers=making.workers):
            outputs = backend.run({name: tensor.numpy() for name, tensor in inputs.items()})
            pictures = inputs["image"].numpy() if "image" in inputs else [None] * len(outputs.score)
            for score, maximum, picture in zip(
                outputs.score.tolist(), outputs.anomaly_map.max(axis=(1, 2)).tolist(), pictures, strict=True
            ):
                name = printable(samples[len(judged)].name)
                levels = (
                    None if picture is None else grey_levels(picture, making.config.preprocessing.looked_at)
                )
                judged.append(JudgedPart(part=name, score=score, map_maximum=maximum, levels=levels))
            shown.advance(len(outputs.score))
    return judged
