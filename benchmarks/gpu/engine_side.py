"""The part of `gpu_day.py` that needs TensorRT and no PyTorch: engines built and proven, and their latency.

    python engine_side.py engines FOLDER | latency FOLDER    [--dry-run] --json FILE

`engines` builds every model of FOLDER in FP32, FP16 and, where there is a `.int8.onnx`, INT8. `latency` times
them from a frame in host memory to the verdict. A dry run takes ONNX Runtime for the engine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import machine
import roofline
from ast_edge.cuda.device import missing_for_tensorrt
from ast_edge.engine_build import Options, build_engine, in_precision
from ast_edge.errors import AstEdgeError
from ast_edge.inspector import Inspector
from ast_edge.latency import settled
from ast_edge.manifest import Mode, Precision
from ast_edge.model_file import read_model_file
from ast_edge.pixel_formats import Colour

SECONDS, LEAST_ROUNDS, MOST_ROUNDS = 6.0, 200, 5000
MOST_WARM_UP = 300
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
# Colour, width, height.
FRAMES: tuple[tuple[Colour, int, int], ...] = (("bayer_rggb", 1920, 1200), ("rgb", 400, 400))


def main() -> int:
    options = _arguments()
    rows = []
    work = _engine if options.command == "engines" else _latency
    for path in models(options.folder):
        for precision in PRECISIONS:
            if precision == "int8" and not path.with_name(f"{path.stem}.int8.onnx").exists():
                continue
            rows += work(path, precision, dry_run=options.dry_run)
    result = {"machine": machine.facts(), options.command: rows}
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def models(folder: Path) -> list[Path]:
    """The FP32 models of a folder."""
    return sorted(path for path in folder.glob("*.onnx") if not path.stem.endswith((".fp16", ".int8")))


def engine_path(model: Path, precision: Precision) -> Path:
    """Where the engine of a model in a precision is kept."""
    return model.with_name(f"{model.stem}.{precision}.engine")


def _engine(model: Path, precision: Precision, *, dry_run: bool) -> list[dict[str, Any]]:
    row: dict[str, Any] = {"model": model.stem, "precision": precision}
    started = time.perf_counter()
    try:
        source = in_precision(read_model_file(model), precision, lambda _: None)
        row["network"] = [vars(layer) for layer in roofline.layers_of(source.path)]
        if dry_run:
            return [row]
        report = model.with_name(f"{model.stem}.{precision}.layers.json")
        engine = build_engine(
            model, engine_path(model, precision), Options(precision=precision, report=report)
        )
    except AstEdgeError as exc:
        return [{**row, "failed": str(exc)}]
    info = engine.info
    layers = json.loads(report.read_text(encoding="utf-8"))
    return [
        {
            **row,
            "build_s": round(time.perf_counter() - started, 1),
            "bytes": info.plan.bytes,
            "built_for": info.built_for.model_dump(),
            "build": info.build.model_dump(),
            "proven": None if info.proven is None else info.proven.model_dump(),
            "layers_by_precision": layers["by_precision"],
        }
    ]


def _latency(model: Path, precision: Precision, *, dry_run: bool) -> list[dict[str, Any]]:
    path = engine_path(model, precision)
    if dry_run:
        path = in_precision(read_model_file(model), precision, lambda _: None).path
    rows = []
    try:
        with Inspector.open(path) as inspector:
            mode = inspector.spec.mode
            for colour, width, height in FRAMES[1:] if mode == "depth" else FRAMES:
                part = _part(mode, colour, width, height)
                row = {"model": model.stem, "precision": precision, "engine": inspector.engine}
                where = {"colour": None if mode == "depth" else colour, "width": width, "height": height}
                rows.append({**row, **where, **_timed(inspector, part, dry_run=dry_run)})
    except AstEdgeError as exc:
        rows.append({"model": model.stem, "precision": precision, "failed": str(exc)})
    return rows


def _part(mode: Mode, colour: Colour, width: int, height: int) -> dict[str, Any]:
    """A noisy frame, and depth with a box on a plane."""
    rng = np.random.default_rng(0)
    part: dict[str, Any] = {}
    if mode != "depth":
        shape = (height, width, 3) if colour == "rgb" else (height, width)
        part = {"frame": rng.integers(0, 256, shape, dtype=np.uint8), "colour": colour}
    if mode != "rgb":
        z = np.full((height, width), 0.5, np.float32)
        z[height // 4 : -height // 4, width // 4 : -width // 4] = 0.48
        part["depth_m"] = z
    return part


def _timed(inspector: Inspector, part: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
    """Latency of one part after another, by stage; parts per second with two on their way."""
    warm: list[float] = []
    while not settled(warm) and len(warm) < (3 if dry_run else MOST_WARM_UP):
        warm.append(_clocked(lambda: inspector.inspect(**part))[0])
    times: list[float] = []
    stages: list[Mapping[str, float]] = []
    end = time.perf_counter() + (0.0 if dry_run else SECONDS)
    least, most = (3, 3) if dry_run else (LEAST_ROUNDS, MOST_ROUNDS)
    while len(times) < least or (time.perf_counter() < end and len(times) < most):
        elapsed, inspection = _clocked(lambda: inspector.inspect(**part))
        times.append(elapsed)
        stages.append(inspection.stages_ms)
    started = time.perf_counter()
    for future in [inspector.inspect_async(**part) for _ in range(len(times))]:
        future.result()
    return {
        "rounds": len(times),
        "warm_up_rounds": len(warm),
        "total_ms": _percentiles(times),
        "stages_ms": {name: _percentiles([stage[name] for stage in stages]) for name in stages[0]},
        "throughput_per_s": round(len(times) / (time.perf_counter() - started), 2),
    }


def _clocked(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter_ns()
    result = work()
    return (time.perf_counter_ns() - started) / 1e6, result


def _percentiles(times: list[float]) -> dict[str, float]:
    p50, p90, p99 = np.percentile(times, [50, 90, 99])
    figures = {"p50": p50, "p90": p90, "p99": p99, "max": max(times), "mean": sum(times) / len(times)}
    return {name: round(float(value), 4) for name, value in figures.items()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("command", choices=("engines", "latency"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args()
    if not options.dry_run and (missing := missing_for_tensorrt()):
        parser.error(f"this machine cannot build or run engines: {' and '.join(missing)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
