"""Cards for `speed.py`: of models that `ast-edge export` wrote, and of networks with random weights.

    python -m benchmarks.peers.prepare_ast FOLDER [MODEL.onnx ...] [--random paper:rgb ...]

Cards stand beside the models given, all else in FOLDER. `--random PRESET:MODE` makes the network of a
preset, whose time does not depend on its weights: in eager PyTorch, exported plainly by torch.onnx with
both its exporters, and as `ast-edge export` makes it in FP32, FP16 and INT8.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import onnx

from ast_edge.model.arrays import Array
from ast_edge.model.half_precision import to_mixed_precision
from ast_edge.model.manifest import Mode, input_specs
from ast_edge.model.onnx_file import read_model_file
from ast_edge.train.config import PresetName, preset
from ast_edge.train.network import AstNetwork
from ast_edge_export.fold import FoldedNetwork
from ast_edge_export.quantise import to_int8
from ast_edge_export.trace import trace
from benchmarks.common import network_size
from benchmarks.peers import ast_network
from benchmarks.peers.cards import Card, write

NOTE = "random weights, time only"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--random", default=[], nargs="*", metavar="PRESET:MODE")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for path in options.models:
        write(exported(path), path.parent)
    for word in options.random:
        name, _, mode = word.partition(":")
        if name not in get_args(PresetName) or mode not in get_args(Mode):
            parser.error(f"--random {word}: expected a preset and a mode, as paper:rgb")
        for card in random_cards(name, mode, options.folder):
            write(card, options.folder)
    return 0


def exported(path: Path) -> Card:
    """The card of a model file."""
    manifest = read_model_file(path).manifest
    crop = manifest.preprocessing.crop
    return Card(
        name=f"{manifest.preset}_{manifest.mode}_{manifest.precision}",
        method=f"AST, `{manifest.preset}`",
        preset=manifest.preset,
        size=manifest.preprocessing.image_size,
        crop=None if crop is None else f"{crop.x},{crop.y},{crop.width},{crop.height}",
        mode=manifest.mode,
        precision=manifest.precision,
        accuracy=f"accuracy/{manifest.preset}_{manifest.mode}_[0-9].json",
        files={"onnxruntime": path.name, "openvino": path.name},
    )


def random_cards(name: PresetName, mode: Mode, folder: Path) -> list[Card]:
    """The preset's network in all its forms, written into `folder`."""
    network, stem = ast_network.random_network(name, mode), f"{name}_{mode}"
    config = preset(name, mode)
    size = network_size.measure(network, config)

    def card(suffix: str, method: str, files: dict[str, str], precision: str = "fp32") -> Card:
        return Card(
            name=f"{stem}_{suffix}",
            method=method,
            preset=name,
            size=config.image_size,
            mode=mode,
            precision=precision,
            weights="random",
            note=NOTE,
            gmac=size["gmac"] if "torch" in files else None,
            parameters_m=size["parameters_m"] if "torch" in files else None,
            files=files,
        )

    recipe = {"maker": "ast-edge", "preset": name, "mode": mode}
    (folder / f"{stem}.json").write_text(json.dumps(recipe) + "\n", encoding="utf-8")
    cards = [card("eager", f"AST, `{name}` as plain PyTorch", {"torch": f"{stem}.json"})]
    for exporter, dynamo in (("plain", True), ("plain_older", False)):
        target = folder / f"{stem}_{exporter}.onnx"
        ast_network.export_plainly(network, ast_network.example(name, mode), target, dynamo=dynamo)
        words = f"AST, `{name}`, plain torch.onnx export" + ("" if dynamo else ", older exporter")
        cards.append(card(exporter, words, {"onnxruntime": target.name, "openvino": target.name}))
    for precision, file in _ours(network, stem, folder).items():
        files = {"onnxruntime": file, "openvino": file}
        cards.append(card(precision, f"AST, `{name}`", files, precision))
    return cards


def _ours(network: AstNetwork, stem: str, folder: Path) -> dict[str, str]:
    """As `ast-edge export` makes them, but for manifest and proof: the file's name by precision."""
    name, _, mode = stem.partition("_")
    assert name in get_args(PresetName)  # noqa: S101  # looked at by the caller
    config = preset(name, mode)  # type: ignore[arg-type]
    specs = input_specs(config.mode, config.preprocessing)
    graph = trace(FoldedNetwork(network), specs, folder / "traced.onnx")
    (folder / "traced.onnx").unlink()
    rng = np.random.default_rng(0)
    inputs: dict[str, Array] = {}
    for spec in specs:
        shape = list(spec.shape)
        inputs[spec.name] = (
            rng.integers(0, 256, shape, np.uint8) if spec.dtype == "uint8" else np.ones(shape, np.float32)
        )
    made = {"fp32": graph, "fp16": to_mixed_precision(graph), "int8": to_int8(graph, [inputs])}
    for precision, model in made.items():
        onnx.save(model, folder / f"{stem}.{precision}.onnx")
    return {precision: f"{stem}.{precision}.onnx" for precision in made}


if __name__ == "__main__":
    sys.exit(main())
