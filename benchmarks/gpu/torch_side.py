"""The part of `gpu_day.py` that needs PyTorch: networks to export, their time in PyTorch, the GPU's ceilings.

    python torch_side.py models FOLDER | peers FOLDER | ceilings    [--dry-run] --json FILE

Networks have random weights: time does not depend on them, and the proof of an engine is against the numbers
that this very network gives in PyTorch. `--dry-run` takes tiny networks and few rounds, on the CPU if need
be.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

import machine
import network_size
from ast_edge.backends.base import Array
from ast_edge.backends.onnx_runtime import OnnxRuntimeBackend
from ast_edge.manifest import Manifest, Mode, ModelSpec, Precision, Threshold, TrainingData
from ast_edge.model_file import ModelFile, network_sha256, write_model_file
from ast_edge.references import SCORE_TOLERANCE, References, prove, reference_path
from ast_edge.train.backbone import build_trunk
from ast_edge.train.config import PresetName, TrainConfig, changed, preset
from ast_edge.train.network import AstNetwork
from ast_edge_export.fold import FoldedNetwork
from ast_edge_export.quantise import to_int8
from ast_edge_export.trace import trace

MODES: tuple[Mode, ...] = ("rgb", "depth", "rgbd")
PRESETS: tuple[PresetName, ...] = ("paper", "balanced", "nano")
REFERENCES = 4
INT8 = ("nano_rgb", "balanced_rgb")
INT8 = ("nano_rgb", "balanced_rgb")
ROUNDS, DRY_ROUNDS = 300, 3
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main() -> int:
    options = _arguments()
    result: dict[str, Any] = {"machine": machine.facts(), "device": str(DEVICE)}
    if options.command == "models":
        result["models"] = [
            _write_model(name, config, options.folder)
            for name, config in configurations(dry_run=options.dry_run)
        ]
    elif options.command == "peers":
        result["peers"] = [
            row
            for name, config in configurations(dry_run=options.dry_run)
            for row in _time_variants(name, config, dry_run=options.dry_run)
        ]
    else:
        result["ceilings"] = _ceilings(dry_run=options.dry_run)
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def configurations(*, dry_run: bool) -> Iterator[tuple[str, TrainConfig]]:
    """Every preset in every mode; tiny ones for a dry run."""
    for name in PRESETS[1:2] if dry_run else PRESETS:
        for mode in MODES:
            config = preset(name, mode)
            if dry_run:
                small = {"image_size": 64, "teacher.hidden": 8, "student.width": 8}
                config = changed(config, dict(small))
            yield f"{name}_{mode}", config


def make_network(config: TrainConfig) -> AstNetwork:
    """With random weights, and with the batch norms set on noise, so that no layer's output grows out of
    bounds.
    """
    torch.manual_seed(0)
    trunk = None if config.mode == "depth" else build_trunk(config.backbone, config.image_size)
    network = AstNetwork(config, trunk).eval()
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    with torch.no_grad():
        for seed in range(2):
            tensors = {key: torch.from_numpy(array) for key, array in make_inputs(config, 2, seed).items()}
            network(**tensors)
    for norm in norms:
        norm.eval()
    return network


def make_inputs(config: TrainConfig, count: int, seed: int) -> dict[str, Array]:
    """Smooth noise as pictures, a disc with a rough surface as a part."""
    rng = np.random.default_rng(seed)
    size, grid = config.image_size, config.map_size
    inputs: dict[str, Array] = {}
    if config.mode != "depth":
        coarse = rng.integers(0, 256, (count, max(size // 8, 1), max(size // 8, 1), 3), dtype=np.uint8)
        inputs["image"] = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :size, :size]
    if config.mode != "rgb":
        inputs["depth"] = rng.normal(0, 1, (count, 1, 8 * grid, 8 * grid)).astype(np.float32)
        inputs["foreground"] = np.ones((count, 1, grid, grid), np.float32)
        inputs["foreground"][:, :, 0] = 0
    return inputs


def _write_model(name: str, config: TrainConfig, folder: Path) -> dict[str, Any]:
    """`NAME.onnx` and its reference vectors, as an export writes them."""
    network = make_network(config)
    folded = FoldedNetwork(network)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.onnx"
    inputs = make_inputs(config, REFERENCES, seed=7)
    with torch.inference_mode():
        tensors = {key: torch.from_numpy(array) for key, array in inputs.items()}
        score, anomaly_map = (output.numpy() for output in network(**tensors))
    references = References(inputs, score, anomaly_map)
    spec = _spec(config, float(score.max()))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = Path(scratch) / "network.onnx"
        with torch.inference_mode():
            onnx.save(trace(folded, spec.input_specs(-1), Path(scratch) / "traced.onnx"), path)
        _write(target, path, spec, references)
        int8 = _write_int8(target, path, spec, references) if name in INT8 else None
    return {
        "name": name,
        "mode": config.mode,
        "preset": config.preset,
        "bytes": target.stat().st_size,
        "int8": int8,
        **network_size.measure(network, config),
    }


def _write_int8(target: Path, network: Path, spec: ModelSpec, references: References) -> str:
    """`NAME.int8.onnx`, if ONNX Runtime reproduces the references with it; what came of it, in words."""
    parts = [references.subset([index]).inputs for index in range(len(references))]
    quantised = network.with_name("int8.onnx")
    onnx.save(to_int8(onnx.load(network), parts), quantised)
    path = target.with_name(f"{target.stem}.int8.onnx")
    model = _write(path, quantised, spec, references, "int8")
    with OnnxRuntimeBackend(model) as backend:
        parity = prove(backend, references, spec, SCORE_TOLERANCE["int8"])
    if not parity.ok:
        path.unlink()
        return f"left out: the score is {parity.max_relative_score_error:.2g} off"
    return f"written: the score is {parity.max_relative_score_error:.2g} off"


def _spec(config: TrainConfig, top_score: float) -> ModelSpec:
    """The threshold lies well above every score: no verdict flips by rounding."""
    threshold = Threshold(
        value=2 * top_score,
        pixel_value=2 * top_score,
        target_false_reject_rate=0.01,
        expected_false_reject_rate=0.01,
        upper_false_reject_rate=1.0,
        confidence=0.95,
        good_parts=REFERENCES,
        good_parts_needed=99,
    )
    return ModelSpec(
        mode=config.mode,
        preset=config.preset,
        backbone=config.backbone.describe(),
        training_data=TrainingData(fingerprint="0" * 64, layout="none", train_parts=1, holdout_parts=1),
        preprocessing=config.preprocessing,
        smoothing=config.smoothing,
        aggregation=config.aggregation,
        threshold=threshold,
    )


def _write(
    target: Path, network: Path, spec: ModelSpec, references: References, precision: Precision = "fp32"
) -> ModelFile:
    embedded = references.subset([0]).to_bytes()
    sha256 = network_sha256(network)
    manifest = Manifest(
        **spec.model_dump(),
        model_id=f"untrained-{target.stem}-{sha256[:12]}",
        precision=precision,
        inputs=spec.input_specs(-1),
        outputs=spec.output_specs(-1),
        network_sha256=sha256,
        reference_sha256=hashlib.sha256(references.to_bytes()).hexdigest(),
        embedded_reference_sha256=hashlib.sha256(embedded).hexdigest(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions={"torch": torch.__version__},
    )
    reference_path(target).write_bytes(references.to_bytes())
    return write_model_file(target, network, manifest, embedded)


def _time_variants(name: str, config: TrainConfig, *, dry_run: bool) -> Iterator[dict[str, Any]]:
    """Prepared inputs in host memory to score in host memory, one part at a time."""
    rounds = DRY_ROUNDS if dry_run else ROUNDS
    module = FoldedNetwork(make_network(config)).to(DEVICE)
    host = {key: torch.from_numpy(array) for key, array in make_inputs(config, 1, 0).items()}
    channels_last = module.to(memory_format=torch.channels_last)
    variants: dict[str, Callable[[], Callable[[], object]]] = {
        "eager fp32": lambda: _eager(module, host, half=False),
        "eager fp16 channels-last": lambda: _eager(channels_last, host, half=True),
        "fp16 channels-last, CUDA graph": lambda: _graph(channels_last, host),
        "torch.compile fp16": lambda: _compiled(channels_last, host),
    }
    for variant, prepare in variants.items():
        row: dict[str, Any] = {"model": name, "variant": variant}
        if dry_run and not variant.startswith("eager"):
            yield {**row, "left_out": "in a dry run"}
            continue
        try:
            yield {**row, **_timed(prepare(), rounds)}
        except Exception as exc:  # noqa: BLE001 (what one variant cannot do must not stop the round)
            yield {**row, "failed": " ".join(f"{type(exc).__name__}: {exc}".split())[:300]}


def _eager(module: nn.Module, host: dict[str, Tensor], *, half: bool) -> Callable[[], object]:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def run() -> object:
        with torch.inference_mode(), _precision(half=half):
            score, anomaly_map = module(**{key: t.to(DEVICE, non_blocking=True) for key, t in host.items()})
            return score.cpu(), anomaly_map.cpu()

    return run


def _graph(module: nn.Module, host: dict[str, Tensor]) -> Callable[[], object]:
    inputs = {key: tensor.to(DEVICE) for key, tensor in host.items()}
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.inference_mode(), _precision(half=True), torch.cuda.stream(side):
        for _ in range(3):
            module(**inputs)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), _precision(half=True), torch.cuda.graph(graph):
        score, anomaly_map = module(**inputs)

    def run() -> object:
        for key, tensor in host.items():
            inputs[key].copy_(tensor, non_blocking=True)
        graph.replay()
        return score.cpu(), anomaly_map.cpu()

    return run


def _compiled(module: nn.Module, host: dict[str, Tensor]) -> Callable[[], object]:
    return _eager(torch.compile(module, mode="reduce-overhead"), host, half=True)  # type: ignore[arg-type]


def _precision(*, half: bool) -> Any:
    return torch.autocast(DEVICE.type, torch.float16) if half else nullcontext()


def _timed(run: Callable[[], object], rounds: int) -> dict[str, float]:
    for _ in range(max(2, rounds // 10)):
        run()
    times = []
    for _ in range(rounds):
        started = time.perf_counter_ns()
        run()
        times.append((time.perf_counter_ns() - started) / 1e6)
    p50, p99 = np.percentile(times, [50, 99])
    return {"rounds": rounds, "p50_ms": round(float(p50), 4), "p99_ms": round(float(p99), 4)}


def _ceilings(*, dry_run: bool) -> dict[str, Any]:
    """Bytes copied (read and written) and multiply-accumulates a second, the best of several rounds."""
    count = 1 << (20 if dry_run else 30)
    source = torch.zeros(count, dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    copying = _best_seconds(lambda: target.copy_(source))
    rates = {}
    size = 256 if dry_run else 8192
    for name, kind in (("fp32", torch.float32), ("fp16", torch.float16)):
        left, right = (torch.randn(size, size, device=DEVICE).to(kind) for _ in range(2))
        rates[name] = size**3 / _best_seconds(lambda a=left, b=right: a @ b)  # type: ignore[misc]
    return {"bytes_per_s": 2 * count / copying, "macs_per_s": rates}


def _best_seconds(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(8):
        _wait()
        started = time.perf_counter()
        work()
        _wait()
        best = min(best, time.perf_counter() - started)
    return best


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("command", choices=("models", "peers", "ceilings"))
    parser.add_argument("folder", type=Path, nargs="?", default=Path())
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--dry-run", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
