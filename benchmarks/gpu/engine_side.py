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
from pathlib import Path
from typing import Any

from ast_edge.backends.engine_build import Options, build_engine, in_precision
from ast_edge.cuda.device import missing_for_tensorrt
from ast_edge.errors import AstEdgeError
from ast_edge.frames.pixel_formats import Colour
from ast_edge.inspector import Inspector
from ast_edge.latency.figures import by_stage, figures, histogram
from ast_edge.latency.frames import frame_kind, made_part
from ast_edge.latency.stopwatch import Limits, Part, measure, warm_up
from ast_edge.model.manifest import Precision
from ast_edge.model.onnx_file import read_model_file
from benchmarks.common import machine
from benchmarks.roofline import measure as roofline

SECONDS, MOST_ROUNDS = 6.0, 10_000
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
                kind = frame_kind(width, height, colour, inspector.spec)
                part = made_part(kind)
                row = {"model": model.stem, "precision": precision, "engine": inspector.engine}
                where = {"colour": kind.colour, "width": width, "height": height}
                rows.append({**row, **where, **_timed(inspector, part, dry_run=dry_run)})
    except AstEdgeError as exc:
        rows.append({"model": model.stem, "precision": precision, "failed": str(exc)})
    return rows


def _timed(inspector: Inspector, part: Part, *, dry_run: bool) -> dict[str, Any]:
    """Latency of one part after another, by stage; parts per second with two on their way."""
    warm = warm_up(inspector, part, most=3 if dry_run else MOST_WARM_UP)
    limits = Limits(3, None) if dry_run else Limits(MOST_ROUNDS, SECONDS)
    times = measure(inspector, part, limits)
    started = time.perf_counter()
    for future in [inspector.inspect_async(**part) for _ in times.total_ms]:
        future.result()
    stages = by_stage(times.stages_ms)
    return {
        "rounds": len(times.total_ms),
        "warm_up": vars(warm),
        "total_ms": figures(times.total_ms).model_dump(),
        "stages_ms": {name: figures(values).model_dump() for name, values in stages.items()},
        "histogram": histogram(times.total_ms).model_dump(),
        "throughput_per_s": round(len(times.total_ms) / (time.perf_counter() - started), 2),
    }


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
