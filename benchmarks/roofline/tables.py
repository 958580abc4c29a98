"""The README's tables of `roofline.py`, from its result file."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.common.paths import RESULTS
from benchmarks.common.table import table

RESULT = RESULTS / "roofline.json"
Result = dict[str, Any]


def cpu_table(result: Result | None = None) -> str:
    """Prediction and measurement side by side on the CPU that the result is from."""
    result = result or _read()
    rows = []
    for entry in result["cpu"]:
        for name, row in entry["models"].items():
            network = result["networks"][name]
            rows.append(
                (
                    *_words(name)[:2],
                    str(entry["threads"]),
                    f"{network['gmac']:.2f}",
                    span(row),
                    f"{row['min_ms']:.1f}",
                    "-" if row["p50_ms"] is None else f"{row['p50_ms']:.1f}",
                    f"{row['min_ms'] / row['floor_ms']:.2f}",
                    f"{row['min_ms'] / row['cautious_ms']:.2f}",
                )
            )
    head = ("preset", "mode", "threads", "GMAC", "predicted ms", "measured: minimum ms", "p50 ms")
    return table((*head, "minimum over floor", "over the upper end"), rows)


def board_table(result: Result | None = None) -> str:
    """What is predicted for the Jetson boards; nothing of it was measured."""
    result = result or _read()
    boards = list(result["boards"].values())
    rows = []
    for name in boards[0]["prediction"]:
        ranges = [span(board["prediction"][name]) for board in boards]
        rows.append((*_words(name), *ranges))
    columns = [f"{board['name']}, {board['power_mode']}" for board in boards]
    return table(("predicted ms", "mode", "precision", *columns), rows)


def _words(name: str) -> tuple[str, str, str]:
    """Preset, mode and precision of a name as `nano_rgb_fp16`."""
    preset, mode, precision = name.split("_")
    return preset, mode, precision


def span(row: Result) -> str:
    """From the floor to the upper end, in milliseconds."""
    return f"{_short(row['floor_ms'])} to {_short(row['cautious_ms'])}"


def _short(value: float) -> str:
    """Two significant digits, and no more than the whole milliseconds of three."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _read() -> Result:
    content: Result = json.loads(RESULT.read_text(encoding="utf-8"))
    return content
