"""Write the tables of README and docs from the result files; `--check` only compares (1 if they differ).

python -m benchmarks.tables [--check]
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from ast_edge.train.config import PresetName
from benchmarks.accuracy import study
from benchmarks.common.paths import RESULTS, ROOT
from benchmarks.common.table import table as markdown_table
from benchmarks.peers import table as peers_table
from benchmarks.roofline import tables as roofline_tables
from benchmarks.speed import tables as speed_tables

Result = dict[str, Any]


def main() -> int:
    stale = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        wanted = filled(text)
        if wanted != text:
            stale.append(page)
            if "--check" not in sys.argv[1:]:
                page.write_text(wanted, encoding="utf-8")
    if "--check" in sys.argv[1:]:
        for page in stale:
            sys.stderr.write(f"{page.relative_to(ROOT)}: its tables differ from the results\n")
        return int(bool(stale))
    return 0


def pages() -> list[Path]:
    """Return the pages with tables."""
    docs = ROOT / "docs"
    tutorials = [docs / "tutorials" / name for name in ("first-model.md", "your-pictures.md")]
    return [ROOT / "README.md", *tutorials, *sorted((docs / "benchmarks").glob("*.md"))]


def filled(text: str) -> str:
    """Return the page with every table between its marks written from the results."""
    for name in re.findall(r"<!-- begin (\w+) -->", text):
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        text = f"{head}{begin}\n{TABLES[name]()}\n{end}{tail}"
    return text


def preset_table() -> str:
    """Format the presets at a glance: cost, accuracy and time in mode rgb, and predictions for a Jetson."""
    roofline = json.loads((RESULTS / "roofline.json").read_text("utf-8"))
    board = roofline["boards"][BOARD]
    (cpu,) = [entry for entry in roofline["cpu"] if entry["threads"] == 2]
    untrained = json.loads((RESULTS / "peers.json").read_text("utf-8"))["networks"]
    rows = []
    for name in get_args(PresetName):
        found = _results(name, "rgb")
        size = found[0]["size"] if found else untrained[f"{name}_rgb_eager"]
        aurocs = (
            [_over(_results(name, "rgb", data), "pytorch", "image_auroc") for data in DATA] if found else ()
        )
        rows.append(
            (
                f"`{name}`",
                f"{roofline['networks'][f'{name}_rgb_fp32']['gmac']:.2f}",
                f"{size['parameters_m']:.1f}",
                *(aurocs or ["not measured"] * len(DATA)),
                f"{cpu['models'][f'{name}_rgb_fp32']['min_ms']:.1f}",
                roofline_tables.span(board["prediction"][f"{name}_rgb_fp16"]),
            )
        )
    heads = (f"image AUROC, %: {words}" for words in DATA.values())
    head = ("preset", "GMAC", "parameters, M", *heads, "ms, two CPU cores")
    return markdown_table((*head, f"ms, {board['name']}: predicted, not measured"), rows)


def accuracy_table() -> str:
    """Format the presets on every data set, over all seeds."""
    rows = []
    for row in study.ROWS:
        for mode in row.modes if row.name in {"balanced", "nano"} else ():
            for data, words in DATA.items():
                found = _results(row.name, mode, data)
                if found:
                    cells = (*_figures(found), *(_over(found, "pytorch", key) for key in RATES))
                    seeds, gmac = str(len(found)), f"{found[0]['size']['gmac']:.2f}"
                    rows.append((row.name, mode, words, gmac, seeds, *cells))
    head = ("preset", "mode", "parts", "GMAC", "seeds", *FIGURES, "false rejects", "escapes")
    return markdown_table(head, rows)


def memories_table() -> str:
    """Format the presets beside what they were with one memory each, seed 0."""
    rows = []
    for row, data in ((row, data) for row in ("balanced", "nano") for data in DATA):
        folder = data or "cable_gland"
        both = (
            _load(f"kept/accuracy_one_memory/{folder}/{row}_rgb_0.json"),
            _load(str(Path("accuracy", data, f"{row}_rgb_0.json"))),
        )
        cells = [
            f"{_percent(figures['image_auroc'])} / {_percent(figures['escape_at_false_reject']['5'])}"
            for figures in (found[0]["figures"]["pytorch"] for found in both)
        ]
        gmac = (f"{found[0]['size']['gmac']:.2f}" for found in both)
        rows.append((row, DATA[data], *gmac, *cells))
    return markdown_table(("preset", "parts", "GMAC: before", "now", "before", "now"), rows)


def thresholds_table() -> str:
    """Format thresholds from held-out parts beside those from every good part."""
    content = json.loads((RESULTS / "thresholds.json").read_text("utf-8"))
    rows = []
    for name, found in content["sets"].items():
        for rate in found["rates"]:
            cells = [
                _percent(rate[kind][key])
                for kind in ("split", "cross")
                for key in ("expected", "false_rejects", "escapes")
            ]
            best = "-" if rate["best_escapes"] is None else _percent(rate["best_escapes"])
            rows.append((DATA.get(name, name.replace("_", " ")), f"{100 * rate['asked']:g} %", *cells, best))
    kinds = [
        f"{kind}: {words}"
        for kind in ("held out", "by folds")
        for words in ("expected", "false rejects", "escapes")
    ]
    return markdown_table(("parts", "asked", *kinds, "escapes at best"), rows)


def training_time_table() -> str:
    """How long `train` took on two cores, by preset and number of good parts."""
    rows = []
    for row, data in ((row, data) for row in ("nano", "balanced") for data in DATA):
        found = _results(row, "rgb", data)
        trained = found[0]["model"]["training_data"]
        rows.append((f"`{row}`", str(trained["train_parts"] + trained["holdout_parts"]), _minutes(found)))
    return markdown_table(("preset", "good parts", "training, two cores"), rows)


def earlier_table() -> str:
    """Format the presets of version 0.1 in every mode, over all seeds."""
    rows = []
    for row in study.ROWS:
        for mode in row.modes if row.name in {"balanced", "nano"} else ():
            found = _earlier(row.name, mode)
            cells = (*_figures(found), *(_over(found, "pytorch", key) for key in RATES))
            rows.append((row.name, mode, f"{found[0]['size']['gmac']:.2f}", *cells, _minutes(found)))
    head = ("preset", "mode", "GMAC", *FIGURES, "false rejects", "escapes", "training")
    return markdown_table(head, rows)


def study_table() -> str:
    """Format one change of version 0.1's `balanced` per row, seed 0, with the figures from good parts."""
    rows = []
    for row in study.ROWS:
        for mode in row.modes if row.name not in {"nano"} else ():
            found = [result for result in _earlier(row.name, mode) if result["seed"] == 0]
            if not found or (row.name == "balanced" and mode == "depth"):
                continue
            best = found[0]["figures"]["pytorch"]["by_aggregation"]
            others = (_percent(best[name]["image_auroc"]) for name in ("mean", "top5", "top10"))
            losses = (f"{found[0]['held_out_loss'][phase]:.3g}" for phase in ("teacher", "student"))
            gmac = f"{found[0]['size']['gmac']:.2f}"
            rows.append((row.about, mode, gmac, *_figures(found), *others, *losses, _minutes(found)))
    head = ("change", "mode", "GMAC", *FIGURES, "mean", "top5", "top10", "teacher", "student", "training")
    return markdown_table(head, rows)


