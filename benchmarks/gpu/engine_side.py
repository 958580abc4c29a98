"""The part of `gpu_day.py` that needs engines and no PyTorch: built, proven, and their latency.

    python engine_side.py engines FOLDER | latency FOLDER | rtx FOLDER | providers FOLDER
        [--dry-run] --json FILE

`engines` builds every model of FOLDER in FP32, FP16 and, where there is a `.int8.onnx`, INT8. `latency` times
them from a frame in host memory to the verdict. `rtx` does both with TensorRT for RTX, `providers` times the
models on each execution provider of ONNX Runtime. Everything is proven on the reference vectors before it is
timed. A dry run takes ONNX Runtime on the CPU for the engine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import onnxruntime

from ast_edge.backends import Engine, open_backend, rtx_build
from ast_edge.backends.engine_build import Options, build_engine, in_precision
from ast_edge.backends.onnx_runtime import PROVIDERS
from ast_edge.backends.proof import SCORE_TOLERANCE, prove
from ast_edge.cuda.device import find_device, missing_for_tensorrt
from ast_edge.errors import AstEdgeError, ParityError
from ast_edge.frames.pixel_formats import Colour
from ast_edge.inspector import Inspector
from ast_edge.latency.figures import by_stage, figures, histogram
from ast_edge.latency.frames import frame_kind, made_part
from ast_edge.latency.stopwatch import Limits, Part, measure, warm_up
from ast_edge.model.manifest import Precision
from ast_edge.model.onnx_file import read_model_file
from ast_edge.model.references import load_references
from ast_edge.trt import flavours
from ast_edge.trt.gpus import takes_rtx
from benchmarks.common import machine
from benchmarks.roofline import traffic

SECONDS, MOST_ROUNDS = 6.0, 10_000
MOST_WARM_UP = 300
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
# Colour, width, height.
FRAMES: tuple[tuple[Colour, int, int], ...] = (("bayer_rggb", 1920, 1200), ("rgb", 400, 400))


def main() -> int:
    options = _arguments()
    rows = []
    work = COMMANDS[options.command]
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
    return model.with_name(
        f"{model.stem}.engine" if precision == "fp32" else f"{model.stem}.{precision}.engine"
    )


def _engine(model: Path, precision: Precision, *, dry_run: bool) -> list[dict[str, Any]]:
    row: dict[str, Any] = {"model": model.stem, "precision": precision}
    started = time.perf_counter()
    try:
        source = in_precision(read_model_file(model), precision, lambda _: None)
        row["kernels"] = [kernel.as_json() for kernel in traffic.kernels_of(source.path)]
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
    row = {"model": model.stem, "precision": precision}
    path = engine_path(model, precision)
    if dry_run:
        path = in_precision(read_model_file(model), precision, lambda _: None).path
    try:
        return _rows(path, Engine(), row, dry_run=dry_run)
    except AstEdgeError as exc:
        return [{**row, "failed": str(exc)}]


def _rtx(model: Path, precision: Precision, *, dry_run: bool) -> list[dict[str, Any]]:
    row: dict[str, Any] = {"model": model.stem, "precision": precision}
    try:
        if dry_run:
            source = in_precision(read_model_file(model), precision, lambda _: None)
            return _rows(source.path, Engine(), row, dry_run=True)
        if why := _no_rtx():
            return [{**row, "left_out": why}]
        started = time.perf_counter()
        target = engine_path(model, precision).with_suffix(rtx_build.SUFFIX)
        capability = find_device().compute_capability
        engine = rtx_build.build_rtx_engine(model, target, Options(precision=precision), (capability,))
        row |= {"build_s": round(time.perf_counter() - started, 1), "bytes": engine.info.plan.bytes}
        return _rows(target, Engine(), row, dry_run=False)
    except AstEdgeError as exc:
        return [{**row, "failed": str(exc)}]


def _no_rtx() -> str | None:
    """Why no engine of TensorRT for RTX runs here; None if one does."""
    if missing := missing_for_tensorrt(flavours.RTX.module):
        return " and ".join(missing)
    device = find_device()
    if takes_rtx(device.compute_capability, integrated=device.integrated):
        return None
    return f"TensorRT for RTX does not serve {device.name} ({device.compute_capability})"


def _providers(model: Path, precision: Precision, *, dry_run: bool) -> list[dict[str, Any]]:
    source = in_precision(read_model_file(model), precision, lambda _: None)
    available = onnxruntime.get_available_providers()
    rows: list[dict[str, Any]] = []
    for name, known in PROVIDERS.items():
        row: dict[str, Any] = {"model": model.stem, "precision": precision, "provider": name}
        if known.library not in available:
            rows.append({**row, "left_out": f"this ONNX Runtime has no {known.library}"})
            continue
        try:
            rows += _rows(source.path, Engine("onnxruntime", name), row, dry_run=dry_run)
        except AstEdgeError as exc:
            rows.append({**row, "failed": str(exc)})
    if dry_run:
        row = {"model": model.stem, "precision": precision, "provider": "cpu"}
        rows += _rows(source.path, Engine("onnxruntime"), row, dry_run=True)
    return rows


def _rows(path: Path, engine: Engine, row: dict[str, Any], *, dry_run: bool) -> list[dict[str, Any]]:
    """Prove a model or engine, then time it with every frame."""
    rows = []
    file, backend = open_backend(path, backend=engine)
    with Inspector(file.manifest, backend) as inspector:
        references, _ = load_references(file)
        parity = prove(backend, references, file.manifest, SCORE_TOLERANCE[file.manifest.precision])
        if not parity.ok:
            raise ParityError(f"{path}: {backend.name} does not reproduce the model: {parity.differences}.")
        for colour, width, height in FRAMES[1:] if inspector.spec.mode == "depth" else FRAMES:
            kind = frame_kind(width, height, colour, inspector.spec)
            where = {"colour": kind.colour, "width": width, "height": height}
            about = {**row, "engine": inspector.engine, "proven": parity.proven.model_dump(), **where}
            rows.append({**about, **_timed(inspector, made_part(kind), dry_run=dry_run)})
    return rows


COMMANDS = {"engines": _engine, "latency": _latency, "rtx": _rtx, "providers": _providers}


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
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args()
    needed = options.command in ("engines", "latency") and not options.dry_run
    if needed and (missing := missing_for_tensorrt()):
        parser.error(f"this machine cannot build or run engines: {' and '.join(missing)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
