"""The accuracy study: train and evaluate configurations on one dataset, a result file for each.

    python -m benchmarks.accuracy.measure DATA --weights FOLDER --work FOLDER
        [--only TEXT] [--list | --dry-run]

DATA is one of the sets of `study.SETS`, whose layout and options stand there, or a folder as
`ast-edge train` takes it. Every row of `study.py` is trained with each of its modes and seeds by
`ast-edge train` and evaluated by `ast-edge evaluate` in PyTorch; rows marked `export` through ONNX Runtime
too. What has its result file is left out, so the study can be stopped and goes on. FOLDER has the files that
the rows name after --weights. Nothing is chosen by test labels here: the settings of a row are fixed before
it runs, and `ast-edge train` sees good parts only. A run that lies complete in the work folder is evaluated
and not trained again. `--dry-run` takes the first row, an epoch of it on small pictures with random weights,
and writes its result into the work folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ast_edge.cli import main as ast_edge
from ast_edge.files import write_text
from ast_edge.train.run import Run
from benchmarks.accuracy import study
from benchmarks.common import machine, network_size
from benchmarks.common.paths import RESULTS

SCHEMA_VERSION = 2
KEPT = RESULTS / "accuracy"  # of the set that the study's rows are about; a folder for each of the others
DRY_RUN = ("--weights", "seeded", "--epochs", "1", "--image-size", "64", "--set", "student.width=8")


@dataclass(frozen=True)
class Job:
    """One training: a row of the study in one mode with one seed."""

    row: study.Row
    mode: str
    seed: int

    @property
    def name(self) -> str:
        """Of the result file, without its suffix."""
        return f"{self.row.name}_{self.mode}_{self.seed}"

    def training(
        self, layout: study.DataSet, weights: Path | None = None, *, dry_run: bool = False
    ) -> list[str]:
        """What goes to `ast-edge train` behind the data; `weights` is the folder of the weights file."""
        options = layout.options_of(self.row)
        if dry_run:
            return ["--mode", self.mode, "--seed", str(self.seed), *options, *DRY_RUN]
        packaged = self.mode == "depth" or not self.row.weights
        own = [] if packaged else ["--weights", str((weights or Path()) / self.row.weights)]
        return ["--mode", self.mode, "--seed", str(self.seed), *own, *options]


def main() -> int:
    options = _arguments()
    jobs = [Job(row, mode, seed) for row in study.ROWS for mode in row.modes for seed in row.seeds]
    jobs = [job for job in jobs if options.only in job.name]
    own = KEPT / options.data.name if options.data.name in study.SETS else KEPT
    results = options.work if options.dry_run else own
    jobs = jobs[:1] if options.dry_run else [job for job in jobs if not _target(job, results).exists()]
    for job in jobs:
        words = " ".join(job.training(_layout(options.data)))
        sys.stdout.write(f"{job.name}: ast-edge train {options.data.name} {words}\n")
        sys.stdout.flush()
        if not options.list:
            _measure(job, options, results)
    return 0


def _measure(job: Job, options: argparse.Namespace, results: Path) -> None:
    run, model = options.work / job.name, options.work / f"{job.name}.onnx"
    seconds: dict[str, float] = {}
    layout = _layout(options.data)
    training = job.training(layout, options.weights, dry_run=options.dry_run)
    if not Run(run).complete:
        started = [] if not Run(run).started else ["--resume"]
        _timed("train", seconds, "train", options.data / layout.train, "-o", run, *training, *started)
    seconds["train"] = _span_s(Run(run).log)
    engines = {"pytorch": run}
    if job.row.export:
        _timed("export", seconds, "export", run, "-o", model)
        engines |= {"onnxruntime_fp32": model, "onnxruntime_fp16": model.with_suffix(".fp16.onnx")}
    figures = {}
    for name, path in engines.items():
        target = options.work / f"{job.name}.{name}.json"
        test = layout.testing(options.data)
        _timed(f"evaluate_{name}", seconds, "evaluate", path, *test, "--json", target)
        figures[name] = json.loads(target.read_text(encoding="utf-8"))
    history = json.loads(Run(run).history.read_text(encoding="utf-8"))
    spec = Run(run).spec()
    result = {
        "schema_version": SCHEMA_VERSION,
        "benchmark": "accuracy",
        "row": job.row.name,
        "mode": job.mode,
        "seed": job.seed,
        "command": ["ast-edge", "train", options.data.name, *job.training(layout)],
        "dataset": options.data.name,
        "model": spec.model_dump(mode="json", exclude={"calibration"}),
        "training": Run(run).config().train.model_dump(mode="json"),
        "held_out_loss": {row["phase"]: row["holdout_loss"] for row in history},  # the last epoch's
        "size": network_size.measure(Run(run).load_network(), Run(run).config().train),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "figures": figures,
        "machine": machine.facts(),
    }
    write_text(_target(job, results), json.dumps(result) + "\n")
    if not job.row.export:
        shutil.rmtree(run)


def _layout(data: Path) -> study.DataSet:
    return study.SETS.get(data.name, study.DataSet())


def _target(job: Job, results: Path) -> Path:
    return results / f"{job.name}.json"


def _span_s(log: Path) -> float:
    """Seconds from the first line of a run's log to its last, which says that it is complete."""
    lines = log.read_text(encoding="utf-8").splitlines()
    first, last = (datetime.fromisoformat(line[:23].replace(",", ".")) for line in (lines[0], lines[-1]))
    return (last - first).total_seconds()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True, help="folder of the weights files")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs and models")
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    parser.add_argument("--list", action="store_true", help="name what is left to do, do nothing")
    parser.add_argument("--dry-run", action="store_true")
    return parser.parse_args()


def _timed(stage: str, seconds: dict[str, float], *arguments: object) -> None:
    started = time.monotonic()
    if code := ast_edge([str(argument) for argument in arguments]):
        sys.exit(code)
    seconds[stage] = time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main())
