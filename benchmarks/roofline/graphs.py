"""The presets' graphs in every exported precision, with random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch

from ast_edge.model.arrays import Array
from ast_edge.model.half_precision import to_mixed_precision
from ast_edge.model.manifest import Mode, Precision, input_specs
from ast_edge.train.config import PresetName, TrainConfig, changed, preset
from ast_edge_export.fold import FoldedNetwork
from ast_edge_export.quantise import quantisable, quantise_only, to_int8
from ast_edge_export.trace import trace
from benchmarks.common.paths import RESULTS
from benchmarks.common.untrained import make_inputs, make_network

MODES: tuple[Mode, ...] = ("rgb", "rgbd")
PRESETS: tuple[PresetName, ...] = ("nano", "balanced", "paper")
INT8: tuple[PresetName, ...] = ("nano", "balanced")  # `paper` is for a GPU, and not exported in INT8
_GATE = RESULTS / "int8.json"


@dataclass(frozen=True)
class Graph:
    """A preset in a mode: its file in every precision, and inputs for one part."""

    preset: PresetName
    mode: Mode
    files: dict[Precision, Path]
    inputs: dict[str, Array]

    @property
    def name(self) -> str:
        """As in the result files."""
        return f"{self.preset}_{self.mode}"


def graphs(folder: Path, *, dry_run: bool) -> Iterator[Graph]:
    """Every preset that sees pictures, one after another; a file that `folder` has is not made again."""
    for name in PRESETS[:2] if dry_run else PRESETS:
        for mode in MODES:
            config = preset(name, mode)
            if dry_run:
                config = changed(config, {"image_size": 64, "teacher.hidden": 8, "student.width": 8})
            yield _graph(name, config, folder)


def _graph(name: PresetName, config: TrainConfig, folder: Path) -> Graph:
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8") if name in INT8 else ("fp32", "fp16")
    files = {precision: folder / f"{name}_{config.mode}.{precision}.onnx" for precision in precisions}
    if not files["fp32"].exists():
        _trace(config, files["fp32"])
    if not files["fp16"].exists():
        onnx.save(to_mixed_precision(onnx.load(files["fp32"])), files["fp16"])
    if "int8" in files and not files["int8"].exists():
        onnx.save(_int8(name, config, onnx.load(files["fp32"])), files["int8"])
    return Graph(name, config.mode, files, make_inputs(config, 1, 0))


def _trace(config: TrainConfig, target: Path) -> None:
    network = make_network(config)
    scratch = target.with_suffix(".traced")
    with torch.inference_mode():
        model = trace(FoldedNetwork(network), input_specs(config.mode, config.preprocessing, -1), scratch)
    scratch.unlink()
    onnx.save(model, target)


def _int8(name: PresetName, config: TrainConfig, model: onnx.ModelProto) -> onnx.ModelProto:
    """With the layers in FP32 that the gate left there in the real model, where there is one."""
    kept = next(
        (
            set(row["in_fp32"])
            for row in json.loads(_GATE.read_text(encoding="utf-8"))["models"]
            if (row["preset"], row["mode"]) == (name, config.mode)
        ),
        set(),
    )
    quantised = to_int8(model, [make_inputs(config, 1, 7)])
    return quantise_only(quantised, [node for node in quantisable(model) if node not in kept])
