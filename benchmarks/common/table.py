"""Tables for the READMEs."""

from __future__ import annotations

from collections.abc import Iterable


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Format a Markdown table; a bar within a cell is escaped."""
    columns = list(head)
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    cleaned = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in cleaned])
