"""`roofline.py` from its arguments to its result file."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ast_edge.files import write_text
from ast_edge.latency.figures import percentile
from benchmarks.common import machine, table
from benchmarks.roofline import tables
from benchmarks.roofline.boards import ASSUMED, BOARDS, Board
from benchmarks.roofline.bounds import Ceilings, Habits, bound_by_bytes, cautious_ms, floor_ms, report
from benchmarks.roofline.ceilings import DRY, Effort, cpu, gpu, session
from benchmarks.roofline.graphs import Graph, graphs
from benchmarks.roofline.layers import Network, network_of

SCHEMA_VERSION = 1
WARM_UP = 2
HEAVIEST = 5
Result = dict[str, Any]


def main(about: str) -> int:
    options = _arguments(about)
    if options.layers:
        sys.stdout.write(_layer_list(options.layers))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.models or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if options.keep:
            result = predict_again(json.loads(options.keep.read_text(encoding="utf-8")), folder)
        else:
            result = measure(folder, rounds=options.rounds, dry_run=options.dry_run)
            result["earlier"] = _earlier(result, options.measured)
        output = options.output or Path(scratch) / "roofline.json"
        write_text(output, json.dumps(result, indent=1) + "\n")
        sys.stdout.write(_summary(result))
    return 0


def measure(folder: Path, *, rounds: int, dry_run: bool) -> Result:
    """Make the graphs in `folder`, measure this machine and the graphs on it, predict the boards."""
    made = list(graphs(folder, dry_run=dry_run))
    networks = _networks(made)
    effort = DRY if dry_run else Effort()
    threads = (1,) if os.cpu_count() == 1 else (2, 1)
    return {
        "schema_version": SCHEMA_VERSION,
        "benchmark": "roofline",
        "dry_run": dry_run,
        "rounds": rounds,
        "networks": {name: _facts(network) for name, network in networks.items()},
        "cpu": [_cpu(count, made, networks, effort, rounds) for count in threads],
        "gpu": _gpu(networks, effort),
        "boards": {board.key: _board(board, networks) for board in BOARDS},
        "assumed_of_boards": ASSUMED,
        "machine": machine.facts(),
    }


def predict_again(result: Result, folder: Path) -> Result:
    """What was measured in `result`, and predictions from the boards' figures as they are now.

    Raises SystemExit when the presets' graphs are others than those of the result.
    """
    networks = _networks(graphs(folder, dry_run=result["dry_run"]))
    if {name: _facts(network) for name, network in networks.items()} != result["networks"]:
        raise SystemExit("--keep: the presets' graphs have changed since; measure again, without --keep.")
    boards = {board.key: _board(board, networks) for board in BOARDS}
    return {**result, "boards": boards, "assumed_of_boards": ASSUMED}


def _networks(made: Iterable[Graph]) -> dict[str, Network]:
    return {
        f"{graph.name}_{precision}": network_of(path)
        for graph in made
        for precision, path in graph.files.items()
    }


def _facts(network: Network) -> Result:
    by_precision: dict[str, float] = {}
    for layer in network.layers:
        by_precision[layer.precision] = by_precision.get(layer.precision, 0) + layer.macs / 1e9
    return {
        "gmac": round(network.macs / 1e9, 4),
        "gmac_by_precision": {name: round(gmac, 4) for name, gmac in by_precision.items()},
        "mbytes": round(network.layer_bytes / 1e6, 3),
        "mbytes_unfused": round(network.all_bytes / 1e6, 3),
        "layers": len(network.layers),
        "elements": len(network.elements),
    }


def _cpu(
    threads: int, made: Sequence[Graph], networks: dict[str, Network], effort: Effort, rounds: int
) -> Result:
    """Predict and measure every FP32 graph; each ceiling is the better of two, measured before and after."""
    before = cpu(threads, effort)
    times = _times(threads, made, rounds)
    after = cpu(threads, effort)
    best = Ceilings(
        max(before.ceilings.bytes_per_s, after.ceilings.bytes_per_s),
        {"fp32": max(before.ceilings.rate("fp32"), after.ceilings.rate("fp32"))},
    )
    rows = {}
    for name, found in times.items():
        network = networks[f"{name}_fp32"]
        rows[f"{name}_fp32"] = {
            **_range(network, best, before.habits),
            "min_ms": round(float(found.min()), 3),
            "p25_ms": percentile(found, 25),
            "p50_ms": percentile(found, 50),
            "heaviest": report(list(network.layers), best, slowest=HEAVIEST)["heaviest"],
        }
    return {
        "threads": threads,
        "ceilings": asdict(best),
        "habits": asdict(before.habits),
        "rates_before": before.details,
        "rates_after": after.details,
        "models": rows,
    }


def _times(threads: int, made: Sequence[Graph], rounds: int) -> dict[str, Any]:
    """Milliseconds of every graph, one after another in every round.

    Of two runs the second counts: the first finds the caches as another network left them, and that
    network's threads still spinning, which a line with one model does not know.
    """
    sessions = {graph.name: session(str(graph.files["fp32"]), threads) for graph in made}
    times: dict[str, list[float]] = {graph.name: [] for graph in made}
    for index in range(rounds + WARM_UP):
        for graph in made:
            runner = sessions[graph.name]
            runner.run(None, graph.inputs)
            started = _now()
            runner.run(None, graph.inputs)
            if index >= WARM_UP:
                times[graph.name].append(_now() - started)
    return {name: np.array(found) for name, found in times.items()}


def _gpu(networks: dict[str, Network], effort: Effort) -> Result:
    found = gpu(effort)
    if isinstance(found, str):
        return {"left_out": found}
    floors = {name: round(floor_ms(network.layers, found), 4) for name, network in networks.items()}
    return {"ceilings": asdict(found), "floor_ms": floors}


def _board(board: Board, networks: dict[str, Network]) -> Result:
    """Predictions for a board, in the precisions that an engine for it is built in."""
    ceilings = board.ceilings()
    return {
        "name": board.name,
        "power_mode": board.power_mode,
        "source": board.source,
        "ceilings": asdict(ceilings),
        "habits": asdict(board.habits()),
        "prediction": {
            name: _range(network, ceilings, board.habits())
            for name, network in networks.items()
            if not name.endswith("_fp32")
        },
    }


def _range(network: Network, ceilings: Ceilings, habits: Habits) -> Result:
    return {
        "floor_ms": round(floor_ms(network.layers, ceilings), 4),
        "cautious_ms": round(cautious_ms(network, ceilings, habits), 4),
        "bound_by_bytes": round(bound_by_bytes(network.layers, ceilings), 3),
    }


def _earlier(result: Result, measured: Sequence[str]) -> Result:
    """Times of other runs over this CPU's floors: results of `ast-edge benchmark`."""
    floors = {entry["threads"]: entry["models"] for entry in result["cpu"]}
    rows: Result = {}
    for word in measured:
        name, _, path = word.partition("=")
        floor = floors[max(floors)].get(name)
        if floor is None:
            raise SystemExit(f"--measured {word}: {name} is none of {', '.join(floors[max(floors)])}.")
        stages = json.loads(Path(path).read_text(encoding="utf-8"))["stages_ms"]
        rows[f"{Path(path).name} {name}"] = _over(stages["engine"]["p50"], floor)
    return rows


