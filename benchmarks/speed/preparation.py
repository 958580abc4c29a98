"""What everything outside the engine takes, with frames prepared by NumPy and by the compiled kernels.

    python -m benchmarks.speed.preparation [NAME=MODEL.onnx ...] -o benchmarks/results/preparation.json
        [--dry-run]

Without models, `nano` in the modes rgb and rgbd, with random weights. Two inspectors of one model take turns;
the library is compiled for this run. The engine has one thread, the one that prepares the frame, and every
time is the processor time of that thread: so programs that run meanwhile do not count. Of every kind of time
the least of all parts is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ast_edge.backends.base import Outputs
from ast_edge.backends.onnx_runtime import OnnxRuntimeBackend
from ast_edge.cuda import host_build, sources
from ast_edge.inspector import Inspector
from ast_edge.latency.frames import made_part, parse_frame
from ast_edge.latency.stopwatch import Part
from ast_edge.machine.watch import Watch
from ast_edge.model.arrays import Array
from ast_edge.model.onnx_file import ModelFile, read_model_file
from benchmarks.common import machine
from benchmarks.common.command import Untrained, keep, models_of, named

SCHEMA_VERSION = 1
PARTS, DRY_PARTS = 100, 5
FRAMES = ("400x400:rgb", "1280x1024:bayer_rggb")
MODELS = (Untrained("nano", "rgb"), Untrained("nano", "rgbd"))
NUMPY, COMPILED = "NumPy", "compiled kernels"


class Clocked(OnnxRuntimeBackend):
    """Keeps the processor time of the last run in `took_s`."""

    took_s = 0.0

    def _run(self, inputs: Mapping[str, Array]) -> Outputs:
        started = time.thread_time()
        outputs = super()._run(inputs)
        self.took_s = time.thread_time() - started
        return outputs


def main() -> int:
    options = _arguments()
    with tempfile.TemporaryDirectory() as folder, models_of(options.models, MODELS) as models:
        library = host_build.build(Path(folder) / sources.LIBRARY.name)
        rows = [
            _measured(name, path, frame, library, DRY_PARTS if options.dry_run else PARTS)
            for name, path in models.items()
            for frame in FRAMES
        ]
    result = {
        "schema_version": SCHEMA_VERSION,
        "benchmark": "preparation",
        "threads": 1,
        "rows": rows,
        "machine": machine.facts(),
    }
    keep(result, options.output, dry_run=options.dry_run)
    return 0


def _measured(name: str, path: Path, frame: str, library: Path, parts: int) -> dict[str, Any]:
    model = read_model_file(path)
    with contextlib.ExitStack() as stack:
        sides = {by: _opened(model, where) for by, where in ((NUMPY, Path("none.so")), (COMPILED, library))}
        for by, (inspector, _) in sides.items():
            stack.enter_context(inspector)
            if not inspector.frames_by.startswith(by):
                raise RuntimeError(f"{by} was asked for, found {inspector.frames_by}")
        part = made_part(parse_frame(frame, sides[NUMPY][0].spec))
        times: dict[str, list[tuple[float, float]]] = {by: [] for by in sides}
        with Watch() as watch:
            for _ in range(parts):
                for by, side in sides.items():
                    times[by].append(_inspected(*side, part))
    least = {by: [1e3 * min(each) for each in zip(*rows, strict=True)] for by, rows in times.items()}
    return {
        "model": name,
        "network": f"{model.manifest.preset}_{model.manifest.mode}_{model.manifest.precision}",
        "frame": frame,
        "parts": parts,
        "outside_engine_ms": {by: round(outside, 4) for by, (outside, _) in least.items()},
        "engine_ms": round(min(engine for _, engine in least.values()), 4),
        "load": watch.seen(1).load.model_dump(),
    }


def _opened(model: ModelFile, library: Path) -> tuple[Inspector, Clocked]:
    backend = Clocked(model, threads=1)
    before, sources.LIBRARY = sources.LIBRARY, library
    try:
        return Inspector(model.manifest.model_copy(update={"trained": None}), backend), backend
    finally:
        sources.LIBRARY = before


def _inspected(inspector: Inspector, backend: Clocked, part: Part) -> tuple[float, float]:
    """Seconds of this thread outside the engine and in it, for one part."""
    started = time.thread_time()
    verdict = inspector.inspect(**part).verdict
    whole = time.thread_time() - started
    if verdict == "fault":
        raise RuntimeError("the frame cannot be judged, so nothing was measured")
    return whole - backend.took_s, backend.took_s


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("models", nargs="*", type=named, metavar="NAME=MODEL")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--dry-run", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
