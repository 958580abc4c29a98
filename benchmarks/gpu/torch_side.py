"""The part of `gpu_day.py` that needs PyTorch: networks to export, their time in PyTorch, the GPU's ceilings.

    python torch_side.py models FOLDER | peers FOLDER | ceilings    [--dry-run] --json FILE

Networks have random weights: time does not depend on them, and the proof of an engine is against the numbers
that this very network gives in PyTorch. `--dry-run` takes tiny networks and few rounds, on the CPU if need
be.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ast_edge.errors import sentence
from ast_edge.latency.figures import percentile
from ast_edge.model.manifest import Mode
from ast_edge.train.config import PresetName, TrainConfig, changed, preset
from ast_edge_export.fold import FoldedNetwork
from benchmarks.common import machine
from benchmarks.common.untrained import make_inputs, make_network, write_model

MODES: tuple[Mode, ...] = ("rgb", "depth", "rgbd")
PRESETS: tuple[PresetName, ...] = ("paper", "balanced", "nano")
INT8 = ("nano_rgb", "balanced_rgb")
ROUNDS, DRY_ROUNDS = 300, 3
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main() -> int:
    options = _arguments()
    result: dict[str, Any] = {"machine": machine.facts(), "device": str(DEVICE)}
    if options.command == "models":
        result["models"] = [
            write_model(name, config, options.folder, int8=name in INT8)
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
            yield {**row, "failed": sentence(exc)[:300]}


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


def _timed(run: Callable[[], object], rounds: int) -> dict[str, float | None]:
    for _ in range(max(2, rounds // 10)):
        run()
    times = []
    for _ in range(rounds):
        started = time.perf_counter_ns()
        run()
        times.append((time.perf_counter_ns() - started) / 1e6)
    return {"rounds": rounds, "p50_ms": percentile(times, 50), "p99_ms": percentile(times, 99)}


def _ceilings(*, dry_run: bool) -> dict[str, Any]:
    """The fields of `roofline.traffic.GpuCeilings`, the best of several rounds.

    A copy counts what is read and what is written.
    """
    rates = {}
    size = 256 if dry_run else 8192
    for name, kind in (("fp32", torch.float32), ("fp16", torch.float16)):
        left, right = (torch.randn(size, size, device=DEVICE).to(kind) for _ in range(2))
        rates[name] = size**3 / _best_seconds(lambda a=left, b=right: a @ b)  # type: ignore[misc]
    cache = _cache_bytes()
    return {
        "memory_bytes_per_s": _copy_rate(1 << (20 if dry_run else 30), 1),
        "cache_bytes_per_s": _copy_rate(cache // 8, 1 if dry_run else 100),
        "cache_bytes": cache,
        "macs_per_s": rates,
        "kernel_s": _kernel_seconds(16 if dry_run else 1000),
    }


def _cache_bytes() -> int:
    """The L2 cache of the GPU; of a processor, a size that is usual."""
    if DEVICE.type != "cuda":
        return 1 << 20
    return int(torch.cuda.get_device_properties(DEVICE).L2_cache_size)


def _copy_rate(count: int, times: int) -> float:
    """Bytes a second, read and written, of a copy that is made so many times in a row."""
    source = torch.zeros(count, dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)

    def copy() -> None:
        for _ in range(times):
            target.copy_(source)

    return 2 * count * times / _best_seconds(_in_graph(copy))


def _kernel_seconds(count: int) -> float:
    """From one kernel to the next that waits for it, where there is next to nothing to do."""
    value = torch.zeros(1, device=DEVICE)

    def add() -> None:
        for _ in range(count):
            value.add_(1)

    return _best_seconds(_in_graph(add)) / count


def _in_graph(work: Callable[[], None]) -> Callable[[], object]:
    """The work as a CUDA graph, as engines run: starting its kernels costs the processor nothing."""
    if DEVICE.type != "cuda":
        return work
    work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


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