def peer_table() -> str:
    """Format anomalib's methods on the same features beside the RGB presets of version 0.1."""
    rows = []
    ours = {
        "balanced": "`balanced`",
        "stages_23": "`balanced` with stages 2 and 3, as below",
        "nano": "`nano`",
    }
    for name, words in ours.items():
        found = _earlier(name, "rgb")
        if found:
            size = found[0]["training"]["image_size"]
            rows.append((f"AST, {words}", f"{size}, crop", *_figures(found)))
    for result in _load("peers/*.json"):
        where = "crop" if result["crop"] else "whole frame"
        name = result["peer"] + (f", {result['coreset']:.0%} of the patches" if result["coreset"] else "")
        figures = (_percent(result["figures"][key]) for key in KEYS)
        rows.append((f"anomalib {name}", f"{result['size']}, {where}", *figures))
    return markdown_table(("method", "picture", *FIGURES), rows)


def int8_table() -> str:
    """Format the effect of INT8 on the presets' models, from the gate's figures."""
    content = json.loads((RESULTS / "int8.json").read_text("utf-8"))
    rows = []
    for model in content["models"]:
        figures, layers = model["figures"], len(model["sensitivity"])
        rows.append(
            (
                model["preset"],
                model["mode"],
                f"{layers - len(model['in_fp32'])} of {layers}",
                f"{100 * figures['score_error']:.1f} %",
                f"{_percent(figures['auroc'])} ({_percent(figures['auroc_fp32'])})",
                f"{_percent(figures['false_reject_rate'])} ({_percent(figures['false_reject_rate_fp32'])})",
            )
        )
    head = ("preset", "mode", "layers in INT8", "largest score error", "image AUROC (FP32)")
    return markdown_table((*head, "held-out false rejects (FP32)"), rows)


def line_table() -> str:
    """Format trigger to coil, in milliseconds."""
    content = json.loads((RESULTS / "line_latency.json").read_text("utf-8"))
    rows = []
    for key, words in (
        ("trigger_to_coil_ms", "trigger to coil"),
        ("camera_ms", "of these, trigger to the whole frame's arrival (the camera)"),
        ("engine_ms", "of these, the engine"),
        ("trigger_to_coil_less_engine_ms", "trigger to coil, less the engine"),
        ("frame_to_coil_less_engine_ms", "frame to coil, less the engine"),
    ):
        found = content[key]
        rows.append((words, *(f"{found[level]:.1f}" for level in ("min", "p50", "p90", "p99", "max"))))
    return markdown_table(("ms", "min", "p50", "p90", "p99", "max"), rows)


