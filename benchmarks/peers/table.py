"""The README's tables of `speed.py`'s result, joined with the accuracy in the other result files."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ast_edge.latency.figures import supports
from benchmarks.common.paths import RESULTS
from benchmarks.common.table import table as markdown_table

ENGINES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch eager"}
HEAD = (
    *("method", "picture", "GMAC", "parameters, M", "file MB"),
    *(f"{words} ms" for words in ENGINES.values()),
    *("MiB at rest", "MiB at most", "image AUROC", "AUPRO 30 %"),
)
ENGINE_HEAD = ("network", "ONNX Runtime ms", "OpenVINO ms", "OpenVINO / ONNX Runtime")
NONE = "-"
Entry = dict[str, Any]
Row = tuple[str, ...]


def table(results: Path = RESULTS) -> str:
    """Every network a row; an engine's cell has minimum and lower quartile, or why it could not run.

    Memory and file are those of the first engine that ran.
    """
    return markdown_table(HEAD, [_row(entry, results) for entry in networks(results).values()])


def engine_table(results: Path = RESULTS) -> str:
    """Both CPU engines on the same graph: minimum, lower quartile, and the minima's ratio."""
    rows: list[Row] = []
    for entry in networks(results).values():
        if {"onnxruntime", "openvino"} <= set(entry["engines"]):
            ort, vino = (entry["engines"][engine]["min_ms"] for engine in ("onnxruntime", "openvino"))
            times = (_times(entry, "onnxruntime"), _times(entry, "openvino"))
            rows.append((_method(entry), *times, f"{vino / ort:.2f}"))
    return markdown_table(ENGINE_HEAD, rows)


def networks(results: Path = RESULTS) -> dict[str, Entry]:
    """Ours, then the rest, each from the smallest network up, with the figures of its quietest heat."""
    content: dict[str, Any] = json.loads((results / "peers.json").read_text(encoding="utf-8"))
    found: dict[str, Entry] = content["networks"]
    noise = {name: content["heats"][entry["heat"]]["foreign_cores"] for name, entry in found.items()}
    for heat in content["heats"]:
        for name, engines in heat["again"].items():
            if heat["foreign_cores"] < noise[name]:
                found[name]["engines"], noise[name] = engines, heat["foreign_cores"]

    def rank(name: str) -> tuple[bool, float, str]:
        entry = found[name]
        return entry["maker"] != "ast-edge", entry["gmac"] or float("inf"), name

    return {name: found[name] for name in sorted(found, key=rank)}


def _row(entry: Entry, results: Path) -> Row:
    where = f"{entry['size']}, {'crop' if entry['crop'] else 'whole frame'}"
    first = next((entry["engines"][name] for name in ENGINES if name in entry["engines"]), None)
    size, cost = NONE, (NONE, NONE)
    if first is not None:
        # The file of our own eager network is a recipe of some words.
        size = f"{first['bytes'] / 1e6:.1f}" if first["bytes"] > 1000 else NONE
        cost = (f"{first['rest_mib']:.0f}", f"{first['peak_mib']:.0f}")
    return (
        *(_method(entry), where, _number(entry["gmac"], 2), _number(entry["parameters_m"], 1), size),
        *(_times(entry, engine) for engine in ENGINES),
        *(*cost, *_accuracy(entry, results)),
    )


def _times(entry: Entry, engine: str) -> str:
    if engine in entry["engines"]:
        found = entry["engines"][engine]
        quartile = f" ({found['p25_ms']:.1f})" if supports(found["count"], 25) else ""
        return f"{found['min_ms']:.1f}{quartile}"
    reason: str = entry["reasons"].get(engine, NONE)
    return reason


def _method(entry: Entry) -> str:
    words = [entry["method"]]
    words += [entry["mode"], entry["precision"]] if entry["maker"] == "ast-edge" else []
    return ", ".join(words)


def _accuracy(entry: Entry, results: Path) -> Row:
    """Image AUROC and AUPRO in percent over all seeds there are; a dash for random weights."""
    found = [json.loads(path.read_text("utf-8")) for path in sorted(results.glob(entry["accuracy"] or "-"))]
    engine = "onnxruntime_fp16" if entry["precision"] == "fp16" else "onnxruntime_fp32"
    cells = []
    for key in ("image_auroc", "aupro_30"):
        values = [(one["figures"].get(engine) or one["figures"])[key] for one in found]
        # INT8's own figures stand in int8.json: these would be FP32's.
        known = entry["precision"] != "int8" and values
        cells.append(_over(values) if known else NONE)
    return cells[0], cells[1]


def _over(values: Sequence[float]) -> str:
    mean = f"{100 * statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * statistics.stdev(values):.1f}"


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:.{digits}f}"
