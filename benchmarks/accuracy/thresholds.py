"""Thresholds from held-out good parts beside thresholds from every good part, on labelled test parts.

    python -m benchmarks.accuracy.thresholds DATA... --work FOLDER [-o FILE] [--dry-run]

`ast-edge train --preset nano --calibration cross` runs on each of the sets of `study.SETS`, or on a folder as
it takes it; one run has both kinds of scores. For several false-reject rates asked for, the thresholds of
both kinds are computed from them as `ast-edge train` does, and applied to the test parts. A run that lies
complete in the work folder is not trained again; `--dry-run` trains one epoch on small pictures and prints.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ast_edge.cli import main as ast_edge
from ast_edge.data import GOOD
from ast_edge.files import write_text
from ast_edge.train.folds import OUTLIER, outliers, scaled
from ast_edge.train.judged import JudgedPart
from ast_edge.train.run import Run
from ast_edge.verdict.threshold import conformal_threshold
from benchmarks.accuracy import study
from benchmarks.accuracy.measure import DRY_RUN
from benchmarks.common import machine
from benchmarks.common.paths import RESULTS

SCHEMA_VERSION = 1
RATES = (0.01, 0.02, 0.05, 0.1)
ROW = next(row for row in study.ROWS if row.name == "nano")


def main() -> int:
    options = _arguments()
    sets = {}
    for data in options.data:
        run = options.work / f"{data.name}_{ROW.name}_{options.seed}"
        layout = study.SETS.get(data.name, study.DataSet())
        _train(data, layout, run, options)
        sets[data.name] = _measured(data, layout, run, options.work)
    result = {
        "schema_version": SCHEMA_VERSION,
        "benchmark": "thresholds",
        "preset": ROW.name,
        "seed": options.seed,
        "sets": sets,
        "machine": machine.facts(),
    }
    text = json.dumps(result, indent=1) + "\n"
    if options.dry_run:
        sys.stdout.write(text)
    else:
        write_text(options.output, text)
    return 0


def _train(data: Path, layout: study.DataSet, run: Path, options: argparse.Namespace) -> None:
    if Run(run).complete:
        return
    words = ("--calibration", "cross", "--seed", str(options.seed), *layout.options_of(ROW))
    more = DRY_RUN if options.dry_run else ()
    resume = ("--resume",) if Run(run).started else ()
    command = ["train", str(data / layout.train), "-o", str(run), *words, *more, *resume]
    if code := ast_edge(command):
        sys.exit(code)


def _measured(data: Path, layout: study.DataSet, run: Path, work: Path) -> dict[str, object]:
    target = work / f"{run.name}.json"
    parts = [str(word) for word in layout.testing(data)]
    if code := ast_edge(["evaluate", str(run), *parts, "--json", str(target)]):
        sys.exit(code)
    evaluation = json.loads(target.read_text(encoding="utf-8"))
    kept = json.loads(Run(run).calibration.read_text(encoding="utf-8"))
    held_out, folds = (
        [JudgedPart.model_validate(row) for row in kept[key]] for key in ("held_out_parts", "parts_by_folds")
    )
    factor, crossed = scaled(folds, held_out)
    tests = {
        kind: np.array(
            [_score(part) for part in evaluation["parts"] if (part["defect"] == GOOD) == (kind == GOOD)]
        )
        for kind in (GOOD, "defective")
    }
    return {
        "image_auroc": evaluation["image_auroc"],
        "good_parts": {"held_out": len(held_out), "by_folds": len(crossed)},
        "test_parts": {kind: len(scores) for kind, scores in tests.items()},
        "scale_of_folds": factor,
        "named_as_outliers": len(outliers(folds)),
        "outlier_limit": OUTLIER,
        "rates": [
            {
                "asked": rate,
                "split": _applied(held_out, rate, tests),
                "cross": _applied(crossed, rate, tests),
                "best_escapes": evaluation["escape_at_false_reject"].get(f"{100 * rate:g}"),
            }
            for rate in RATES
        ],
    }


def _applied(judged: Sequence[JudgedPart], rate: float, tests: dict[str, np.ndarray]) -> dict[str, float]:
    scores = np.array([part.score for part in judged])
    made = conformal_threshold(scores, scores, false_reject_rate=rate)
    return {
        "threshold": made.value,
        "expected": made.expected_false_reject_rate,
        "at_most": made.upper_false_reject_rate,
        "false_rejects": float(np.mean(tests[GOOD] > made.value)),
        "escapes": float(np.mean(tests["defective"] <= made.value)),
    }


def _score(part: dict[str, object]) -> float:
    score = part["score"]
    return float(score) if isinstance(score, float) else math.inf  # a fault never passes


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "thresholds.json")
    parser.add_argument("--dry-run", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
