"""Checks which picture a verdict came from, in situations that favour another part's picture.

    python -m benchmarks.line.wrong_pictures --runs 40 -o benchmarks/results/wrong_pictures.json

The station is its own process, the PLC a pymodbus server, the camera Aravis' fake one over GigE Vision, the
broker mosquitto. The camera draws the part in front of it (`benchmarks.line.scene`) into its pixels, and a
verdict is wrong if the number in its picture is not the part's. A fault is never wrong; undisturbed parts
must still be judged. `lies` are untrue reports to the PLC (`benchmarks.line.reports`). Exit code 1 if a
verdict is wrong, a report is untrue, or a line judged nothing. With `--only` the result file keeps the
results of the other scenarios. `--dry-run` runs everything once and keeps nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.common import machine
from benchmarks.common.command import keep
from benchmarks.common.paths import RESULTS
from benchmarks.line.bench import Bench, loads
from benchmarks.line.camera import SERIAL, FakeCamera
from benchmarks.line.model import train
from benchmarks.line.reports import untrue_counts
from benchmarks.line.scenario import Chance, Drawn, Scenario
from benchmarks.line.scenarios import SCENARIOS

_LONG_EVERY = 10  # one run in this many takes long


def main() -> int:
    """Run every scenario, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--model", type=Path, help="a model for the camera's pictures instead of a new one")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "wrong_pictures.json")
    arguments = parser.parse_args()
    runs = 1 if arguments.dry_run else arguments.runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = arguments.model or new_model(folder)
        found = {}
        for scenario in arguments.only:
            how = (runs, arguments.seed)
            found[scenario] = run(SCENARIOS[scenario], folder / scenario, model.resolve(), how)
            print(
                scenario,
                {key: found[scenario][key] for key in ("parts", "wrong", "lies", "judged")},
                file=sys.stderr,
            )
            if not arguments.dry_run:
                write(arguments, found)
    if arguments.dry_run:
        write(arguments, found)
    return int(any(one["wrong"] or one["lies"] or not one["judged"] for one in found.values()))


def write(arguments: argparse.Namespace, found: dict[str, dict[str, object]]) -> None:
    """Write the results so far, with those of the other scenarios in the file; a dry run prints them."""
    dry_run: bool = arguments.dry_run
    runs = 1 if dry_run else arguments.runs
    command = f"python -m benchmarks.line.wrong_pictures --runs {runs} --seed {arguments.seed}"
    command += "" if arguments.model is None else " --model MODEL"
    there = arguments.output.exists() and not dry_run
    kept = json.loads(arguments.output.read_text(encoding="utf-8"))["scenarios"] if there else {}
    result = {"command": command, "machine": machine.facts(), "scenarios": {**kept, **found}}
    keep(result, arguments.output, dry_run=dry_run)


def run(scenario: Scenario, folder: Path, model: Path, how: tuple[int, int]) -> dict[str, object]:
    """Run a scenario repeatedly with this seed; return the outcome of its parts, and the random times."""
    runs, seed = how
    rng, drawn = random.Random(seed), list[Drawn]()  # noqa: S311 (chance, no secret)
    with Bench(folder, model, scenario.plan) as bench:
        for number in range(runs):
            long = number % _LONG_EVERY == _LONG_EVERY - 1
            drawn.append(scenario.do(bench, Chance(rng, long)))
        seen = list(bench.verdicts().values())
        lies = [*bench.lies, *(untrue_counts(bench) if scenario.plan.heartbeat_ms is not None else ())]
    faults = Counter(re.sub(r"[0-9.]+", "N", part.reason) for part in seen if part.verdict == "fault")
    return {
        "what": scenario.what,
        "load": loads(),
        "runs": runs,
        "parts": len(seen),
        "wrong": sum(part.wrong for part in seen),
        "lies": lies,
        "judged": sum(part.verdict != "fault" for part in seen),
        "faults": sum(faults.values()),
        "fault_reasons": dict(faults.most_common(6)),
        "wrong_pictures": [vars(part) for part in seen if part.wrong][:20],
        "drawn_ms": drawn,
    }


def new_model(folder: Path) -> Path:
    """Train a model for the camera's pictures; its verdicts do not matter here."""
    with FakeCamera(scene=folder / "scene"):
        uri = f"gige://{SERIAL}?trigger=software&packet_size=9000"
        return train(folder, uri, pictures=24, epochs=1, weights="seeded")


if __name__ == "__main__":
    sys.exit(main())
