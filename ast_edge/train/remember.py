"""What a run does for its memories: patches from the parts to train on, the fusion from those held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ast_edge.data import Sample
from ast_edge.progress import stage
from ast_edge.train.config import TrainConfig
from ast_edge.train.features import input_batches
from ast_edge.train.log import logger
from ast_edge.train.memory import POOL, Memories, PatchMemory, drawn, joined
from ast_edge.train.network import AstNetwork
from ast_edge.verdict.fusion import fitted


def remember(
    network: AstNetwork,
    samples: Sequence[Sample],
    config: TrainConfig,
    *,
    device: torch.device,
    workers: int = 0,
) -> None:
    """Fill the memories of `network` from `samples`, good parts to train on."""
    memories = network.memories
    assert memories is not None  # noqa: S101  # the caller has looked
    generators = [torch.Generator().manual_seed(1000 * config.seed + at) for at in range(len(memories.each))]
    pools: list[list[Tensor]] = [[] for _ in generators]  # of every memory, the places drawn from each part
    count = -(-POOL // len(samples))
    with stage("collecting patches", len(samples)) as shown:
        for inputs in _batches(samples, config, device, workers):
            for pool, generator, places in zip(pools, generators, _places(network, inputs), strict=True):
                inside = _inside(network, inputs, places.shape[-1])
                pool += [
                    drawn(of_part, None if inside is None else inside[at], count, generator).cpu()
                    for at, of_part in enumerate(places)
                ]
            shown.advance(len(inputs["image"]))
    with stage("choosing patches", len(pools)) as shown:
        for at, (memory, pool) in enumerate(zip(memories.each, pools, strict=True)):
            _learn(memory, pool, config.seed + at)
            shown.advance()


def fit_fusion(
    network: AstNetwork,
    holdout: Sequence[Sample],
    config: TrainConfig,
    *,
    device: torch.device,
    workers: int = 0,
) -> None:
    """Weigh the distances by `holdout`, good parts that none of the networks and memories has seen.

    One spread and one mean a distance are taken from them, over all their places; the threshold that is
    then calibrated on the same parts knows them by that much.
    """
    memories = network.memories
    assert memories is not None  # noqa: S101  # the caller has looked
    found: list[list[Tensor]] = [[] for _ in range(len(memories.each) + 1)]
    network.eval()
    with stage("weighing distances", len(holdout)) as shown:
        for inputs in _batches(holdout, config, device, workers):
            inside = _inside(network, inputs, config.map_size)
            with torch.inference_mode():
                logs = network.log_distances(**inputs)
            for values, log in zip(found, logs, strict=True):
                values.append((log.flatten() if inside is None else log[inside]).cpu())
            shown.advance(len(inputs["image"]))
    fusion = fitted([torch.cat(values).numpy() for values in found])
    memories.weights.copy_(torch.tensor(fusion.weights))
    memories.offset.fill_(fusion.offset)
    logger.info("weights of the distances: %s", ", ".join(f"{weight:.3g}" for weight in fusion.weights))


def _batches(
    samples: Sequence[Sample], config: TrainConfig, device: torch.device, workers: int
) -> Iterator[dict[str, Tensor]]:
    for inputs in input_batches(samples, config, workers=workers):
        yield {name: tensor.to(device) for name, tensor in inputs.items()}


def _places(network: AstNetwork, inputs: dict[str, Tensor]) -> list[Tensor]:
    """What each memory sees of a batch: [N,C,h,h]."""
    memories, trunk = network.memories, network.trunk
    assert isinstance(memories, Memories) and trunk is not None  # noqa: S101, PT018
    with torch.inference_mode():
        levels = memories.levels(trunk, inputs["image"])
        return [joined(stages) for stages in memories.stages(levels)]


def _inside(network: AstNetwork, inputs: dict[str, Tensor], size: int) -> Tensor | None:
    """Where the part, or the region of interest, is: bool [N,size,size]; None for everywhere."""
    foreground = inputs.get("foreground")
    if foreground is None:
        if network.places is None:
            return None
        foreground = network.places.expand(len(inputs["image"]), -1, -1, -1)
    return F.max_pool2d(foreground, foreground.shape[-1] // size)[:, 0] > 0


def _learn(memory: object, pool: Sequence[Tensor], seed: int) -> None:
    assert isinstance(memory, PatchMemory)  # noqa: S101  # a ModuleList forgets what it holds
    parts = torch.repeat_interleave(torch.tensor([len(places) for places in pool]))
    memory.learn(torch.cat(list(pool))[:POOL], parts[:POOL], seed)
