"""Graphs of real presets with random weights: a builder does not depend on the values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch

from ast_edge.model.arrays import Array
from ast_edge.model.half_precision import to_mixed_precision
from ast_edge.model.manifest import Mode, Precision, input_specs
from ast_edge.train.backbone import build_trunks, calibrate_batch_norm
from ast_edge.train.config import PresetName, TrainConfig, preset
from ast_edge.train.network import AstNetwork
from ast_edge_export.fold import FoldedNetwork
from ast_edge_export.quantise import Inputs, to_int8
from ast_edge_export.trace import trace


def inputs(config: TrainConfig, batch: int, seed: int) -> dict[str, Array]:
    """Pictures of noise, a rough surface, and a part everywhere."""
    rng = np.random.default_rng(seed)
    every = {}
    for spec in input_specs(config.mode, config.preprocessing, batch):
        if spec.dtype == "uint8":
            every[spec.name] = rng.integers(0, 256, spec.shape, np.uint8)
        elif spec.name == "depth":
            every[spec.name] = rng.normal(0, 1, spec.shape).astype(np.float32)
        else:
            every[spec.name] = np.ones(spec.shape, np.float32)
    return every


def graph(name: PresetName, mode: Mode, size: int | None, batch: int, scratch: Path) -> onnx.ModelProto:
    """The FP32 graph of a preset, at the preset's own picture size where `size` is None."""
    config = preset(name, mode)
    if size is not None:
        config = config.model_copy(update={"image_size": size})
    torch.manual_seed(0)
    trunks = build_trunks(config)
    for trunk in filter(None, trunks):
        calibrate_batch_norm(trunk, [torch.from_numpy(inputs(config, 2, 0)["image"])])
    network = FoldedNetwork(AstNetwork(config, *trunks).eval())
    specs = input_specs(mode, config.preprocessing, batch)
    return trace(network, specs, scratch / f"{name}-{mode}-{batch}.onnx")


def in_precision(
    full: onnx.ModelProto, precision: Precision, parts: Sequence[Inputs] | None = None
) -> onnx.ModelProto:
    """The graph in `precision`; INT8 takes its ranges from `parts`."""
    if precision == "fp32":
        return full
    return to_mixed_precision(full) if precision == "fp16" else to_int8(full, parts or [])
