"""How soon a process judges its first part, and how much there is of it on disk and in memory.

    python -m benchmarks.speed.startup -o benchmarks/results/startup.json
        [--model NAME=MODEL.onnx ...] [--dry-run]
    python -m benchmarks.speed.startup --sizes -o benchmarks/results/installed.json

Every run is a new process with warm file caches; the least of several counts. Without `--model`, `nano` and
`balanced` are made with random weights. Installed sizes are those of the files that each package lists, in
this environment; `--sizes` counts only these, for the sets of extras in the README. `--dry-run` takes one
run of a tiny model and prints it instead.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import distribution, requires
from pathlib import Path
from typing import cast

from packaging.requirements import Requirement

from benchmarks.common import machine
from benchmarks.common.command import environment, keep, named
from benchmarks.common.paths import ROOT

SCHEMA_VERSION = 1
RUNS = 9
# What tests/benchmarks/test_budgets.py keeps.
MAX_WHEEL_BYTES, MAX_FIRST_VERDICT_S = 1_000_000, 2.0
# Importing the runtime over importing what it cannot do without, so that a slow machine does not count.
MAX_IMPORT_RATIO, LIBRARIES = 2.5, "numpy,pydantic"
EXTRAS = ("", "cpu", "openvino", "line")
README_EXTRAS = ("cpu", "cpu,line", "cpu,train,line")

IMPORT = """
import sys, time
before = time.process_time()
for name in sys.argv[1].split(","):
    __import__(name)
print(time.process_time() - before)
"""
FIRST = """
import json, sys, time
from pathlib import Path
from ast_edge.backends import open_backend
from ast_edge.inspector import Inspector
from ast_edge.latency.frames import made_part, usual_frame
file, backend = open_backend(Path(sys.argv[1]), threads=2, backend=sys.argv[2])
spec = file.manifest.model_copy(update={"trained": None})  # the frame is noise, and shall be judged
with Inspector(spec, backend) as inspector:
    part = made_part(usual_frame(spec))
    verdict = inspector.inspect(**part).verdict
    judged_at = time.time()
    from ast_edge.machine.watch import memory
    found = memory()
print(json.dumps([judged_at, time.process_time(), found.resident, verdict]))
"""


def main() -> int:
    options = _arguments()
    if options.sizes:
        sizes = {extras: installed(extras) for extras in README_EXTRAS}
        result = {"schema_version": SCHEMA_VERSION, "benchmark": "installed", "installed_bytes": sizes}
        keep({**result, "machine": machine.facts()}, options.output, dry_run=options.dry_run)
        return 0
    runs = 1 if options.dry_run else RUNS
    with tempfile.TemporaryDirectory() as folder:
        models = dict(options.model) or _made(Path(folder), dry_run=options.dry_run)
        result = {
            "schema_version": SCHEMA_VERSION,
            "benchmark": "startup",
            "runs": runs,
            "import_cpu_s": {name: import_cpu_s(name, runs) for name in ("ast_edge", "ast_edge.inspector")},
            "first_verdict": {
                f"{name} {backend}": first_verdict(path, backend, runs)
                for name, path in models.items()
                for backend in ("onnxruntime", "openvino")
            },
            "wheel_bytes": wheel_bytes(Path(folder)),
            "installed_bytes": {
                f"ast-edge[{extra}]" if extra else "ast-edge": installed(extra) for extra in EXTRAS
            },
            "machine": machine.facts(),
        }
    keep(result, options.output, dry_run=options.dry_run)
    return 0


def import_cpu_s(modules: str, runs: int) -> float:
    """Least CPU time of importing modules, separated by commas, in a new process."""
    return round(min(float(_run("-c", IMPORT, modules)) for _ in range(runs)), 4)


def import_ratio(module: str, runs: int) -> float:
    """CPU time of importing a module over that of `LIBRARIES`: the least of interleaved runs."""
    pairs = [(import_cpu_s(module, 1), import_cpu_s(LIBRARIES, 1)) for _ in range(runs)]
    return min(own for own, _ in pairs) / min(libraries for _, libraries in pairs)


def first_verdict(model: Path, backend: str, runs: int) -> dict[str, float]:
    """From the start of the process to its first verdict, in seconds, and its memory then, in bytes."""
    walls, cpus, residents = [], [], []
    for _ in range(runs):
        started = time.time()
        judged_at, cpu, resident, verdict = json.loads(_run("-c", FIRST, str(model), backend))
        if verdict not in ("pass", "reject"):
            raise RuntimeError(f"{model}: found the verdict {verdict}, so the network was not run")
        walls.append(judged_at - started)
        cpus.append(cpu)
        residents.append(resident)
    return {
        "min_s": round(min(walls), 3),
        "cpu_s": round(min(cpus), 3),
        "resident_bytes": statistics.median_low(residents),
    }


def wheel_bytes(folder: Path) -> int:
    """Size of the wheel that the build backend makes of this tree."""
    _run("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "wheel"))
    (wheel,) = (folder / "wheel").glob("*.whl")
    return wheel.stat().st_size


def installed(extras: str) -> dict[str, int]:
    """Bytes on disk of each package that `pip install "ast-edge[extras]"` brings, and of all together."""
    sizes: dict[str, int] = {}
    _collect("ast-edge", set(filter(None, extras.split(","))), sizes)
    sizes["ast-edge"] = sum(path.stat().st_size for path in (ROOT / "ast_edge").rglob("*") if path.is_file())
    sizes["ast-edge"] += sum(path.stat().st_size for path in (ROOT / "export").rglob("*.py"))
    ordered = dict(sorted(sizes.items(), key=lambda item: -item[1]))
    return {"all": sum(ordered.values()), **ordered}


def _collect(package: str, extras: set[str], sizes: dict[str, int]) -> None:
    name = package.lower().replace("_", "-")
    if name in sizes:
        return
    files = distribution(package).files or []
    sizes[name] = sum(path.stat().st_size for each in files if (path := Path(str(each.locate()))).is_file())
    for line in requires(package) or []:
        requirement = Requirement(line)
        wanted = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras | {""}
        )
        if wanted:
            _collect(requirement.name, set(requirement.extras), sizes)


def _made(folder: Path, *, dry_run: bool) -> dict[str, Path]:
    from ast_edge.train.config import PresetName, changed, preset  # noqa: PLC0415 (imports torch)
    from benchmarks.common.untrained import write_model  # noqa: PLC0415

    small = {"image_size": 64, "teacher.hidden": 8, "student.width": 8}
    for name in ("nano", "balanced")[: 1 if dry_run else 2]:
        config = preset(cast("PresetName", name), "rgb")
        write_model(name, changed(config, dict(small)) if dry_run else config, folder)
    return {path.stem: path for path in folder.glob("*.onnx")}


def _run(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment(), cwd=ROOT, check=False
    )
    if done.returncode:
        raise RuntimeError(f"a process failed: {done.stderr[-2000:]}")
    return done.stdout


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", nargs="*", default=(), type=named, metavar="NAME=MODEL")
    parser.add_argument("--sizes", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
