"""What each setting of the runtime is worth: one changed at a time, all in turns in one process.

    python -m benchmarks.speed.settings NAME=MODEL.onnx ... -o benchmarks/results/settings.json [--dry-run]

The frame is 400x400 rgb, two threads. Each candidate differs from the shipped runtime in the one thing that
its name says; they take turns of ten parts, so that what disturbs the machine disturbs all of them.
`--dry-run` takes one turn and prints it.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ast_edge.backends.base import Backend, Outputs
from ast_edge.backends.onnx_runtime import OnnxRuntimeBackend
from ast_edge.backends.openvino import OpenVinoBackend
from ast_edge.frames import resize
from ast_edge.inspector import Inspection, Inspector
from ast_edge.latency.figures import by_stage, percentile
from ast_edge.latency.frames import made_part, parse_frame
from ast_edge.latency.stopwatch import Limits, Times, interleaved, warm_up
from ast_edge.machine.watch import Watch
from ast_edge.model.arrays import Array
from ast_edge.model.onnx_file import ModelFile, read_model_file
from benchmarks.common import machine
from benchmarks.common.command import keep, named

SCHEMA_VERSION = 1
THREADS, FRAME = 2, "400x400"
SPINNING_STOP = "session.force_spinning_stop"
Change = Callable[[Any], None]


class Tuned(Backend):
    """Run ONNX Runtime with custom session options, and IO binding if requested."""

    name = "ONNX Runtime"

    def __init__(self, model: ModelFile, change: Change, *, binding: bool = False) -> None:
        super().__init__(model.manifest.inputs, model.manifest.outputs)
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.inter_op_num_threads = 3, 1
        options.intra_op_num_threads = THREADS
        options.add_session_config_entry(SPINNING_STOP, "1")
        change(options)
        self._session = onnxruntime.InferenceSession(
            str(model.path), options, providers=["CPUExecutionProvider"]
        )
        self._binding = self._session.io_binding() if binding else None

    def _run(self, inputs: Mapping[str, Array]) -> Outputs:
        if self._binding is None:
            score, anomaly_map = self._session.run(["score", "anomaly_map"], dict(inputs))
            return Outputs(score, anomaly_map)
        for name, array in inputs.items():
            self._binding.bind_cpu_input(name, array)
        for name in ("score", "anomaly_map"):
            self._binding.bind_output(name)
        self._session.run_with_iobinding(self._binding)
        return Outputs(*self._binding.copy_outputs_to_cpu())


class NumpyResize(Inspector):
    """Resizes pictures with NumPy alone."""

    def inspect(self, *arguments: Any, **named: Any) -> Inspection:
        """Inspect with Pillow's resize switched off."""
        with _without_pillow():
            return super().inspect(*arguments, **named)


@contextlib.contextmanager
def _without_pillow() -> Iterator[None]:
    kept = resize.same_bits
    resize.same_bits = lambda *_: False  # type: ignore[assignment]
    try:
        yield
    finally:
        resize.same_bits = kept


def _entry(key: str, value: str) -> Change:
    return lambda options: options.add_session_config_entry(key, value)


def _attribute(name: str, value: object) -> Change:
    return lambda options: setattr(options, name, value)


CHANGES: dict[str, Change] = {
    "threads spin between parts too, ONNX Runtime's default": _entry(SPINNING_STOP, "0"),
    "threads never spin": _entry("session.intra_op.allow_spinning", "0"),
    "one thread": _attribute("intra_op_num_threads", 1),
    "graph optimisation basic": _attribute(
        "graph_optimization_level", onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    ),
    "no memory arena": _attribute("enable_cpu_mem_arena", value=False),
    "no memory pattern": _attribute("enable_mem_pattern", value=False),
    "denormals are zero": _entry("session.set_denormal_as_zero", "1"),
}


def main() -> int:
    options = _arguments()
    models = {name: _measured(path, dry_run=options.dry_run) for name, path in options.models}
    result = {
        "schema_version": SCHEMA_VERSION,
        "benchmark": "settings",
        "threads": THREADS,
        "frame": FRAME,
        "models": models,
        "machine": machine.facts(),
    }
    keep(result, options.output, dry_run=options.dry_run)
    return 0


def _measured(path: Path, *, dry_run: bool) -> dict[str, Any]:
    model = read_model_file(path)
    spec = model.manifest.model_copy(update={"trained": None})
    part = made_part(parse_frame(FRAME, spec))
    with contextlib.ExitStack() as stack:
        inspectors = {
            "shipped": Inspector(spec, OnnxRuntimeBackend(model, threads=THREADS)),
            "resize by NumPy": NumpyResize(spec, OnnxRuntimeBackend(model, threads=THREADS)),
            **{name: Inspector(spec, Tuned(model, change)) for name, change in CHANGES.items()},
            "IO binding": Inspector(spec, Tuned(model, lambda _: None, binding=True)),
            "OpenVINO": Inspector(spec, OpenVinoBackend(model, threads=THREADS)),
        }
        for inspector in inspectors.values():
            stack.enter_context(inspector)
            warm_up(inspector, part, most=3 if dry_run else 60)
        with Watch() as watch:
            limits = Limits(10 if dry_run else 400, None)
            times, medians = interleaved(list(inspectors.values()), [part] * len(inspectors), limits)
    shipped = np.array(medians[0])
    rows = {
        name: {**_figures(each), "ratio": _quartiles(np.array(blocks) / shipped)}
        for name, each, blocks in zip(inspectors, times, medians, strict=True)
    }
    seen = watch.seen(1)
    return {"settings": rows, "load": seen.load.model_dump()}


def _figures(times: Times) -> dict[str, float | None]:
    stages, total = by_stage(times.stages_ms), np.array(times.total_ms)
    outside = total - stages["engine"]
    found = {
        "engine": stages["engine"],
        "preprocess": stages["preprocess"],
        "outside_engine": outside,
        "total": total,
    }
    least = {f"{name}_min_ms": round(float(values.min()), 4) for name, values in found.items()}
    return least | {
        f"{name}_p{percent}_ms": percentile(values, percent)
        for name, values in found.items()
        for percent in (25, 50, 90)
    }


def _quartiles(ratios: NDArray[np.float64]) -> list[float | None]:
    """The median between the quartiles, which are None where too few turns support them."""
    return [percentile(ratios, 25), round(float(np.median(ratios)), 4), percentile(ratios, 75)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("models", nargs="+", type=named, metavar="NAME=MODEL")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--dry-run", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
