"""Size, cost, memory and time on this machine's CPU of our models and their peers, in one interleaved run.

    python -m benchmarks.peers.speed FOLDER ... --data DATA --peers-python PYTHON \
        -o benchmarks/results/peers.json

FOLDERs hold cards (`cards.py`) of models from `prepare_ast.py` and `run_anomalib.py`. Every network runs in
every engine that it has a file for, in a process of its own and, where anomalib is needed, its own
environment. All are loaded first; then, round by round in random order, each gets the same pictures with
the same number of threads while all others are stopped. The time is the engine's alone, one picture. What
does not fit into memory together runs in several heats, with --only and --append.
`--dry-run` needs nothing but this environment: tiny networks, seconds, nothing written unless -o is given.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ast_edge.errors import message
from ast_edge.files import write_text
from ast_edge.latency.figures import percentile
from benchmarks.common import machine
from benchmarks.peers import cards, graph_facts, pictures
from benchmarks.peers.cards import Card
from benchmarks.peers.race import Race, Runner

SCHEMA_VERSION = 1
SPARE_BYTES = 1 << 30
MEMORY_TIMES_FILE = 3  # what an engine takes at most of a network's file while it loads it
Entry = dict[str, Any]


def main() -> int:
    options = _arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.dry_run:
            _prepare_dry_run(folder, options)
        heat, networks = measure(options, folder)
    if options.output:
        before = options.output if options.append else None
        write_text(options.output, json.dumps(joined(before, heat, networks), indent=1) + "\n")
    failed = [name for name, entry in networks.items() if not entry["engines"]]
    if options.dry_run and failed:
        sys.stderr.write(f"without any engine: {', '.join(failed)}\n")
    return int(options.dry_run and bool(failed))


def measure(options: argparse.Namespace, scratch: Path) -> tuple[Entry, dict[str, Entry]]:
    """What is to be known of this heat, and its networks' figures by name."""
    found = [(card, folder) for folder in options.folders for card in cards.read(folder)]
    found = [(card, folder) for card, folder in found if any(text in card.name for text in options.only)]
    runners = [
        Runner(card, engine, folder / card.files[engine], scratch / f"{card.name}.{engine}.log")
        for card, folder in found
        for engine in cards.ENGINES
        if engine in card.files and engine in options.engines.split(",")
    ]
    load = [os.getloadavg()[0]]
    with Race(runners, pictures=options.pictures, pause_s=options.pause_ms / 1000) as race:
        for runner in runners:
            _start(runner, options, scratch)
        load += [os.getloadavg()[0]]
        race.run(options.rounds, options.timed)
    load += [os.getloadavg()[0]]
    heat = {
        "threads": options.threads,
        "rounds": options.rounds,
        "timed_a_round": options.timed,
        "pause_ms": options.pause_ms,
        "pictures": options.pictures,
        "dataset": options.data.name if options.data else None,
        # The load average counts our own workers as well; `foreign_cores` are those that others kept busy.
        "load_before_loaded_after": [round(value, 2) for value in load],
        "foreign_cores": race.foreign_cores,
        "machine": {**machine.facts(), "openvino": version("openvino")},
    }
    return heat, {card.name: _entry(card, folder, runners) for card, folder in found}


def joined(before: Path | None, heat: Entry, networks: dict[str, Entry]) -> Entry:
    """The result file's content: this heat behind those of `before`.

    A network that ran in an earlier heat keeps its figures; the new ones stand with the heat, so that the
    heats can be compared.
    """
    content: Entry = {"schema_version": SCHEMA_VERSION, "benchmark": "peers", "heats": [], "networks": {}}
    if before is not None:
        content = json.loads(before.read_text(encoding="utf-8"))
    known = content["networks"]
    again = {name: entry["engines"] for name, entry in networks.items() if name in known}
    number = len(content["heats"])
    new = {name: {**entry, "heat": number} for name, entry in networks.items() if name not in known}
    return {
        **content,
        "heats": [*content["heats"], {**heat, "again": again}],
        "networks": {**known, **new},
    }


