"""Size, cost and time of the presets on this machine's CPU, in one interleaved run.

    python benchmarks/presets.py NAME=MODEL.onnx ... [--paper] -o benchmarks/results/presets.json [--dry-run]

Every round runs each model once, so that what disturbs the machine disturbs all of them alike; minimum and
lower quartile count. The time is the engine's alone, for one picture. `--paper` adds the preset `paper`
with random weights, of which the time does not depend. `--dry-run` takes one round and prints it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

import machine
import network_size
from ast_edge.backends.base import Array
from ast_edge.files import write_text
from ast_edge.manifest import TensorSpec, input_specs
from ast_edge.model_file import read_model_file
from ast_edge.train.backbone import build_trunk
from ast_edge.train.config import TrainConfig, preset
from ast_edge.train.network import AstNetwork
from ast_edge_export.fold import FoldedNetwork
from ast_edge_export.trace import trace

SCHEMA_VERSION = 1
WARM_UP = 3


@dataclass
class Candidate:
    """A graph in ONNX Runtime with inputs of its own, and the times of its runs in milliseconds."""

    name: str
    session: Any
    inputs: dict[str, Array]
    facts: dict[str, object]
    times_ms: list[float] = field(default_factory=list)

    def run(self) -> None:
        """One picture."""
        started = time.perf_counter_ns()
        self.session.run(None, self.inputs)
        self.times_ms.append((time.perf_counter_ns() - started) / 1e6)

    def figures(self) -> dict[str, object]:
        """Facts and times."""
        times = np.array(self.times_ms[WARM_UP:])
        quartile = float(np.percentile(times, 25))
        return {**self.facts, "min_ms": round(float(times.min()), 2), "p25_ms": round(quartile, 2)}


def main() -> int:
    options = _arguments()
    candidates = [_model(word, options.threads) for word in options.models]
    with tempfile.TemporaryDirectory() as folder:
        if options.paper:
            candidates += [_paper(Path(folder), options.threads)]
        for _ in range((1 if options.dry_run else options.rounds) + WARM_UP):
            for candidate in candidates:
                candidate.run()
    result = {
        "schema_version": SCHEMA_VERSION,
        "benchmark": "presets",
        "threads": options.threads,
        "rounds": options.rounds,
        "models": {candidate.name: candidate.figures() for candidate in candidates},
        "machine": machine.facts(),
    }
    text = json.dumps(result, indent=1) + "\n"
    if options.dry_run:
        sys.stdout.write(text)
    else:
        write_text(options.output, text)
    return 0


def _model(word: str, threads: int) -> Candidate:
    name, _, path = word.partition("=")
    model = read_model_file(Path(path))
    facts: dict[str, object] = {
        "preset": model.manifest.preset,
        "mode": model.manifest.mode,
        "precision": model.manifest.precision,
        "bytes": model.size,
    }
    return Candidate(name, _session(Path(path), threads), _inputs(model.manifest.inputs), facts)


def _paper(folder: Path, threads: int) -> Candidate:
    config: TrainConfig = preset("paper", "rgb")
    network = AstNetwork(config, build_trunk(config.backbone, config.image_size)).eval()
    size = network_size.measure(network, config)
    specs = input_specs(config.mode, config.preprocessing)
    with torch.inference_mode():
        onnx.save(trace(FoldedNetwork(network), specs, folder / "traced.onnx"), folder / "paper.onnx")
    facts: dict[str, object] = {"preset": "paper", "mode": "rgb", "precision": "fp32", **size}
    facts["bytes"] = (folder / "paper.onnx").stat().st_size
    return Candidate("paper_rgb_fp32", _session(folder / "paper.onnx", threads), _inputs(specs), facts)


def _session(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _inputs(specs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    made: dict[str, Array] = {}
    for spec in specs:
        shape = [abs(size) for size in spec.shape]
        if spec.dtype == "uint8":
            made[spec.name] = rng.integers(0, 256, shape, dtype=np.uint8)
        else:
            made[spec.name] = np.ones(shape, np.float32)
    return made


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("models", nargs="*", metavar="NAME=MODEL")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--paper", action="store_true")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
