"""The README's tables of `speed.py`'s result, joined with the accuracy in the other result files."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "results"
ENGINES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch eager"}
HEAD = (
    *("method", "picture", "GMAC", "parameters, M", "engine", "minimum ms", "lower quartile ms"),
    *("pictures/s", "MiB at rest", "MiB peak", "file MB", "image AUROC", "AUPRO 30 %"),
)
ENGINE_HEAD = ("network", "ONNX Runtime ms", "OpenVINO ms", "OpenVINO / ONNX Runtime")
NONE = "-"
Entry = dict[str, Any]
Row = tuple[str, ...]


def table(results: Path = RESULTS) -> str:
    """Every network in every engine, and what could not be run with its reason."""
    networks: dict[str, Entry] = _read(results)["networks"]
    rows: list[Row] = []
    for name in sorted(networks, key=lambda name: _rank(name, networks[name])):
        rows += _rows(networks[name], results)
    return _markdown(HEAD, rows)


def engine_table(results: Path = RESULTS) -> str:
    """Both CPU engines on the same graph, lower quartiles of the same rounds."""
    rows: list[Row] = []
    networks: dict[str, Entry] = _read(results)["networks"]
    for name in sorted(networks, key=lambda name: _rank(name, networks[name])):
        entry = networks[name]
        if {"onnxruntime", "openvino"} <= set(entry["engines"]):
            ort, vino = (entry["engines"][engine]["p25_ms"] for engine in ("onnxruntime", "openvino"))
            rows.append((_method(entry), f"{ort:.1f}", f"{vino:.1f}", f"{vino / ort:.2f}"))
    return _markdown(ENGINE_HEAD, rows)


def _rank(name: str, entry: Entry) -> tuple[bool, int, str]:
    """Ours, then the rest, each from the smallest network up."""
    return entry["maker"] != "ast-edge", round(1000 * (entry["gmac"] or 1e3)), name


def _rows(entry: Entry, results: Path) -> list[Row]:
    size = (_number(entry["gmac"], 2), _number(entry["parameters_m"], 1))
    about = (_method(entry), f"{entry['size']}, {'crop' if entry['crop'] else 'whole frame'}", *size)
    accuracy = _accuracy(entry, results)
    rows: list[Row] = []
    for engine, words in ENGINES.items():
        if engine in entry["engines"]:
            found = entry["engines"][engine]
            times = (f"{found['min_ms']:.1f}", f"{found['p25_ms']:.1f}", f"{found['per_s']:.1f}")
            memory = (f"{found['rest_mib']:.0f}", f"{found['peak_mib']:.0f}", f"{found['bytes'] / 1e6:.1f}")
            rows.append((*about, words, *times, *memory, *accuracy))
        elif engine in entry["reasons"]:
            rows.append((*about, f"{words}: {entry['reasons'][engine]}", *[NONE] * 6, *accuracy))
    if "all" in entry["reasons"]:
        rows.append((*about, entry["reasons"]["all"], *[NONE] * 6, *accuracy))
    return rows


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


def _read(results: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((results / "peers.json").read_text(encoding="utf-8"))
    return content


def _markdown(head: Row, rows: Sequence[Row]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    cleaned = ((cell.replace("|", "\\|") for cell in row) for row in rows)
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in cleaned])
