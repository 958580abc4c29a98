"""The paper's network in eager PyTorch, with random weights, and its plain export."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from ast_edge.model.manifest import Mode, input_specs
from ast_edge.train.backbone import build_trunks, calibrate_batch_norm
from ast_edge.train.config import PresetName, preset
from ast_edge.train.network import AstNetwork
from ast_edge.train.teacher import Subnet

GAMMA = 0.1  # a flow starts at 0, where it is the identity


def random_network(name: PresetName, mode: Mode) -> AstNetwork:
    """The preset's network in eager PyTorch, unfolded; the same weights at every call."""
    config = preset(name, mode)
    torch.manual_seed(config.seed)
    trunks = build_trunks(config)
    for trunk in trunks:
        if trunk is not None:
            # Random layers that are not normalised end in values that no trained network has.
            calibrate_batch_norm(trunk, [torch.randint(0, 256, (1, config.image_size, config.image_size, 3))])
    network = AstNetwork(config, *trunks).eval()
    for module in network.modules():
        if isinstance(module, Subnet):
            nn.init.constant_(module.gamma, GAMMA)
    return network.requires_grad_(requires_grad=False)


def example(name: PresetName, mode: Mode) -> dict[str, Tensor]:
    """Inputs of the preset, batch 1."""
    specs = input_specs(mode, preset(name, mode).preprocessing)
    return {
        spec.name: torch.full(spec.shape, 128, dtype=torch.uint8)
        if spec.dtype == "uint8"
        else torch.ones(spec.shape)
        for spec in specs
    }


def export_plainly(network: AstNetwork, inputs: dict[str, Tensor], target: Path, *, dynamo: bool) -> None:
    """`torch.onnx.export` of the network as written and nothing else: with PyTorch's exporter or its older
    one."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of both exporters, about themselves
        torch.onnx.export(
            network,
            (),
            target,
            kwargs=inputs,
            input_names=list(inputs),
            output_names=["score", "anomaly_map"],
            dynamo=dynamo,
            external_data=False,
        )