def _start(runner: Runner, options: argparse.Namespace, scratch: Path) -> None:
    """Load one network; what goes wrong becomes its reason in the table."""
    card = runner.card
    anomalib = card.maker == "anomalib" and runner.engine == "torch"
    python = options.peers_python if anomalib else Path(sys.executable)
    if python is None:
        runner.reason = "no environment with anomalib was given (--peers-python)"
        return
    size = graph_facts.bytes_of(runner.model)
    if MEMORY_TIMES_FILE * size + SPARE_BYTES > _available_bytes():
        runner.reason = "not enough memory was left beside the others: run it in a heat of its own"
        return
    target = scratch / f"{card.name}.npz"
    if not target.exists():
        made = pictures.inputs(card, options.pictures, options.data)
        np.savez(target, **made)  # type: ignore[arg-type]  # numpy takes its own options by the same way
    sys.stderr.write(f"loading {card.name} in {runner.engine}\n")
    runner.start(python, target, options.threads)


def _available_bytes() -> int:
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


def _entry(card: Card, folder: Path, runners: list[Runner]) -> dict[str, object]:
    mine = [runner for runner in runners if runner.card is card]
    reasons: dict[str, str] = {
        **card.reasons,
        **{runner.engine: runner.reason for runner in mine if runner.reason},
    }
    size: dict[str, object] = {"gmac": card.gmac, "parameters_m": card.parameters_m}
    graph = card.files.get("onnxruntime")
    if graph is not None:
        try:
            size = asdict(graph_facts.facts_of(folder / graph))
        except Exception as exc:  # noqa: BLE001  # an unreadable file is reported in the table too
            reasons.setdefault("onnxruntime", f"its graph cannot be read: {message(exc)[:200]}")
    content = asdict(card)
    for key in ("files", "reasons", "gmac", "parameters_m", "name"):
        del content[key]
    return {
        **content,
        **size,
        "engines": {runner.engine: _figures(runner) for runner in mine if runner.whole},
        "reasons": reasons,
    }


def _figures(runner: Runner) -> dict[str, object]:
    times = np.array(runner.times_ms)
    return {
        "min_ms": round(float(times.min()), 3),
        "p25_ms": percentile(times, 25),
        "p50_ms": percentile(times, 50),
        "count": len(times),
        "bytes": graph_facts.bytes_of(runner.model),
        **runner.about,
        "scores": [round(score, 6) for score in runner.scores],
    }


def _prepare_dry_run(folder: Path, options: argparse.Namespace) -> None:
    """The smallest preset in all its forms."""
    from benchmarks.peers import prepare_ast  # noqa: PLC0415  # needs torch, which a measurement here does not

    for card in prepare_ast.random_cards("nano", "rgb", folder):
        cards.write(card, folder)
    options.folders, options.rounds, options.timed, options.pictures, options.threads = [folder], 2, 1, 2, 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--data", type=Path, help="its test parts are the pictures; without it random ones")
    parser.add_argument("--peers-python", type=Path, help="interpreter of the environment with anomalib")
    parser.add_argument(
        "--only", default=[""], nargs="+", help="networks whose names hold one of these texts"
    )
    parser.add_argument("--append", action="store_true", help="add a heat to the file of -o")
    parser.add_argument("--engines", default=",".join(cards.ENGINES))
    parser.add_argument("--rounds", type=int, default=20, help="40 timed parts support a lower quartile")
    parser.add_argument("--timed", type=int, default=2, help="pictures a turn that count")
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pause-ms", type=float, default=20.0, help="before every turn")
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args()
    if bool(options.folders) == options.dry_run:
        parser.error("give folders of models, or --dry-run without any")
    return options


if __name__ == "__main__":
    sys.exit(main())
