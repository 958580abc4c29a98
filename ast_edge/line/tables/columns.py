"""The columns of a part in a table."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

from ast_edge.line.archive.reading import ArchivedPart

Kind = Literal["text", "integer", "number", "time"]
Value = str | int | float | datetime | None
Row = tuple[Value, ...]


class Column(NamedTuple):
    """A column; `number` is a 64-bit float, `time` is in UTC with milliseconds."""

    name: str
    kind: Kind


COLUMNS = (
    Column("part_id", "text"),
    Column("station", "text"),
    Column("run", "text"),
    Column("number", "integer"),
    Column("time", "time"),
    Column("external_id", "text"),
    Column("encoder", "integer"),
    Column("trigger", "text"),
    Column("recipe", "text"),
    Column("verdict", "text"),
    Column("reason", "text"),
    Column("score", "number"),
    Column("threshold", "number"),
    Column("latency_ms", "number"),
    Column("source", "text"),
)
NAMES = tuple(column.name for column in COLUMNS)
REQUIRED = ("part_id", "station", "run", "number", "verdict")


def row_of(part: ArchivedPart, station: str) -> Row:
    """The row of a part of `station`; `time` is None if no calendar has it."""
    values = {**part.as_dict(), "station": station, "time": _time(part)}
    return tuple(values[name] for name in NAMES)  # type: ignore[misc]


def _time(part: ArchivedPart) -> datetime | None:
    try:
        return datetime.fromisoformat(part.time)
    except ValueError:
        return None
