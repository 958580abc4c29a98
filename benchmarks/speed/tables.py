"""The README's tables of `ast-edge benchmark`, `settings.py` and `startup.py`, from their result files."""

from __future__ import annotations

import json

from benchmarks.common.paths import RESULTS
from benchmarks.common.table import table

SCORING = ("score", "verdict")


def stage_table() -> str:
    """Where the time goes: p50 of every stage, and percentiles of the whole, one model and engine a row."""
    rows = []
    for path in sorted((RESULTS / "latency").glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        model, stages, total = found["model"], found["stages_ms"], found["total_ms"]
        scoring = sum(stages[name]["p50"] for name in SCORING)
        words = f"{model['preset']}, {model['mode']}, {model['precision']}"
        rows.append(
            (
                words,
                found["engine"].partition(" 2")[0],
                *(_ms(stages[name]["p50"]) for name in ("hand_off", "preprocess", "engine")),
                _ms(scoring),
                *(_ms(total[level]) for level in ("min", "p50", "p99")),
                _ms(found["outside_engine_ms"]["p50"]),
                f"{found['throughput_per_s']:.0f}",
                _ms(found["surroundings"]["load"]["other_cores"]),
            )
        )
    head = (
        "ms",
        "engine library",
        "hand-off",
        "preprocess",
        "engine",
        "score, verdict",
        "total min",
        "p50",
        "p99",
    )
    return table((*head, "outside the engine", "parts per second", "load of others"), rows)


def settings_table() -> str:
    """One setting changed at a time: ratio to the runtime as shipped, and the slowest tenth."""
    content = json.loads((RESULTS / "settings.json").read_text(encoding="utf-8"))
    models = list(content["models"].values())
    rows = []
    for name in models[0]["settings"]:
        cells = []
        for model in models:
            row = model["settings"][name]
            cells += [f"{row['ratio'][1]:.2f}", _ms(row["total_p90_ms"])]
        rows.append((name, *cells))
    head = [cell for name in content["models"] for cell in (f"{name}: times as long as shipped", "p90 ms")]
    return table(("one change", *head), rows)


def opening_table() -> str:
    """What a graph that was optimised and saved before saves when a model is opened."""
    content = json.loads((RESULTS / "opening.json").read_text(encoding="utf-8"))
    rows = []
    for name, model in content["models"].items():
        for library, found in model["libraries"].items():
            times = [found[how]["processors_ms"] for how in ("compiled", "saved")]
            clock = (_ms(found[how]["clock_ms"]) for how in ("compiled", "saved"))
            cells = (*map(_ms, times), f"{times[1] / times[0]:.2f}", *clock)
            differs = "yes" if found["score_differs"] else "no"
            rows.append((name, library, *cells, f"{found['saved_bytes'] / 1e6:.1f}", differs))
    head = ("model", "library", "processors, ms: compiled", "saved", "ratio", "clock, ms: compiled", "saved")
    return table((*head, "saved, MB", "other score"), rows)


def preparation_table() -> str:
    """Everything outside the engine, with frames prepared by NumPy and by the compiled kernels.

    On two threads the engine takes the share of its time on one that `roofline.json` has.
    """
    content = json.loads((RESULTS / "preparation.json").read_text(encoding="utf-8"))
    roofline = json.loads((RESULTS / "roofline.json").read_text(encoding="utf-8"))
    on = {entry["threads"]: entry["models"] for entry in roofline["cpu"]}
    rows = []
    for row in content["rows"]:
        one, two = (on[threads][row["network"]]["min_ms"] for threads in (1, 2))
        engine, times = row["engine_ms"], row["outside_engine_ms"].values()
        shares = (f"{time / (engine * two / one):.2f}" for time in times)
        rows.append((row["model"], row["frame"], *map(_ms, times), _ms(engine), *shares))
    head = ("model", "frame", "outside the engine, ms: NumPy", "compiled kernels", "engine, one thread, ms")
    return table((*head, "share of the engine on two threads: NumPy", "compiled kernels"), rows)


def startup_table() -> str:
    """Startup, memory and size, with the budgets that tests keep."""
    content = json.loads((RESULTS / "startup.json").read_text(encoding="utf-8"))
    imports, installed = content["import_cpu_s"], content["installed_bytes"]
    rows = [
        ("`import ast_edge`, CPU time", f"{imports['ast_edge']:.3f} s", ""),
        (
            "`import ast_edge.inspector`, CPU time",
            f"{imports['ast_edge.inspector']:.3f} s",
            "2.5 times NumPy's and pydantic's",
        ),
    ]
    for name, found in content["first_verdict"].items():
        model, _, engine = name.partition(" ")
        budget = "2 s" if (model, engine) == ("nano", "onnxruntime") else ""
        rows.append((f"process start to first verdict, {model}, {engine}", f"{found['min_s']:.2f} s", budget))
        rows.append((f"memory then, {model}, {engine}", f"{found['resident_bytes'] / 1e6:.0f} MB", ""))
    rows.append(("wheel", f"{content['wheel_bytes'] / 1e6:.2f} MB", "1 MB"))
    rows += [
        (f"installed, `{extra}`", f"{sizes['all'] / 1e6:.0f} MB", "") for extra, sizes in installed.items()
    ]
    return table(("", "found", "budget"), rows)


def installed_table() -> str:
    """What the extras of the README take on disk, and how much of it is NVIDIA's for PyTorch on a GPU."""
    content = json.loads((RESULTS / "installed.json").read_text(encoding="utf-8"))
    rows = []
    for extras, sizes in content["installed_bytes"].items():
        gpu = sum(size for name, size in sizes.items() if name.startswith(("nvidia-", "cuda-", "triton")))
        shown = f"{gpu / 1e9:.1f} GB" if gpu else "-"
        rows.append((f"`{extras}`", str(len(sizes) - 1), f"{sizes['all'] / 1e9:.1f} GB", shown))
    return table(("extras", "packages", "on disk", "of it for NVIDIA GPUs"), rows)


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
