"""Train, export and evaluate one configuration on one dataset and write every figure to a result file.

    python benchmarks/accuracy.py DATA -o benchmarks/results/NAME.json --work FOLDER \
        -- --mode rgb --preset nano --weights FILE

What stands behind `--` goes to `ast-edge train` as it is. The run (PyTorch) and the exported model (ONNX
Runtime, FP32 and mixed precision) are evaluated with the same code. Test labels are used for these figures
only: nothing is chosen by them here.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import machine
from ast_edge.cli import main as ast_edge
from ast_edge.files import write_text
from ast_edge.train.run import Run

SCHEMA_VERSION = 1


def main() -> int:
    options, training = _arguments()
    run, model = options.work / "run", options.work / "model.onnx"
    seconds: dict[str, float] = {}
    _timed("train", seconds, "train", options.data, "-o", run, *training)
    _timed("export", seconds, "export", run, "-o", model)
    figures = {}
    engines = {"pytorch": run, "onnxruntime_fp32": model, "onnxruntime_fp16": model.with_suffix(".fp16.onnx")}
    for name, path in engines.items():
        target = options.work / f"{name}.json"
        _timed(f"evaluate_{name}", seconds, "evaluate", path, options.data, "--json", target)
        figures[name] = json.loads(target.read_text(encoding="utf-8"))
    spec = Run(run).spec()
    result = {
        "schema_version": SCHEMA_VERSION,
        "benchmark": "accuracy",
        "command": ["ast-edge", "train", options.data.name, *_public(training)],
        "dataset": options.data.name,
        "model": spec.model_dump(mode="json"),
        "training": json.loads(Run(run).config_file.read_text(encoding="utf-8"))["train"],
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "figures": figures,
        "machine": machine.facts(),
    }
    write_text(options.output, json.dumps(result, indent=1) + "\n")
    sys.stdout.write(f"{options.output}\n")
    return 0


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for the run and the models")
    return parser.parse_args(words[:cut]), words[cut + 1 :]


def _timed(stage: str, seconds: dict[str, float], *arguments: object) -> None:
    started = time.monotonic()
    if code := ast_edge([str(argument) for argument in arguments]):
        sys.exit(code)
    seconds[stage] = time.monotonic() - started


def _public(arguments: list[str]) -> list[str]:
    """Arguments without the folders of this machine."""
    return [Path(argument).name if "/" in argument else argument for argument in arguments]


if __name__ == "__main__":
    sys.exit(main())
