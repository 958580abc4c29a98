"""Patch memories: how far each place is from the nearest patch of good parts (PatchCore, CVPR 2022).

A memory errs differently from teacher and student: it knows no likelihood, so rare but normal places are as
good as frequent ones, and it is compared with them by `ast_edge.verdict.fusion`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ast_edge.errors import UsageError
from ast_edge.train.backbone import Trunk
from ast_edge.train.config import MemoryConfig, TrainConfig
from ast_edge.train.losses import enlarged

View = tuple[bool, int]  # through the further backbone or the network's own; of the picture averaged down by
OWN: View = (False, 1)
POOL = 200_000  # places of good parts that patches are chosen from; where there are more, drawn at random
PROJECTION = 64  # distances between patches are compared in this many random directions
STD_FLOOR = 0.05  # of the median deviation: dividing by next to nothing would only amplify rounding
RIDGE = 1e-3  # of the largest variance: directions that good parts hardly use are not blown up beyond it
PRIOR = 5  # places that a patch's spread counts beside its own, each as far away as places are in the mean
_STEP = 4096  # places compared with all patches at once


class PatchMemory(nn.Module):
    """Stages of a backbone [N,C_i,h_i,h_i] -> mean squared distance to the nearest patch, [N,h,h].

    The stages are brought to the finest grid and standardised; with `components` they are projected on that
    many principal directions of good parts, each of them brought to the same variance. The distance to a
    patch is divided by its `spread`: how far the places of other good parts are that are nearest to it,
    relative to all places.
    """

    mean: Tensor
    std: Tensor
    whitening: Tensor
    patches: Tensor
    spread: Tensor

    def __init__(self, config: MemoryConfig, channels: int) -> None:
        super().__init__()
        kept = min(config.components or channels, channels)
        self.whitened = config.components is not None
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("std", torch.ones(1, channels, 1, 1))
        if self.whitened:
            self.register_buffer("whitening", torch.zeros(kept, channels, 1, 1))
        self.register_buffer("patches", torch.zeros(config.patches, kept))
        self.register_buffer("spread", torch.ones(config.patches))

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Distances of all places, never negative."""
        x = self._described((joined(stages) - self.mean) / self.std)
        # |x - m|^2 / s = |x|^2 / s - 2 x.m / s + |m|^2 / s: a convolution, every patch a filter of one place.
        products = -2 / self.patches.shape[1] * self.patches
        patches = torch.cat([products, torch.ones_like(products[:, :1])], dim=1)
        squares = F.conv2d(
            torch.cat([x, x.square().mean(dim=1, keepdim=True)], dim=1),
            (patches / self.spread[:, None])[:, :, None, None],
            self.patches.square().mean(dim=1) / self.spread,
        )
        return squares.amin(dim=1).clamp(min=0.0)

    @torch.no_grad()
    def learn(self, pool: Tensor, parts: Tensor, seed: int) -> None:
        """Choose the patches, and how places are described, from `pool` [P,C], places of good parts.

        `parts` [P] tells which part each place belongs to.
        """
        # Where `pool` is, which is the processor's memory, wherever the network is.
        mean, std = pool.mean(dim=0), pool.std(dim=0)
        std = std.clamp(min=max(STD_FLOOR * float(std.median()), 1e-6))
        described = (pool - mean) / std
        if self.whitened:
            rows = _whitening(described, len(self.whitening))
            self.whitening.copy_(rows[:, :, None, None])
            described = described @ rows.T
        self.mean.copy_(mean.view_as(self.mean))
        self.std.copy_(std.view_as(self.std))
        chosen = coreset(described, len(self.patches), seed)
        spread = spreads(described, parts, chosen)
        # Fewer patches than there is room for: the first again, which changes no distance.
        at = [*range(len(chosen)), *[0] * (len(self.patches) - len(chosen))]
        self.patches.copy_(described[chosen][at])
        self.spread.copy_(spread[at])

    def _described(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.whitening) if self.whitened else x


class Memories(nn.Module):
    """All memories of a network, the further backbone that some of them see through, and the fusion.

    `other` is that backbone, needed when the configuration names one. `weights` [K+1] and `offset` are those
    of `ast_edge.verdict.fusion`, the student's distance first.
    """

    weights: Tensor
    offset: Tensor

    def __init__(self, config: TrainConfig, own: Trunk, other: Trunk | None) -> None:
        super().__init__()
        self.trunk = other
        self.map_size = config.map_size
        self.views: list[View] = [(each.backbone is not None, each.shrink) for each in config.memories]
        self.positions = [
            [config.backbone.stages.index(at) for at in each.stages] for each in config.memories
        ]
        picture = torch.zeros(1, config.image_size, config.image_size, 3, dtype=torch.uint8)
        with torch.inference_mode():
            stages = self.stages(self.levels(own, picture))
        self.each = nn.ModuleList(
            PatchMemory(memory, sum(stage.shape[1] for stage in seen))
            for memory, seen in zip(config.memories, stages, strict=True)
        )
        _check_grids(config, [max(stage.shape[-1] for stage in seen) for seen in stages])
        self.register_buffer("weights", torch.full((len(self.each) + 1,), 1 / (len(self.each) + 1)))
        self.register_buffer("offset", torch.zeros(()))

    def levels(self, own: Trunk, image: Tensor) -> dict[View, list[Tensor]]:
        """The stages of every view of pictures uint8 [N,S,S,3], the network's own view first."""
        levels = {}
        for further, shrink in dict.fromkeys([OWN, *self.views]):
            trunk = self.trunk if further else own
            assert trunk is not None  # noqa: S101  # the caller gives what the configuration names
            levels[further, shrink] = trunk(image, shrink)
        return levels

    def stages(self, levels: dict[View, list[Tensor]]) -> list[list[Tensor]]:
        """What each memory sees of `levels`."""
        return [
            [levels[view][at] for at in positions] if positions else levels[view]
            for view, positions in zip(self.views, self.positions, strict=True)
        ]

    def forward(self, levels: dict[View, list[Tensor]]) -> list[Tensor]:
        """The distances of each memory, [N,h,h] on its own grid."""
        return [memory(seen) for memory, seen in zip(self.each, self.stages(levels), strict=True)]

    def fused(self, logs: Sequence[Tensor]) -> Tensor:
        """The anomaly map [N,h,h] of log-distances [N,h,h]; the torch copy of `verdict.fusion.fused`."""
        weighted = [weight * log for weight, log in zip(self.weights, logs, strict=True)]
        return torch.exp(sum(weighted[1:], weighted[0]) - self.offset)


