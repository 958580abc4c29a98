"""Tests of `ast_edge_export`, and the small real networks that they export."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from ast_edge.model.arrays import Array
from ast_edge.model.manifest import Mode, input_specs
from ast_edge.train.backbone import build_trunks, calibrate_batch_norm
from ast_edge.train.config import BackboneConfig, MemoryConfig, StudentConfig, TeacherConfig, TrainConfig
from ast_edge.train.network import AstNetwork
from ast_edge_export.fold import FoldedNetwork
from ast_edge_export.trace import trace

MODES: tuple[Mode, ...] = ("rgb", "depth", "rgbd")
SIZE = 64
# "same" gives the trunk padding layers of its own, as the B5 of the paper has them.
BACKBONE = BackboneConfig(
    name="test_efficientnet", stages=(2, 3), stride=16, pad_type="same", neighbourhood=3
)

# Every kind: the network's own backbone, the same on a smaller picture, a further one with whitened channels.
MEMORIES = (
    MemoryConfig(stages=(2, 3), patches=7),
    MemoryConfig(stages=(2, 3), shrink=2, patches=7),
    MemoryConfig(
        backbone=BackboneConfig(name="test_efficientnet", stages=(1, 2), stride=8),
        stride=4,
        components=5,
        patches=7,
    ),
)


def tiny_config(mode: Mode) -> TrainConfig:
    return TrainConfig(
        memories=MEMORIES if mode == "rgbd" else (),
        mode=mode,
        preset="nano",
        backbone=BACKBONE,
        image_size=SIZE,
        teacher=TeacherConfig(hidden=6, clamp=1.9, epochs=1),
        student=StudentConfig(width=8, blocks=2, epochs=1),
        aggregation={"rgb": "mean", "depth": "max", "rgbd": "top3"}[mode],
        smoothing=0.0 if mode == "depth" else 0.7,
    )


def tiny_network(mode: Mode) -> AstNetwork:
    """A network in which nothing is neutral: gammas, batch-norm statistics, standardisation, trunk."""
    torch.manual_seed(MODES.index(mode))
    config = tiny_config(mode)
    trunks = build_trunks(config)
    for trunk in filter(None, trunks):
        calibrate_batch_norm(trunk, [torch.from_numpy(tiny_inputs(mode, 8)["image"])])
    network = AstNetwork(config, *trunks).eval()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("gamma"):
                value.fill_(0.7)
            elif name.startswith(("standardise", "memories.each", "memories.weights")):
                value.uniform_(0.5, 1.5)
        for module in network.student.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, *module.buffers()):
                    if tensor.is_floating_point():
                        tensor.uniform_(0.5, 1.5)
    return network


def tiny_inputs(mode: Mode, batch: int, seed: int = 0) -> dict[str, Array]:
    """Inputs of a model file: a picture of noise, depth about zero, and a foreground with an outside."""
    rng = np.random.default_rng(seed)
    grid = tiny_config(mode).map_size
    foreground = rng.integers(0, 5, (batch, 1, grid, grid)).astype(np.float32) / 4
    foreground[:, :, 1, 1] = 1
    every: dict[str, Array] = {
        "image": rng.integers(0, 256, (batch, SIZE, SIZE, 3), dtype=np.uint8),
        "depth": rng.normal(0, 1, (batch, 1, 8 * grid, 8 * grid)).astype(np.float32),
        "foreground": foreground,
    }
    return {spec.name: every[spec.name] for spec in input_specs(mode, tiny_config(mode).preprocessing)}


@functools.cache
def traced(mode: Mode, batch: int, scratch: Path) -> onnx.ModelProto:
    """The FP32 graph of `tiny_network(mode)`; read only. Made once for all tests."""
    specs = input_specs(mode, tiny_config(mode).preprocessing, batch)
    return trace(FoldedNetwork(tiny_network(mode)), specs, scratch / f"{mode}{batch}.onnx")


def run_torch(network: torch.nn.Module, inputs: dict[str, Array]) -> list[NDArray[np.float32]]:
    with torch.no_grad():
        answer = network(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    return [tensor.numpy() for tensor in answer]


def run_onnx(model: onnx.ModelProto, inputs: dict[str, Array]) -> list[NDArray[np.float32]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # refusals are expected by some tests
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    answer: list[NDArray[np.float32]] = session.run(None, inputs)
    return answer
