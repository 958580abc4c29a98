"""Results of the stopwatch, and the comparison of two, as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ast_edge.errors import UsageError
from ast_edge.latency.figures import PERCENTILES, Figures
from ast_edge.latency.result import Candidate, Result
from ast_edge.machine.watch import Heat, Surroundings

_COLUMNS = ("min", *PERCENTILES, "max", "mean")
_HEADS = {"p999": "p99.9"}
BLANK = "-"


def result_text(result: Result) -> str:
    """Format all figures and facts as lines."""
    parts = [_candidate_text(result)]
    if result.against is not None:
        parts.append(_candidate_text(result.against))
    if result.ratio is not None and result.against is not None:
        ratio = result.ratio
        low, high = _figure(ratio.lower_quartile), _figure(ratio.upper_quartile)
        parts.append(
            f"{result.model.file} takes {ratio.median:.3f} times as long as {result.against.model.file} "
            f"(quartiles {low} to {high} over {ratio.blocks} blocks)"
        )
    parts.append(_pairs(surroundings_rows(result.surroundings)))
    return "\n\n".join([*parts, *(f"warning: {words}" for words in result.warnings)])


def figures_rows(candidate: Candidate) -> list[tuple[str, Figures]]:
    """Return the stages, the time beside them, the total, and the total without the engine."""
    return [
        *candidate.stages_ms.items(),
        ("beside the stages", candidate.beside_stages_ms),
        ("total", candidate.total_ms),
        ("total less engine", candidate.outside_engine_ms),
    ]


def facts_rows(candidate: Candidate) -> list[tuple[str, str]]:
    """Return what was measured, and how."""
    model, frame, warm = candidate.model, candidate.frame, candidate.warm_up
    colour = "depth" if frame.colour is None else frame.colour + (" with depth" if frame.depth else "")
    threads = "" if candidate.threads is None else f", {candidate.threads} threads"
    state = "settled" if warm.settled else "NOT settled"
    return [
        ("model", f"{model.file} ({model.model_id}, {_network(candidate)})"),
        ("engine", candidate.engine + threads),
        ("frame", f"{frame.width}x{frame.height} {colour}"),
        ("opened in", f"{warm.open_s:.2f} s"),
        ("warm-up", f"{warm.count} parts, {warm.seconds:.2f} s, first {warm.first_ms:.1f} ms: {state}"),
        ("measured", f"{candidate.count} parts, {candidate.concurrency} at a time"),
        ("throughput", f"{candidate.throughput_per_s:.1f} parts per second"),
        ("jitter", f"{_figure(candidate.jitter)} (p99 / p50)"),
    ]


def surroundings_rows(seen: Surroundings | None) -> list[tuple[str, str]]:
    """Return load, memory, power and heat; a single row if nothing was watched."""
    if seen is None:
        return [("surroundings", "not measured by this program")]
    load, memory, power = seen.load, seen.memory, seen.power
    other = "unknown" if load.other_cores is None else f"{load.other_cores:.2f}"
    own = "unknown" if load.own_cores is None else f"{load.own_cores:.2f}"
    rows = [
        ("load", f"{own} of {load.cores} processors by this, {other} by others"),
        ("memory", f"{_mb(memory.resident)}, at most {_mb(memory.peak)}; GPU {_mb(memory.gpu)}"),
    ]
    if power.watts is None:
        rows.append(("power", "no readable sensor of the board or of the processor that runs the engine"))
    else:
        each = "" if power.mj_per_part is None else f", {power.mj_per_part:.1f} mJ per part"
        rows.append(("power", f"{power.watts:.2f} W of {power.of}{each}"))
    rows.append(("heat", f"{_heat(seen.start)}; at the end {_heat(seen.end)}"))
    throttled = "not reported" if seen.throttled is None else ", ".join(seen.throttled) or "none"
    return [*rows, ("throttling", throttled)]


def compared_text(first: Result, second: Result, names: tuple[str, str]) -> str:
    """Compare two results of separate runs. Raises UsageError if they measured different things."""
    if first.frame != second.frame or first.concurrency != second.concurrency:
        raise UsageError(
            f"{names[0]} and {names[1]} measured different frames or concurrencies ({_asked(first)}; "
            f"{_asked(second)}); measure both with the same options."
        )
    rows = [("", "p50", "", "p99", "", "p50 ratio")]
    other = dict(figures_rows(second))
    for name, figures in figures_rows(first):
        if name in other:
            beside = other[name]
            ratio = figures.p50 / beside.p50 if figures.p50 and beside.p50 else None
            cells = (figures.p50, beside.p50, figures.p99, beside.p99, ratio)
            rows.append((name, *map(_figure, cells)))  # type: ignore[arg-type]
    notes = [f"{name}: {_candidate_line(each)}" for name, each in zip(names, (first, second), strict=True)]
    if differing := _differing(first.machine, second.machine):
        notes.append("warning: not the same machine or versions: " + "; ".join(differing))
    notes += [
        f"warning: {name}: {words}"
        for name, each in zip(names, (first, second), strict=True)
        for words in each.warnings
    ]
    notes.append("Two runs, one after the other: to resolve a few percent use --against, which alternates.")
    return _grid(rows) + "\n\n" + "\n".join(notes)


def _differing(first: Mapping[str, object], second: Mapping[str, object]) -> list[str]:
    """Describe the facts in which both results differ; of versions only packages that both have."""
    found = []
    for key in ("cpu", "gpu", "board", "power_mode", "governor", "versions"):
        one, other = first.get(key), second.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            common = sorted(one.keys() & other.keys())
            one, other = ({name: each[name] for name in common} for each in (one, other))
        if key in first and key in second and one != other:
            found.append(f"{key}: {one} | {other}")
    return found


def _network(candidate: Candidate) -> str:
    model = candidate.model
    return ", ".join(filter(None, (model.preset, model.mode, model.precision)))


def _candidate_text(candidate: Candidate) -> str:
    rows = [("ms", *(_HEADS.get(name, name) for name in _COLUMNS))]
    for name, figures in figures_rows(candidate):
        rows.append((name, *(_figure(getattr(figures, column)) for column in _COLUMNS)))
    return f"{_pairs(facts_rows(candidate))}\n\n{_grid(rows)}"


def _candidate_line(candidate: Candidate) -> str:
    model = candidate.model
    threads = "" if candidate.threads is None else f", {candidate.threads} threads"
    return f"{model.model_id} {model.precision}, {candidate.engine}{threads}, {candidate.count} parts"


def _asked(candidate: Candidate) -> str:
    frame = candidate.frame
    return f"{frame.width}x{frame.height} {frame.colour or 'depth'}, {candidate.concurrency} at a time"


def _heat(heat: Heat) -> str:
    reported = [f"{name} {degrees:.0f} C" for name, degrees in heat.temperatures.items()]
    clocks = (("processor", heat.cpu_mhz), ("GPU", heat.gpu_mhz))
    reported += [f"{name} {mhz:.0f} MHz" for name, mhz in clocks if mhz is not None]
    return ", ".join(reported) or "not reported"


def _mb(count: int | None) -> str:
    return "not reported" if count is None else f"{count / 1e6:.0f} MB"


def _figure(value: float | None) -> str:
    if value is None:
        return BLANK
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"{name:<11} {value}" for name, value in rows)


def _grid(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
