"""One network in one engine in a process of its own, run on request of `speed.py`, in either environment.

    python -m benchmarks.peers.worker ENGINE MODEL PICTURES.npz THREADS

Answers JSON lines on stdout: one when the network is loaded and warm, then one for each line on stdin: the
number of a picture, or `answer` for the scores of all pictures. PICTURES has an array for each of the
inputs, with the pictures along its first axis.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Inputs = dict[str, NDArray[Any]]
Run = Callable[[Inputs], float]
SCORES = ("score", "pred_score")
WARM_UP = 3


def main() -> int:
    engine, model, pictures, threads = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    talk = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    stored = np.load(pictures, allow_pickle=False)
    count = len(stored[stored.files[0]])
    inputs = [
        {name: np.ascontiguousarray(stored[name][i : i + 1]) for name in stored.files} for i in range(count)
    ]
    started = time.perf_counter_ns()
    run = ENGINES[engine](model, threads)
    loaded = time.perf_counter_ns()
    for index in range(WARM_UP):
        run(inputs[index % count])
    _say(
        talk,
        {"load_ms": round((loaded - started) / 1e6, 1), "rest_mib": _mib("VmRSS"), "peak_mib": _mib("VmHWM")},
    )
    for line in sys.stdin:
        if line.strip() == "answer":
            _say(talk, {"scores": [run(one) for one in inputs], "peak_mib": _mib("VmHWM")})
            continue
        picture = inputs[int(line)]
        started = time.perf_counter_ns()
        run(picture)
        _say(talk, {"ms": (time.perf_counter_ns() - started) / 1e6})
    return 0


def _onnxruntime(model: Path, threads: int) -> Run:
    import onnxruntime  # noqa: PLC0415  # each worker loads one engine

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    profile = os.environ.get("ORT_PROFILE")
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    given = [node.name for node in session.get_inputs()]
    names = [node.name for node in session.get_outputs()]

    def run(inputs: Inputs) -> float:
        return _score(dict(zip(names, session.run(None, _named(inputs, given)), strict=True)))

    return run


def _openvino(model: Path, threads: int) -> Run:
    from ast_edge.telemetry import without_openvino_telemetry  # noqa: PLC0415

    with without_openvino_telemetry():
        import openvino  # noqa: PLC0415  # each worker loads one engine
    settings: dict[str, object] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": threads,
        # The processor's own default may be bfloat16: three digits, another network than the others run.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(str(model), "CPU", settings)
    request = compiled.create_infer_request()
    given = [port.get_any_name() for port in compiled.inputs]

    def run(inputs: Inputs) -> float:
        found = request.infer(_named(inputs, given), share_inputs=True)
        return _score({port.get_any_name(): array for port, array in found.items()})

    return run


def _torch(model: Path, threads: int) -> Run:
    import torch  # noqa: PLC0415  # each worker loads one engine

    from benchmarks.peers import eager  # noqa: PLC0415  # it needs torch

    torch.set_num_threads(threads)
    network = eager.build(model)

    def run(inputs: Inputs) -> float:
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
            return float(network(tensors))

    return run


def _named(inputs: Inputs, given: list[str]) -> Inputs:
    """The inputs under the network's names: exporters name a single one as they like."""
    return inputs if len(given) > 1 else {given[0]: next(iter(inputs.values()))}


def _score(outputs: dict[str, Any]) -> float:
    name = next((name for name in SCORES if name in outputs), None)
    # Of a network without a score of its own the largest value of its map, which is its first output.
    return float(np.max(outputs[name] if name else next(iter(outputs.values()))))


def _mib(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024, 1)


def _say(talk: Any, content: dict[str, object]) -> None:
    talk.write(json.dumps(content) + "\n")
    talk.flush()


ENGINES: dict[str, Callable[[Path, int], Run]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "torch": _torch,
}

if __name__ == "__main__":
    sys.exit(main())
