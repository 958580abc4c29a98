"""C++ and Python on the same models and the same frame, in interleaved runs.

    python -m benchmarks.speed.cpp BUILD NAME=MODEL.onnx ... --picture 000.png -o benchmarks/results/cpp.json

BUILD is the build tree of cpp_bridge. The engine is held against every model's reference vectors. Models of
mode rgb are timed too: every round inspects the frame once with each side, and waits a moment before each, so
that no threads of the other are still spinning. `outside_engine_ms` is everything but the engine: preparation
of the frame, verdict, and the call itself; `beside_stages_ms` is the call alone. The tables in the README
of cpp_bridge are written too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ast_edge.files import write_text
from ast_edge.frames.reading import read_image
from ast_edge.inspector import Inspector
from ast_edge.latency.figures import figures
from ast_edge.model.onnx_file import read_model_file
from benchmarks.common import machine
from benchmarks.common.paths import ROOT

Pixels = NDArray[np.uint8]

README = ROOT / "cpp_bridge" / "README.md"

SCHEMA_VERSION = 1
WARM_UP = 10
STAGES = ("total", "preprocess", "engine", "score")


@dataclass
class Side:
    """One language's times of one model, in milliseconds: a row of `STAGES` for every inspection."""

    rows: list[tuple[float, ...]] = field(default_factory=list)

    def figures(self) -> dict[str, object]:
        """Percentiles of every stage."""
        times = np.array(self.rows[WARM_UP:])
        by_stage = dict(zip(STAGES, times.T, strict=True))
        stages = {name: figures(by_stage[name]).model_dump() for name in STAGES[1:]}
        return {
            "stages_ms": stages,
            "outside_engine_ms": figures(by_stage["total"] - by_stage["engine"]).model_dump(),
            "beside_stages_ms": figures(2 * times[:, 0] - times.sum(axis=1)).model_dump(),
            "total_ms": figures(by_stage["total"]).model_dump(),
        }


class Cpp(Side):
    """`ast_edge_bench --serve` in a process of its own."""

    def __init__(self, build: Path, model: Path, raw: Path, size: tuple[int, int], threads: int) -> None:
        super().__init__()
        command = [build / "examples" / "ast_edge_bench", model, "--frame", f"{size[0]}x{size[1]}"]
        command += ["--raw", raw, "--threads", str(threads), "--serve"]
        self._process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the program has no pipes")
        self._ask, self._answer = self._process.stdin, self._process.stdout

    def run(self) -> None:
        """One inspection."""
        self._ask.write("\n")
        self._ask.flush()
        self.rows.append(tuple(map(float, self._answer.readline().split())))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


class Python(Side):
    """`Inspector` in this process."""

    def __init__(self, model: Path, frame: Pixels, threads: int) -> None:
        super().__init__()
        self._inspector = Inspector.open(model, threads=threads)
        self._frame = frame

    def run(self) -> None:
        """One inspection."""
        started = time.perf_counter_ns()
        inspection = self._inspector.inspect(self._frame, colour="rgb")
        total = (time.perf_counter_ns() - started) / 1e6
        if inspection.verdict == "fault":
            raise RuntimeError(f"the frame cannot be judged: {inspection.reason}")
        self.rows.append((total, *(inspection.stages_ms[name] for name in STAGES[1:])))

    def close(self) -> None:
        """Free the engine."""
        self._inspector.close()


def main() -> int:
    options = _arguments()
    frame = read_image(options.picture)
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "frame.rgb"
        raw.write_bytes(frame.tobytes())
        measured: dict[str, dict[str, object]] = {}
        for word in options.models:
            name, _, path = word.partition("=")
            measured[name] = {"parity": _parity(options.build, Path(path))}
            if read_model_file(Path(path)).manifest.mode == "rgb":
                measured[name] |= _measure(options, Path(path), raw, frame)
    result = {
        "schema_version": SCHEMA_VERSION,
        "benchmark": "cpp",
        "frame": [frame.shape[1], frame.shape[0]],
        "threads": options.threads,
        "rounds": options.rounds,
        "pause_ms": options.pause_ms,
        "models": measured,
        "machine": machine.facts(),
    }
    text = json.dumps(result, indent=1) + "\n"
    if options.dry_run:
        sys.stdout.write(text)
        return 0
    write_text(options.output, text)
    write_text(README, with_tables(README.read_text(encoding="utf-8"), result))
    return 0


def with_tables(text: str, result: dict[str, Any]) -> str:
    """The README `text` of cpp_bridge with the tables of a result."""
    for name, table in (("parity", _parity_table(result)), ("times", _times_table(result))):
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        head, _, rest = text.partition(begin)
        text = f"{head}{begin}\n{table}\n{end}{rest.partition(end)[2]}"
    return text


def _parity_table(result: dict[str, Any]) -> str:
    rows = ["| model | score, relative | allowed | flipped verdicts |", "|---|---|---|---|"]
    for name, model in result["models"].items():
        found = model["parity"]
        figures = (f"{found['max_relative_score_error']:.1e}", f"{found['tolerance']:.0e}")
        rows.append(f"| {name} | {' | '.join(figures)} | {found['flipped_verdicts']} |")
    return "\n".join(rows)


def _times_table(result: dict[str, Any]) -> str:
    head = ("model", "side", "preparation", "the call itself", "outside the engine")
    rows = [f"| {' | '.join(head)} |", "|---|---|---|---|---|"]
    for name, model in result["models"].items():
        for side, label in (("cpp", "C++"), ("python", "Python")):
            if side in model:
                found = model[side]
                preparation = found["stages_ms"]["preprocess"]
                times = (preparation, found["beside_stages_ms"], found["outside_engine_ms"])
                figures = (f"{time['min']:.3g} / {time['p50']:.3g}" for time in times)
                rows.append(f"| {name} | {label} | {' | '.join(figures)} |")
    return "\n".join(rows)


def _parity(build: Path, model: Path) -> object:
    command = [str(build / "examples" / "ast_edge_cli"), "verify", str(model)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _measure(options: argparse.Namespace, model: Path, raw: Path, frame: Pixels) -> dict[str, object]:
    size = (frame.shape[1], frame.shape[0])
    cpp = Cpp(options.build, model, raw, size, options.threads)
    python = Python(model, frame, options.threads)
    try:
        for _ in range((1 if options.dry_run else options.rounds) + WARM_UP):
            for side in (cpp, python):
                time.sleep(options.pause_ms / 1e3)
                side.run()
    finally:
        cpp.close()
        python.close()
    return {"cpp": cpp.figures(), "python": python.figures()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("build", type=Path)
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL")
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--dry-run", action="store_true", help="one round, printed and not kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pause-ms", type=float, default=3.0, help="rest before every inspection")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