def _over(found_ms: float, floor: Result) -> Result:
    over = round(found_ms / floor["floor_ms"], 2)
    return {"measured_ms": found_ms, "floor_ms": floor["floor_ms"], "over_floor": over}


def _summary(result: Result) -> str:
    parts = [
        f"{result['machine']['cpu']}, ONNX Runtime, FP32, one part: predicted and measured",
        tables.cpu_table(result),
        f"PREDICTED from published figures, nothing measured; ms of the engine, one part. {ASSUMED}",
        tables.board_table(result),
    ]
    return "\n\n".join(parts) + "\n"


def _layer_list(path: Path) -> str:
    network = network_of(path)
    rows = [
        (layer.name, layer.kind, layer.precision, f"{layer.flop / 1e6:.3f}", f"{layer.bytes / 1e6:.4f}")
        for layer in (*network.layers, *network.elements)
    ]
    return table.table(("layer", "kind", "precision", "MFLOP", "MB"), rows) + "\n"


def _now() -> float:
    """Milliseconds."""
    return time.perf_counter_ns() / 1e6


def _arguments(about: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, help="result file; needed unless it is a dry run")
    parser.add_argument("--models", type=Path, help="folder to keep the graphs in")
    parser.add_argument("--rounds", type=int, help="default 30, in a dry run 2")
    parser.add_argument("--measured", nargs="*", default=[], metavar="NAME=BENCHMARK.json")
    parser.add_argument("--keep", type=Path, metavar="RESULT.json", help="predict again, do not measure")
    parser.add_argument("--layers", type=Path, metavar="MODEL.onnx", help="only print the layers of a model")
    parser.add_argument("--dry-run", action="store_true", help="tiny networks, few rounds")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.dry_run else 30)
    if not (options.output or options.layers or options.dry_run):
        parser.error("give -o RESULT.json, --layers MODEL.onnx or --dry-run")
    return options
