"""Write the README's tables from the result files; `--check` only compares (exit code 1 when they differ).

python benchmarks/tables.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- begin accuracy -->", "<!-- end accuracy -->"
ENGINE = "onnxruntime_fp32"


def main() -> int:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    wanted = f"{head}{BEGIN}\n{accuracy_table()}\n{END}{tail}"
    if "--check" in sys.argv[1:]:
        return int(wanted != text)
    readme.write_text(wanted, encoding="utf-8")
    return 0


def accuracy_table() -> str:
    """One row per result file, as Markdown."""
    results = [
        (path.name, json.loads(path.read_text("utf-8"))) for path in sorted(RESULTS.glob("accuracy_*"))
    ]
    columns = (
        *(
            "data",
            "mode",
            "preset and options",
            "image AUROC, max of the map",
            "mean of the map",
            "pixel AUROC",
        ),
        *("false rejects", "escapes", "training", "result file"),
    )
    head = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return "\n".join(head + [_row(result, name) for name, result in results])


def _row(result: dict[str, Any], name: str) -> str:
    figures, model = result["figures"][ENGINE], result["model"]
    by_aggregation = figures["by_aggregation"]
    cells = (
        result["dataset"],
        model["mode"],
        " ".join([model["preset"], *_options(result["command"])]),
        *(_percent(by_aggregation[kind]["image_auroc"]) for kind in ("max", "mean")),
        *(_percent(figures[key]) for key in ("pixel_auroc", "false_reject_rate", "escape_rate")),
        f"{result['seconds']['train'] / 60:.0f} min",
        f"[{name}](benchmarks/results/{name})",
    )
    return "| " + " | ".join(cells) + " |"


def _options(command: list[str]) -> list[str]:
    """What was given beyond mode, preset and weights, which stand in columns of their own."""
    words = command[3:]
    pairs = list(zip(words[::2], words[1::2], strict=True))
    return [f"`{name} {value}`" for name, value in pairs if name not in {"--mode", "--preset", "--weights"}]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