def _check_grids(config: TrainConfig, grids: Sequence[int]) -> None:
    for memory, grid in zip(config.memories, grids, strict=True):
        expected = config.image_size // (memory.shrink * memory.stride)
        if grid != expected:
            raise UsageError(
                f"memory of {(memory.backbone or config.backbone).describe()}: its finest map is "
                f"{grid}x{grid}, not {expected}x{expected} as a stride of {memory.stride} would make it."
            )


def joined(stages: Sequence[Tensor]) -> Tensor:
    """Stages [N,C_i,h_i,h_i] on the finest of their grids, one after the other: [N,C,h,h]."""
    finest = max(stage.shape[-1] for stage in stages)
    return torch.cat([resized(stage, finest) for stage in stages], dim=1)


def resized(maps: Tensor, size: int) -> Tensor:
    """Maps [N,C,h,h] on a grid of `size` places, a multiple of theirs, bilinear."""
    return enlarged(maps, size // maps.shape[-1])


def coreset(patches: Tensor, count: int, seed: int) -> list[int]:
    """Indices of at most `count` of `patches` [P,C], each the farthest from those chosen before it.

    Greedy k-centre on a random projection, as in PatchCore: rare patches stay, frequent ones are thinned out.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = min(PROJECTION, patches.shape[1])
    if patches.shape[1] > directions:
        patches = patches @ torch.randn(patches.shape[1], directions, generator=generator)
    squares = patches.square().sum(dim=1)
    distances = torch.full((len(patches),), torch.inf)
    chosen: list[int] = []
    farthest = int(torch.randint(len(patches), (1,), generator=generator))
    for _ in range(min(count, len(patches))):
        chosen.append(farthest)
        to_new = squares + squares[farthest] - 2 * (patches @ patches[farthest])
        distances = torch.minimum(distances, to_new)
        farthest = int(distances.argmax())
    return chosen


def spreads(places: Tensor, parts: Tensor, chosen: Sequence[int]) -> Tensor:
    """How far `places` [P,C] are from the patch nearest to them, in the mean for each of the `chosen`: [K].

    Only patches of other parts count, as for a new part. The values are relative to the mean of all places,
    and patches that few places are nearest to are drawn towards it. With a single part all are 1.
    """
    patches, owners = places[list(chosen)], parts[list(chosen)]
    total, count = torch.zeros(len(patches)), torch.zeros(len(patches))
    for step, part in zip(torch.split(places, _STEP), torch.split(parts, _STEP), strict=True):
        squares = torch.cdist(step, patches).square()
        squares[part[:, None] == owners[None]] = torch.inf
        nearest, at = squares.min(dim=1)
        known = nearest.isfinite()
        total.index_add_(0, at[known], nearest[known])
        count.index_add_(0, at[known], torch.ones(int(known.sum())))
    mean = total.sum() / count.sum().clamp(min=1)
    if mean <= 0:
        return torch.ones(len(patches))
    return (total / mean + PRIOR) / (count + PRIOR)


def drawn(places: Tensor, inside: Tensor | None, count: int, generator: torch.Generator) -> Tensor:
    """`count` patches [count,C] of one part's `places` [C,h,h], at random; all of them where there are fewer.

    With `inside`, bool [h,h], only those.
    """
    patches = places.flatten(1).T
    if inside is not None:
        patches = patches[inside.flatten()]
    return patches[torch.randperm(len(patches), generator=generator)[:count]]


def _whitening(described: Tensor, kept: int) -> Tensor:
    """Rows [kept,C]: principal directions of `described` [P,C] by size, their variances made equal.

    The mean of the variances stays what it was, so that distances keep their unit.
    """
    variances, directions = torch.linalg.eigh(described.T.double() @ described.double() / len(described))
    variances, directions = variances.flip(0)[:kept], directions.flip(1)[:, :kept]
    scale = (variances.mean() / (variances + RIDGE * variances[0]).clamp(min=1e-12)).sqrt()
    rows: Tensor = (directions * scale).T.float()
    return rows