def wrong_pictures_table() -> str:
    """Format which picture verdicts came from, and how many reports were untrue, by scenario."""
    content = json.loads((RESULTS / "wrong_pictures.json").read_text("utf-8"))
    cells = ("runs", "parts", "faults", "judged", "wrong")
    rows = [
        (one["what"], *(str(one[cell]) for cell in cells), str(len(one["lies"])) if "lies" in one else "-")
        for one in content["scenarios"].values()
    ]
    return markdown_table(("", *cells[:-1], "by another part's picture", "untrue reports"), rows)


def storm_table() -> str:
    """Format the faults of the storm and the outcome of its parts."""
    content = json.loads((RESULTS / "fault_storm.json").read_text("utf-8"))
    done = ", ".join(f"{name} {count}" for name, count in content["faults"].items())
    verdicts = ", ".join(f"{count} {name}" for name, count in content["verdicts"].items())
    memory = content["memory_mb"]
    rows = [
        ("faults done to it", done),
        ("parts, by the PLC's count", str(content["parts"])),
        ("verdicts, as the PLC heard them", verdicts),
        ("what was wrong", _kinds(content["problem_kinds"])),
        (
            "memory of the longest-lived station",
            f"{memory['middle_third']} MB, then {memory['last_third']} MB",
        ),
    ]
    return markdown_table(("in " + f"{content['seconds'] / 60:.0f} minutes", ""), rows)


def soak_table() -> str:
    """Format whether a station grows over a long time."""
    content = json.loads((RESULTS / "soak.json").read_text("utf-8"))
    memory = content["resident_mb"]
    verdicts = ", ".join(f"{count} {name}" for name, count in content["verdicts"].items())
    rows = [
        ("parts, by the PLC's count", str(sum(content["verdicts"].values()))),
        ("verdicts, as the PLC received them", verdicts),
        ("what was wrong", "; ".join(content["problems"]) or "nothing"),
        ("memory at the start, at half time, at the end", ", ".join(f"{memory[at]:.0f} MB" for at in memory)),
        ("growth in the second half, by a straight line", f"{content['grown_in_second_half_mb']:.1f} MB"),
        ("threads and open files at most", f"{content['threads_at_most']}, {content['files_at_most']}"),
    ]
    head = f"{content['seconds'] / 60:.0f} minutes, {content['parts_per_s']:.0f} parts per second"
    return markdown_table((head, ""), rows)


def _kinds(problems: dict[str, int]) -> str:
    return "; ".join(f"{count} x {words}" for words, count in problems.items()) or "nothing"


BOARD = "orin_nano_8gb_super"
# Folders of results, and what is in them.
DATA = {"": "cable gland", "magnetic_tile": "magnetic tile", "screw_half": "screw"}
TABLES: dict[str, Callable[[], str]] = {
    "presets": preset_table,
    "stages": speed_tables.stage_table,
    "settings": speed_tables.settings_table,
    "opening": speed_tables.opening_table,
    "preparation": speed_tables.preparation_table,
    "startup": speed_tables.startup_table,
    "installed": speed_tables.installed_table,
    "training_time": training_time_table,
    "speed": peers_table.table,
    "engines": peers_table.engine_table,
    "roofline": roofline_tables.cpu_table,
    "boards": roofline_tables.board_table,
    "accuracy": accuracy_table,
    "memories": memories_table,
    "thresholds": thresholds_table,
    "earlier": earlier_table,
    "study": study_table,
    "peers": peer_table,
    "int8": int8_table,
    "line": line_table,
    "wrong_pictures": wrong_pictures_table,
    "storm": storm_table,
    "soak": soak_table,
}
KEYS = ("image_auroc", "image_ap", "pixel_auroc", "aupro_30", "aupro_05")
FIGURES = ("image AUROC", "image AP", "pixel AUROC", "AUPRO 30 %", "AUPRO 5 %")
RATES = ("false_reject_rate", "escape_rate")


def _results(row: str, mode: str, data: str = "") -> list[Result]:
    return _load(str(Path("accuracy", data, f"{row}_{mode}_[0-9].json")))


def _earlier(row: str, mode: str) -> list[Result]:
    return _load(f"kept/accuracy_0.1/{row}_{mode}_[0-9].json")


def _load(pattern: str) -> list[Result]:
    return [json.loads(path.read_text("utf-8")) for path in sorted(RESULTS.glob(pattern))]


def _figures(found: list[Result]) -> list[str]:
    return [_over(found, "pytorch", key) for key in KEYS]


def _over(found: list[Result], engine: str, key: str) -> str:
    """Format the mean over the seeds and, for several, their standard deviation, in percent."""
    values = [100 * value for result in found if (value := result["figures"][engine][key]) is not None]
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"


def _minutes(found: list[Result]) -> str:
    return f"{min(result['seconds']['train'] for result in found) / 60:.1f} min"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
