"""The whole network in torch: inputs as in a model file, score and anomaly map as outputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ast_edge.backends.base import Backend, Outputs
from ast_edge.frames.depth import UNSHUFFLE
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import Aggregation, input_specs, output_specs
from ast_edge.train.backbone import Trunk, pooled
from ast_edge.train.config import TrainConfig
from ast_edge.train.losses import aggregate, distance, log_map, smooth
from ast_edge.train.memory import OWN, Memories
from ast_edge.train.student import Student
from ast_edge.train.teacher import Teacher

DEPTH_CHANNELS = UNSHUFFLE * UNSHUFFLE


def extract(trunk: Trunk | None, image: Tensor | None, depth: Tensor | None) -> Tensor:
    """Return features [N,C,h,h]: the trunk's channels, then 64 of depth, each if the mode has it."""
    own = None if trunk is None or image is None else trunk.features(image).float()
    return with_depth(own, depth)


def with_depth(own: Tensor | None, depth: Tensor | None) -> Tensor:
    """Concatenate the trunk's features [N,C,h,h], if any, and the 64 channels of the depth map, if any.

    A depth map [N,1,8h,8h] becomes 64 channels by pixel unshuffling (paper, "Implementation Details"); on a
    grid finer than the trunk's it is averaged down first.
    """
    parts = [] if own is None else [own]
    if depth is not None:
        finer = 1 if own is None else depth.shape[-1] // (UNSHUFFLE * own.shape[-1])
        parts.append(F.pixel_unshuffle(depth if finer == 1 else F.avg_pool2d(depth, finer), UNSHUFFLE))
    return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


def feature_channels(trunk: Trunk | None, config: TrainConfig) -> int:
    """Return C of `extract`."""
    channels = 0 if config.mode == "rgb" else DEPTH_CHANNELS
    if trunk is not None:
        size = config.image_size
        with torch.inference_mode():
            channels += trunk.features(torch.zeros(1, size, size, 3, dtype=torch.uint8)).shape[1]
    return channels


def looked_at(config: TrainConfig) -> Tensor | None:
    """The places of the map in the region of interest, float32 [1,1,h,h], 1 or 0; None without one."""
    if config.roi is None:
        return None
    places = config.roi.places(config.image_size, config.map_size)
    return torch.from_numpy(places).float()[None, None]


class Standardise(nn.Module):
    """Features minus their mean, divided by their standard deviation, per channel: [N,C,h,h] -> the same."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("std", torch.ones(1, channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Standardised features."""
        return (features - self.mean) / self.std


class JudgingNetwork(nn.Module):
    """From inputs to score and map; subclasses define teacher and student."""

    aggregation: Aggregation
    smoothing: float
    trunk: Trunk | None
    standardise: Standardise
    memories: Memories | None
    places: Tensor | None  # of the map that count, float [1,1,h,h]; None: all, or those of a foreground

    def latents(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map standardised features to z of teacher and student, each [N,C,h,h]."""
        raise NotImplementedError

    def forward(
        self, image: Tensor | None = None, depth: Tensor | None = None, foreground: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Inputs of `manifest.input_specs` -> score [N], anomaly map [N,h,h]."""
        foreground = self.places if foreground is None else foreground
        if self.memories is None:
            features = self.standardise(extract(self.trunk, image, depth))
            difference = distance(*self.latents(features), foreground)
            anomaly_map = smooth(difference, foreground, self.smoothing)
        else:
            anomaly_map = self.memories.fused(self.log_distances(image, depth, foreground))
            anomaly_map = anomaly_map if foreground is None else anomaly_map * foreground[:, 0]
        return aggregate(anomaly_map, foreground, self.aggregation), anomaly_map

    def log_distances(
        self, image: Tensor | None = None, depth: Tensor | None = None, foreground: Tensor | None = None
    ) -> list[Tensor]:
        """Return the logarithm of each smoothed distance, the student's and then each memory's: [N,h,h] each.

        With a foreground, or a region of interest, only its places contribute, and values are meaningful only
        there.
        """
        foreground = self.places if foreground is None else foreground
        # Mode depth has no memories, so there is a picture.
        assert self.memories is not None and self.trunk is not None and image is not None  # noqa: S101, PT018
        levels = self.memories.levels(self.trunk, image)
        features = self.standardise(with_depth(pooled(levels[OWN]).float(), depth))
        distances = [distance(*self.latents(features), None), *self.memories(levels)]
        return [log_map(each, foreground, self.smoothing, self.memories.map_size) for each in distances]


class AstNetwork(JudgingNetwork):
    """Trunk, teacher and student as one network (paper, "Method"), with optional memories."""

    def __init__(self, config: TrainConfig, trunk: Trunk | None, other: Trunk | None = None) -> None:
        super().__init__()
        channels = feature_channels(trunk, config)
        self.aggregation = config.aggregation
        self.smoothing = config.smoothing
        self.register_buffer("places", looked_at(config), persistent=False)
        self.trunk = trunk
        self.standardise = Standardise(channels)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.teacher = Teacher(channels, config.grid, config.teacher)
            self.student = Student(channels, config.grid, config.student)
        self.memories = None if trunk is None or not config.memories else Memories(config, trunk, other)

    def latents(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return z of teacher and student."""
        return self.teacher(features)[0], self.student(features)


class TorchBackend(Backend):
    """The network in PyTorch as a runtime backend, so that training judges as the line does."""

    name = "PyTorch"

    def __init__(self, network: AstNetwork, config: TrainConfig, device: torch.device) -> None:
        super().__init__(
            input_specs(config.mode, config.preprocessing, -1), output_specs(config.preprocessing, -1)
        )
        self._network = network.to(device).eval()
        self._device = device

    def _run(self, inputs: Mapping[str, Array]) -> Outputs:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()}
        # TensorFloat-32 has three digits; scores must match to four, and those of the exported model to
        # seven.
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            score, anomaly_map = self._network(**{k: t.to(self._device) for k, t in tensors.items()})
        return Outputs(score.cpu().numpy(), anomaly_map.cpu().numpy())
