"""The comparison as one HTML file that opens without a network: figures and changed verdicts."""

from __future__ import annotations

from collections.abc import Mapping

from ast_edge.compare import text
from ast_edge.compare.result import VERDICTS, Comparison, Latency, PartRow
from ast_edge.pages.document import base_style, filled, piece
from ast_edge.pages.layers import Pictures
from ast_edge.verdict.rates import interval_text
from ast_edge.wording import percent_text

_FAULTS = 200  # listed
_ROOM = "ast_edge.compare"
_PERCENTILES = ("min", "p50", "p90", "p99", "max", "mean")


def comparison_html(comparison: Comparison, pictures: Mapping[int, Pictures]) -> str:
    """Return the page; `pictures` by the part's number in `comparison.parts`."""
    numbers = {id(row): number for number, row in enumerate(comparison.parts)}
    changed = [_entry(row, pictures.get(numbers[id(row)])) for row in comparison.changed]
    faults = comparison.faults
    content = {
        "files": [comparison.old.file, comparison.new.file],
        "made": comparison.made.replace("T", " ").replace("+00:00", " UTC"),
        "headline": f"{text.changes_text(comparison)}.",
        "about": [text.parts_text(comparison), *(": ".join(row) for row in text.left_out_rows(comparison))],
        "decisions": _decisions(comparison),
        "tables": [table for table in _tables(comparison) if table is not None],
        "notes": text.all_notes(comparison),
        "changed": changed,
        "without": sum(entry["pictures"] is None for entry in changed),
        "faults": [[row.name, text.fault_text(row)] for row in faults[:_FAULTS]],
        "more_faults": max(0, len(faults) - _FAULTS),
        "origin": [
            ["Repeat", comparison.command],
            ["Old", text.model_text(comparison.old)],
            ["New", text.model_text(comparison.new)],
        ],
    }
    style = base_style() + piece(_ROOM, "page.css")
    return filled(piece(_ROOM, "page.html"), content, style=style, script=piece(_ROOM, "page.js"))


def _entry(row: PartRow, pictures: Pictures | None) -> dict[str, object]:
    shown = None
    if pictures is not None and pictures.photo:
        shown = {
            "photo": pictures.photo,
            "maps": pictures.maps,
            "width": pictures.width,
            "height": pictures.height,
        }
    reason = text.fault_text(row)
    return {
        "name": row.name,
        "kind": row.kind or "",
        "change": row.change,
        "verdicts": [row.old.verdict, row.new.verdict],
        "said": [text.opinion_text(row.old), text.opinion_text(row.new)],
        "line": text.line_part(row).removeprefix("; "),
        "reason": reason,
        "pictures": shown,
    }


def _decisions(comparison: Comparison) -> list[str]:
    found = [] if comparison.acceptance is None else [f"{comparison.acceptance.text}."]
    if comparison.false_rejects is not None or comparison.escapes is not None:
        found.append(f"{text.worse_text(comparison)}.")
    return [one[0].upper() + one[1:] for one in found]


Table = dict[str, object]


def _tables(comparison: Comparison) -> list[Table | None]:
    return [_verdicts(comparison), _errors(comparison), _line(comparison), _latency(comparison.latency)]


def _table(title: str, head: list[str], rows: list[list[str]], about: list[str]) -> Table:
    return {"title": title, "head": head, "rows": rows, "about": about}


def _verdicts(comparison: Comparison) -> Table:
    rows = [
        [f"old: {old}", *map(str, counts)] for old, counts in zip(VERDICTS, comparison.table, strict=True)
    ]
    about = ["A fault is a part that a model could not judge. On a line it actuates the reject output."]
    return _table("Verdicts", ["Parts", *(f"new: {verdict}" for verdict in VERDICTS)], rows, about)


def _errors(comparison: Comparison) -> Table | None:
    rows, about = [], []
    for name, errors in text.error_tables(comparison):
        for which, rate in (("old", errors.old), ("new", errors.new)):
            share = percent_text(rate.count, rate.parts)
            faults, confidence = str(rate.faults), interval_text(rate.interval)
            rows.append([f"{name}, {which}", f"{rate.count} of {rate.parts}", share, confidence, faults])
        about.append(errors.paired.text)
    if not rows:
        return None
    about.append("The intervals are exact (Clopper-Pearson). A fault counts as rejected.")
    head = ["Labelled parts", "Errors", "Rate", "95 % confidence", "Faults among them"]
    return _table("Errors on labelled parts", head, rows, about)


def _line(comparison: Comparison) -> Table | None:
    if (found := comparison.as_line) is None:
        return None
    parts, *same = found
    rows = [
        [name, f"{count} of {parts}", percent_text(count, parts)]
        for name, count in zip(("old", "new"), same, strict=True)
    ]
    about = [
        "The line's verdict counts deadline and trigger too, and was given with the model and threshold of "
        "its time."
    ]
    return _table("As the line judged", ["Model", "Same verdict as the line", "Share"], rows, about)


def _latency(latency: Latency | None) -> Table:
    if latency is None:
        return _table("Latency", [], [], [f"{text.latency_text(None).capitalize()}."])
    rows = []
    for name, figures in (("old", latency.old), ("new", latency.new)):
        values = [getattr(figures, percentile) for percentile in _PERCENTILES]
        rows.append([name, *("-" if value is None else f"{value:.3g}" for value in values)])
    about = [f"On {latency.part}: {text.latency_text(latency)}."]
    return _table("Latency", ["Milliseconds", *_PERCENTILES], rows, about)
