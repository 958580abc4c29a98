"""Multiply-accumulates and parameters of a network, part by part, for one picture."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from ast_edge.model.manifest import input_specs
from ast_edge.train.config import TrainConfig
from ast_edge.train.network import AstNetwork, extract


def measure(network: AstNetwork, config: TrainConfig) -> dict[str, float]:
    """Return GMAC of trunk, teacher, student, memories and in total; millions of parameters and constants.

    `trunk` is one pass of the network's own backbone; further backbones of memories count among `memories`.

    Counted by PyTorch on the unfolded network: convolutions and matrix products only.
    """
    network.eval()
    inputs: dict[str, torch.Tensor] = {
        spec.name: torch.zeros(spec.shape, dtype=torch.uint8 if spec.dtype == "uint8" else torch.float32)
        for spec in input_specs(config.mode, config.preprocessing)
    }
    image, depth = inputs.get("image"), inputs.get("depth")
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counted:
            features = extract(network.trunk, image, depth)
        gmac = {"trunk": counted.get_total_flops() / 2e9}
        for name, part in (("teacher", network.teacher), ("student", network.student)):
            with FlopCounterMode(display=False) as counted:
                part(features)
            gmac[name] = counted.get_total_flops() / 2e9
        with FlopCounterMode(display=False) as counted:
            network(**inputs)
        gmac["memories"] = max(counted.get_total_flops() / 2e9 - sum(gmac.values()), 0.0)
    parameters = sum(p.numel() for p in network.parameters() if p.is_floating_point())
    if network.memories is not None:
        parameters += sum(tensor.numel() for tensor in network.memories.each.buffers())
    figures = {f"gmac_{name}": round(value, 4) for name, value in gmac.items()}
    return {**figures, "gmac": round(sum(gmac.values()), 4), "parameters_m": round(parameters / 1e6, 3)}
