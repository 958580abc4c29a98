"""The result of a run as one HTML file that opens without network access."""

from __future__ import annotations

from ast_edge.latency.result import Candidate, Result
from ast_edge.latency.text import facts_rows, figures_rows, surroundings_rows
from ast_edge.pages.document import filled, piece


def result_html(result: Result) -> str:
    """Return the page: stage bars, latency histogram and all figures of the result."""
    candidates = [result] if result.against is None else [result, result.against]
    content = {
        "candidates": [_content(each) for each in candidates],
        "ratio": None if result.ratio is None else result.ratio.model_dump(),
        "surroundings": surroundings_rows(result.surroundings),
        "machine": [(key, _words(value)) for key, value in result.machine.items() if value is not None],
        "warnings": result.warnings,
        "date": result.date,
    }
    return filled(piece("ast_edge.latency", "page.html"), content)


def _content(candidate: Candidate) -> dict[str, object]:
    return {
        "name": candidate.model.file,
        "facts": facts_rows(candidate),
        "stages": list(candidate.stages_ms),
        "figures": [(name, figures.model_dump()) for name, figures in figures_rows(candidate)],
        "histogram": candidate.histogram.model_dump(),
    }


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)
