"""What a graph that was optimised and saved before saves when a model is opened.

    python -m benchmarks.speed.opening [NAME=MODEL.onnx ...] -o benchmarks/results/opening.json [--dry-run]

Without models, `nano` and `balanced` in mode rgb, `nano` in mode rgbd, and INT8 of `balanced`, with random
weights. Opening is: the model file read and checked, the engine opened on two threads, and the first part
through it, since some of the work waits for that. It is done in turns in one process, with the graph compiled
and with the saved one read, compared with its digest and opened. ONNX Runtime's optimised graph, in its own
format, is saved by this benchmark alone. OpenVINO's compiled network is kept in the cache as shipped:
`compiled` is then what an open with an empty cache takes, `saved` what a later one takes. The time is the
least of all rounds, of the clock and of the processors; the latter says more where other programs run, too.
`score_differs` says whether the saved graph gives another score.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import onnxruntime

from ast_edge.backends import open_backend
from ast_edge.backends.base import Outputs
from ast_edge.backends.openvino import NETWORKS
from ast_edge.machine.watch import Watch
from ast_edge.model.arrays import Array
from ast_edge.model.onnx_file import read_model_file
from ast_edge.model.references import load_references
from benchmarks.common import machine
from benchmarks.common.command import Untrained, keep, models_of, named

SCHEMA_VERSION = 1
THREADS, ROUNDS, DRY_ROUNDS = 2, 30, 2
MODELS = (Untrained("nano", "rgb"), Untrained("nano", "rgbd"), Untrained("balanced", "rgb", int8=True))
Inputs = dict[str, Array]
Opening = Callable[[Path, Inputs], Outputs]


class Saved:
    """The graph of a model as a library saves it, with its digest."""

    def __init__(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        self.path, self.digest, self.bytes = path, hashlib.sha256(content).hexdigest(), len(content)

    def read(self) -> bytes:
        """The bytes, compared with the digest."""
        content = self.path.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.digest:
            raise RuntimeError(f"{self.path}: was changed")
        return content


def main() -> int:
    options = _arguments()
    rounds = DRY_ROUNDS if options.dry_run else ROUNDS
    with models_of(options.models, MODELS) as models:
        measured = {name: _measured(path, rounds) for name, path in models.items()}
    result = {
        "schema_version": SCHEMA_VERSION,
        "benchmark": "opening",
        "threads": THREADS,
        "rounds": rounds,
        "models": measured,
        "machine": machine.facts(),
    }
    keep(result, options.output, dry_run=options.dry_run)
    return 0


def _measured(path: Path, rounds: int) -> dict[str, Any]:
    model = read_model_file(path)
    inputs = load_references(model)[0].subset([0]).inputs
    with tempfile.TemporaryDirectory() as folder, _cache(Path(folder) / "kept"):
        graph = _save_onnx_runtime(path, Path(folder))
        ways: dict[tuple[str, str], Opening] = {
            ("onnxruntime", "compiled"): _shipped("onnxruntime"),
            ("onnxruntime", "saved"): _onnx_runtime_saved(graph),
            ("openvino", "compiled"): _with_empty_cache(_shipped("openvino")),
            ("openvino", "saved"): _shipped("openvino"),
        }
        ways["openvino", "saved"](path, inputs)
        (network,) = NETWORKS.path("").parent.iterdir()
        saved_bytes = {"onnxruntime": graph.bytes, "openvino": network.stat().st_size}
        with Watch() as watch:
            least, scores = _in_turns(ways, path, inputs, rounds)
    return {
        "bytes": model.size,
        "libraries": {
            library: {
                **{how: least[library, how] for how in ("compiled", "saved")},
                "saved_bytes": size,
                "score_differs": scores[library, "compiled"] != scores[library, "saved"],
            }
            for library, size in saved_bytes.items()
        },
        "load": watch.seen(1).load.model_dump(),
    }


def _cache(folder: Path) -> AbstractContextManager[object]:
    """`folder` is the cache meanwhile."""
    return patch.dict(os.environ, {"AST_EDGE_CACHE": str(folder)})


def _with_empty_cache(opening: Opening) -> Opening:
    def first(path: Path, inputs: Inputs) -> Outputs:
        with tempfile.TemporaryDirectory() as folder, _cache(Path(folder)):
            return opening(path, inputs)

    return first


def _in_turns(
    ways: dict[tuple[str, str], Opening], path: Path, inputs: Inputs, rounds: int
) -> tuple[dict[tuple[str, str], dict[str, float]], dict[tuple[str, str], float]]:
    times: dict[tuple[str, str], list[tuple[float, float]]] = {way: [] for way in ways}
    scores = {}
    for _ in range(rounds):
        for way, opening in ways.items():
            clock, processors = time.perf_counter(), time.process_time()
            outputs = opening(path, inputs)
            times[way].append((time.perf_counter() - clock, time.process_time() - processors))
            scores[way] = float(outputs.score[0])
    least = {
        way: dict(
            zip(
                ("clock_ms", "processors_ms"),
                (round(1e3 * min(each), 2) for each in zip(*rows, strict=True)),
                strict=True,
            )
        )
        for way, rows in times.items()
    }
    return least, scores


def _shipped(library: str) -> Opening:
    def opening(path: Path, inputs: Inputs) -> Outputs:
        _, backend = open_backend(path, threads=THREADS, backend=cast("Any", library))
        with backend:
            return backend.run(inputs)

    return opening


def _session_options() -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.inter_op_num_threads, options.intra_op_num_threads = 3, 1, THREADS
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _save_onnx_runtime(path: Path, folder: Path) -> Saved:
    options = _session_options()
    options.optimized_model_filepath = str(folder / "optimised")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return Saved(folder / "graph.ort", (folder / "optimised").read_bytes())


def _onnx_runtime_saved(saved: Saved) -> Opening:
    def opening(path: Path, inputs: Inputs) -> Outputs:
        read_model_file(path)
        options = _session_options()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.use_ort_model_bytes_directly", "1")
        session = onnxruntime.InferenceSession(saved.read(), options, providers=["CPUExecutionProvider"])
        return Outputs(*session.run(["score", "anomaly_map"], inputs))

    return opening


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("models", nargs="*", type=named, metavar="NAME=MODEL")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--dry-run", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
