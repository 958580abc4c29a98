"""A comparison in words, for the terminal and for the page."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ast_edge.compare.result import (
    VERDICTS,
    ComparedModel,
    Comparison,
    Errors,
    Latency,
    Opinion,
    PartRow,
    Rate,
)
from ast_edge.latency.figures import Figures
from ast_edge.verdict.rates import interval_text
from ast_edge.wording import one_line, share_text

_LISTED = 10  # changed verdicts and faults on a terminal


def comparison_json(comparison: Comparison) -> str:
    """Return everything as JSON: the figures, and both verdicts on every part."""
    content = comparison.model_dump(mode="json")
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def comparison_text(comparison: Comparison) -> str:
    """Return a summary, with the first of the changed verdicts and faults."""
    rows = list(_summary(comparison))
    lines = [f"{name:<15}{text}" for name, text in rows]
    lines += _some("changed", [f"{row.name}: {row_text(row)}" for row in comparison.changed])
    lines += _some("fault", [f"{row.name}: {fault_text(row)}" for row in comparison.faults])
    return "\n".join(one_line(line) for line in lines)


def _summary(comparison: Comparison) -> Iterator[tuple[str, str]]:
    yield "old", model_text(comparison.old)
    yield "new", model_text(comparison.new)
    yield "parts", parts_text(comparison)
    for name, text in left_out_rows(comparison):
        yield "left out", f"{name}: {text}"
    yield "verdicts", changes_text(comparison)
    for old, counts in zip(VERDICTS, comparison.table, strict=True):
        if sum(counts):
            said = ", ".join(f"{count} {new}" for new, count in zip(VERDICTS, counts, strict=True) if count)
            yield f"  old {old}", f"new {said}"
    for title, errors in error_tables(comparison):
        yield title, f"old {rate_line(errors.old)}"
        yield "", f"new {rate_line(errors.new)}"
        yield "", errors.paired.text
    if (line := line_text(comparison)) is not None:
        yield "line", line
    yield "latency", latency_text(comparison.latency)
    for note in all_notes(comparison):
        yield "note", note


def error_tables(comparison: Comparison) -> list[tuple[str, Errors]]:
    """Return the error rates that there are, with their names."""
    named = (("false rejects", comparison.false_rejects), ("escapes", comparison.escapes))
    return [(name, errors) for name, errors in named if errors is not None]


def model_text(model: ComparedModel) -> str:
    """Describe a model in a line."""
    crop = model.crop
    area = "" if crop is None else f", crop {crop.width}x{crop.height} at {crop.x},{crop.y}"
    return (
        f"{model.file} ({model.model_id}, {model.preset}, {model.mode}, {model.precision}, input "
        f"{model.image_size}x{model.image_size}{area}; {model.engine}; threshold {model.threshold:.6g})"
    )


def parts_text(comparison: Comparison) -> str:
    """Count the parts that were judged, by their labels."""
    rows = comparison.parts
    good, bad = comparison.false_rejects, comparison.escapes
    labelled = [(errors.old.parts, name) for errors, name in ((good, "good"), (bad, "defective")) if errors]
    unlabelled = len(rows) - sum(count for count, _ in labelled)
    kinds = [f"{count} {name}" for count, name in [*labelled, (unlabelled, "unlabelled")] if count]
    return f"{len(rows)} compared: {', '.join(kinds) or 'none'}"


def left_out_rows(comparison: Comparison) -> list[tuple[str, str]]:
    """Return for each place how many of its parts could not be compared on, and why."""
    return [
        (one.place, f"{one.count} {'part' if one.count == 1 else 'parts'}, {one.reason}")
        for one in comparison.left_out
    ]


def changes_text(comparison: Comparison) -> str:
    """Count the changed verdicts by their change."""
    rows, changes = comparison.parts, comparison.changes
    if not changes:
        return f"none of {len(rows)} verdicts changes"
    said = ", ".join(f"{count} from {change}" for change, count in changes.most_common())
    return f"{share_text(changes.total(), len(rows))} verdicts change: {said}"


def rate_line(rate: Rate) -> str:
    """Format an error rate with its interval."""
    faults = f", faults among these parts: {rate.faults}" if rate.faults else ""
    return f"{share_text(rate.count, rate.parts)}, 95 % confidence {interval_text(rate.interval)}{faults}"


def line_text(comparison: Comparison) -> str | None:
    """Say how often each model agrees with the line; None without archived parts."""
    if (found := comparison.as_line) is None:
        return None
    parts, old, new = found
    return (
        f"the old model says what the line said of {share_text(old, parts)}, the new one of "
        f"{share_text(new, parts)}"
    )


def latency_text(latency: Latency | None) -> str:
    """Compare the times in a sentence."""
    if latency is None:
        return "not measured: no part was judged by both models"
    old, new, ratio = latency.old, latency.new, latency.ratio
    usual = f"{_usual(new)} instead of {_usual(old)}"
    spread = ""
    if ratio.lower_quartile is not None and ratio.upper_quartile is not None:
        spread = f", quartiles {ratio.lower_quartile:.3f} to {ratio.upper_quartile:.3f}"
    return (
        f"the new model takes {ratio.median:.3f} times as long as the old one (blocks of parts: "
        f"{ratio.blocks}, alternating{spread}); {usual}"
    )


def _usual(figures: Figures) -> str:
    """The median, or the mean of too few parts."""
    if figures.p50 is None:
        return f"{figures.mean:.3g} ms (mean)"
    return f"{figures.p50:.3g} ms (median)"


def all_notes(comparison: Comparison) -> list[str]:
    """Return what limits the result."""
    warnings = () if comparison.latency is None else comparison.latency.warnings
    return [*comparison.notes, *(f"latency: {words}" for words in warnings)]


def worse_text(comparison: Comparison) -> str:
    """Say in what the new model is worse."""
    if not comparison.worse:
        return "not worse: the new model has no more escapes, false rejects or faults than the old one"
    return f"worse: {', '.join(comparison.worse)}"


def row_text(row: PartRow) -> str:
    """Describe one part: kind, both verdicts, and the line's."""
    kind = "" if row.kind is None else f"{row.kind}; "
    return f"{kind}old {opinion_text(row.old)}, new {opinion_text(row.new)}{line_part(row)}"


def line_part(row: PartRow) -> str:
    """Say what the line said of an archived part; nothing of another."""
    if row.line is None:
        return ""
    score = "" if row.line.score is None else f" {row.line.score:.4g}"
    return f"; line {row.line.verdict}{score} ({row.line.recipe})"


def opinion_text(opinion: Opinion) -> str:
    """Describe a verdict with its score."""
    if opinion.score is None:
        return opinion.verdict
    times = "" if opinion.times is None else f" ({opinion.times:.2f} times the threshold)"
    return f"{opinion.verdict} {opinion.score:.4g}{times}"


def fault_text(row: PartRow) -> str:
    """Say which model could not judge a part, and why."""
    reasons = [(name, one.reason) for name, one in (("old", row.old), ("new", row.new)) if one.reason]
    if len(reasons) == 2 and reasons[0][1] == reasons[1][1]:
        return f"both: {reasons[0][1]}"
    return "; ".join(f"{name}: {reason}" for name, reason in reasons)


def _some(name: str, lines: list[str]) -> list[str]:
    more = [f"{name:<15}and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return [*(f"{name:<15}{line}" for line in lines[:_LISTED]), *more]
