"""The whole round on a GPU machine in one command: tests, engines, latency, PyTorch beside it, roofline.

    python -m benchmarks.gpu.day --work FOLDER -o benchmarks/results/gpu_day.json
        [--engine-python PYTHON] [--torch-python PYTHON] [--rtx-python PYTHON] [--provider-python PYTHON]
        [--models FOLDER] [--only STAGE ...] [--dry-run]

TensorRT and PyTorch may live in different Pythons: `--engine-python` has tensorrt, onnx,
onnxruntime, OpenCV and pytest, `--torch-python` has torch, timm, FrEIA, onnx, onnxruntime and onnxsim; both
default to this one. No network is needed. `--models` adds exported models (their references beside them) to
the presets, which are made here with random weights. Stages, each with a file of its own in FOLDER, so that a
round that was cut off goes on:

    models    the presets in every mode as ONNX files                      (torch)
    tests     tests/gpu                                                    (engine)
    engines   build and prove every model in every precision               (engine)
    latency   frame in host memory to verdict, by stage                    (engine)
    rtx       the same with engines of TensorRT for RTX                    (rtx)
    providers the same by ONNX Runtime: CUDA, TensorRT, TensorRT for RTX   (provider)
    ceilings  copies from memory and cache, matrix rates, kernel starts    (torch)
    peers     the same networks in PyTorch: eager, CUDA graph, compiled    (torch)

`--rtx-python` has tensorrt-rtx, `--provider-python` onnxruntime-gpu; both default to `--engine-python`. What
a Python or the GPU lacks is left out, with the reason. The engine is held against the roofline of its traffic
(`benchmarks.roofline.traffic`).

`--dry-run` walks through all of it with tiny networks and ONNX Runtime in TensorRT's place: it shows that the
round works and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.command import environment, module
from benchmarks.common.paths import ROOT
from benchmarks.roofline import traffic

SCHEMA_VERSION = 1
STAGES = ("models", "tests", "engines", "latency", "rtx", "providers", "ceilings", "peers")
# What the paper's network must do on an H200: batch 1, FP16, a 1920x1200 Bayer frame.
MODEL, PRECISION = "paper_rgb", "fp16"
MAX_P50_MS, MAX_JITTER = 3.0, 1.2
LEAST_OVER_EAGER, LEAST_OVER_BEST = 5.0, 1.5
MOST_OVER_ROOFLINE = 2.0
MAX_PREPROCESS_MS = 0.1


@dataclass(frozen=True)
class Round:
    """One round: where it works and with which Pythons."""

    work: Path
    engine_python: str
    rtx_python: str
    provider_python: str
    torch_python: str
    dry_run: bool

    @property
    def models(self) -> Path:
        """The folder with the models."""
        return self.work / "models"

    def run(self, stage: str) -> None:
        """Run a stage unless its file exists; a failure is kept in the file and stops nothing else."""
        target = self.work / f"{stage}.json"
        if target.exists() and "failed" not in json.loads(target.read_text(encoding="utf-8")):
            return
        sys.stdout.write(f"gpu_day: {stage}\n")
        sys.stdout.flush()
        done = subprocess.run(
            self._command(stage, target),
            cwd=ROOT,
            env=self._environment(stage),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        (self.work / f"{stage}.log").write_text(done.stdout, encoding="utf-8")
        if stage == "tests":
            _write(target, {"tests": _summary(done.stdout), "exit": done.returncode})
        elif done.returncode:
            _write(target, {"failed": done.stdout[-2000:], "exit": done.returncode})

    def _command(self, stage: str, target: Path) -> list[str]:
        dry = ["--dry-run"] if self.dry_run else []
        if stage == "tests":
            flags = ["-q", "-p", "no:cacheprovider", "-o", "addopts=-ra"]
            return [self.engine_python, "-m", "pytest", *flags, "tests/gpu"]
        engine_side = {
            "engines": self.engine_python,
            "latency": self.engine_python,
            "rtx": self.rtx_python,
            "providers": self.provider_python,
        }
        if stage in engine_side:
            side = [*module("gpu.engine_side", engine_side[stage]), stage, str(self.models)]
        else:
            side = [*module("gpu.torch_side", self.torch_python), stage, str(self.models)]
        return [*side, "--json", str(target), *dry]

    def _environment(self, stage: str) -> dict[str, str]:
        own = {"AST_EDGE_MODELS": str(self.models), "AST_EDGE_CACHE": str(self.work / "cache")}
        if not self.dry_run:
            return environment(**own)
        from tests.standin import software_gpu  # noqa: PLC0415 (a compiler is needed, and only here)

        driver = software_gpu.environment() if stage == "tests" else {}
        return {**environment(**own, AST_EDGE_STANDIN="1"), **driver}


def main() -> int:
    options = _arguments()
    round_ = Round(
        work=options.work,
        engine_python=options.engine_python,
        rtx_python=options.rtx_python or options.engine_python,
        provider_python=options.provider_python or options.engine_python,
        torch_python=options.torch_python,
        dry_run=options.dry_run,
    )
    round_.models.mkdir(parents=True, exist_ok=True)
    for given in options.models.glob("*") if options.models else ():
        shutil.copy(given, round_.models)
    for stage in options.only or STAGES:
        round_.run(stage)
    parts = {stage: _read(options.work / f"{stage}.json") for stage in STAGES}
    result = merge(parts, dry_run=options.dry_run)
    _write(options.output, result)
    for problem in result["problems"]:
        sys.stdout.write(f"gpu_day: {problem}\n")
    return int(bool(result["problems"]))


def merge(parts: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
    """One result of all stages, with the roofline and the targets."""
    engines = parts["engines"].get("engines", [])
    ceilings = parts["ceilings"].get("ceilings")
    floors = {
        f"{row['model']}.{row['precision']}": _floor(row, ceilings)
        for row in engines
        if ceilings and "kernels" in row
    }
    slim = [{key: value for key, value in row.items() if key != "kernels"} for row in engines]
    latency = parts["latency"].get("latency", [])
    peers = parts["peers"].get("peers", [])
    return {
        "schema_version": SCHEMA_VERSION,
        "benchmark": "gpu_day",
        "dry_run": dry_run,
        "machine": {stage: parts[stage].get("machine") for stage in ("latency", "rtx", "providers", "peers")},
        "models": parts["models"].get("models", []),
        "tests": parts["tests"].get("tests"),
        "engines": slim,
        "latency": latency,
        "rtx": parts["rtx"].get("rtx", []),
        "providers": parts["providers"].get("providers", []),
        "ceilings": ceilings,
        "peers": peers,
        "roofline": floors,
        "targets": targets(latency, peers, floors),
        "problems": problems(parts),
    }


def targets(
    latency: list[dict[str, Any]], peers: list[dict[str, Any]], floors: dict[str, Any]
) -> list[dict[str, Any]]:
    """Each target with its limit, what was found and whether it is met; None where nothing was measured."""
    ours = next(
        (
            row
            for row in latency
            if (row["model"], row["precision"]) == (MODEL, PRECISION) and row.get("colour") == "bayer_rggb"
        ),
        None,
    )
    times = {
        row["variant"]: row["p50_ms"]
        for row in peers
        if row["model"] == MODEL and row.get("p50_ms") is not None
    }
    floor = floors.get(f"{MODEL}.{PRECISION}", {}).get("traffic_ms")
    p50 = ours["total_ms"]["p50"] if ours else None
    stages = ours["stages_ms"] if ours else {}
    engine, preprocess = (stages.get(name, {}).get("p50") for name in ("engine", "preprocess"))
    jitter = _ratio(ours["total_ms"]["p99"], p50) if ours else None
    return [
        _target("p50 of frame to verdict, ms", MAX_P50_MS, p50),
        _target("p99 over p50", MAX_JITTER, jitter),
        _target(
            "times faster than eager FP32", LEAST_OVER_EAGER, _ratio(times.get("eager fp32"), p50), least=True
        ),
        _target(
            "times faster than the best of PyTorch",
            LEAST_OVER_BEST,
            _ratio(min(times.values(), default=None), p50),
            least=True,
        ),
        _target("engine over the roofline of its traffic", MOST_OVER_ROOFLINE, _ratio(engine, floor)),
        _target("preprocessing of a 1920x1200 Bayer frame, ms", MAX_PREPROCESS_MS, preprocess),
    ]


def problems(parts: dict[str, Any]) -> list[str]:
    """What failed, in words."""
    found = []
    for stage, content in parts.items():
        if "failed" in content:
            found.append(f"{stage}: {str(content['failed']).strip()[-300:]}")
        for row in content.get(stage, []) if isinstance(content.get(stage), list) else ():
            if "failed" in row:
                who = " ".join(
                    str(row[key]) for key in ("model", "precision", "provider", "variant") if key in row
                )
                found.append(f"{stage}, {who}: {row['failed']}")
    if parts["tests"].get("exit"):
        found.append(f"tests: {parts['tests'].get('tests')}")
    return found


def _floor(row: dict[str, Any], ceilings: dict[str, Any]) -> dict[str, Any]:
    kernels = [traffic.Kernel.from_json(kernel) for kernel in row["kernels"]]
    return traffic.report(kernels, traffic.GpuCeilings(**ceilings))


def _target(name: str, limit: float, found: float | None, *, least: bool = False) -> dict[str, Any]:
    met = None if found is None else (found >= limit if least else found <= limit)
    rounded = None if found is None else round(found, 4)
    return {"target": name, "at least" if least else "at most": limit, "found": rounded, "met": met}


def _ratio(over: float | None, under: float | None) -> float | None:
    return over / under if over is not None and under else None


def _summary(output: str) -> str:
    """pytest's last line."""
    lines = [line for line in output.splitlines() if re.search(r"\d+ (passed|failed|skipped|error)", line)]
    return lines[-1].strip("= ") if lines else output.strip()[-300:]


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"failed": "was not run"}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True, help="folder for models, engines and logs")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--engine-python", default=sys.executable)
    parser.add_argument("--rtx-python", help="default: the engine's")
    parser.add_argument("--provider-python", help="default: the engine's")
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--models", type=Path, help="folder with exported models to add")
    parser.add_argument("--only", nargs="*", choices=STAGES, help="stages to run")
    parser.add_argument("--dry-run", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
