"""Appends the parts of an archive that a table does not have yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple, Protocol

from ast_edge.line.archive.reading import ArchivedPart, ArchiveReader, Query
from ast_edge.line.tables.columns import NAMES, Row, row_of

_PART_ID, _TIME = NAMES.index("part_id"), NAMES.index("time")


class Archive(NamedTuple):
    """The runs of an archive by name, newest first, and the names of its stations."""

    runs: tuple[str, ...]
    stations: frozenset[str]


class Last(NamedTuple):
    """The part that was appended last; `time` is in UTC."""

    part_id: str
    time: datetime | None


class Table(Protocol):
    """A table elsewhere, locked against others that append. Its methods raise LineError."""

    batch: int  # rows that are appended at once

    def last(self, archive: Archive) -> Last | None:
        """The part of `archive` that was appended last; None if there is none."""

    def ids(self, archive: Archive) -> set[str]:
        """The ids of all parts of `archive`, perhaps also of others."""

    def append(self, rows: Sequence[Row]) -> None:
        """Append the rows: all or none, also if the process is killed."""

    def close(self) -> None:
        """Release the table."""


class Appended(NamedTuple):
    """How many parts were appended; `lost_after` is the part after which the archive may have lost some."""

    parts: int
    lost_after: str | None


def append_new(reader: ArchiveReader, table: Table) -> Appended:
    """Append the parts that were archived after the last one in `table`, in that order and in batches.

    Positions in an archive are not the whole truth: a damaged index is made again from the pictures, in any
    order. Hence a part that is not newer than the last one is looked up in the table. Raises LineError.
    """
    runs = reader.runs()
    stations = {run.name: run.station for run in runs}
    archive = Archive(tuple(stations)[::-1], frozenset(stations.values()))
    last = table.last(archive)
    position = None if last is None else reader.position(last.part_id)
    seen: set[str] | None = None
    count = 0
    parts = _known(reader, _start(reader, last, position), stations)
    while batch := [row_of(part, stations[part.run]) for part in islice(parts, table.batch)]:
        if last is not None and any(not _newer(row, last) for row in batch):
            seen = table.ids(archive) if seen is None else seen
            batch = [row for row in batch if row[_PART_ID] not in seen]
        if batch:
            table.append(batch)
            count += len(batch)
    return Appended(count, last.part_id if last is not None and position is None else None)


def _start(reader: ArchiveReader, last: Last | None, position: int | None) -> int:
    """The position after which parts may be new. Without the last part, everything that is left may be."""
    if last is None or position is None:
        return 0
    since = None if last.time is None else reader.first_since(last.time.timestamp())
    return position if since is None else min(position, since - 1)


def _newer(row: Row, last: Last) -> bool:
    time = row[_TIME]
    return isinstance(time, datetime) and last.time is not None and time > last.time


def _known(reader: ArchiveReader, after: int, runs: dict[str, str]) -> Iterator[ArchivedPart]:
    """The parts behind a position, up to a run that began only after `runs` were read: the next call's."""
    for part in reader.oldest_first(Query(), after=after):
        if part.run not in runs:
            return
        yield part
