"""Read-only access to an archive, also while a station writes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ast_edge.errors import LineError, sentence
from ast_edge.line.archive.row import COLUMNS, Files, Row
from ast_edge.line.archive.schema import INDEX, open_for_reading

if TYPE_CHECKING:
    from typing_extensions import Self

_SELECT = (
    f"SELECT parts.id, runs.name AS run, {', '.join(COLUMNS.values())}, {', '.join(Files._fields)} "  # noqa: S608
    "FROM parts JOIN runs ON runs.id = parts.run_id"
)
_PAGE = 500


@dataclass(frozen=True)
class Query:
    """Filter for parts: all given conditions must hold; times in seconds of `time.time()`, both inclusive."""

    verdicts: tuple[str, ...] = ()
    since_s: float | None = None
    until_s: float | None = None
    recipe: str | None = None
    run: str | None = None
    external_id: str | None = None
    with_picture: bool = False

    def where(self) -> tuple[str, list[object]]:
        """Return the condition in SQL and its values."""
        conditions, values = ["1"], list[object]()
        if self.verdicts:
            conditions.append(f"verdict IN ({', '.join('?' * len(self.verdicts))})")
            values += self.verdicts
        for condition, value in (
            ("time >= ?", self.since_s),
            ("time <= ?", self.until_s),
            ("recipe = ?", self.recipe),
            ("runs.name = ?", self.run),
            ("external_id = ?", self.external_id),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        if self.with_picture:
            conditions.append("picture_state = 'kept'")
        return " AND ".join(conditions), values


@dataclass(frozen=True, kw_only=True)
class ArchivedPart(Row):
    """A part in the index; `files` are relative to the archive's folder."""

    id: int
    files: Files

    def as_dict(self) -> dict[str, object]:
        """Return plain values, in display order."""
        files = self.files._asdict()
        del files["bytes"]
        return {**super().as_dict(), "picture_state": self.picture_state, **files}


@dataclass(frozen=True, kw_only=True)
class ArchivedRun:
    """A run of the station; `ended_s` is None while it lasts and if it was killed.

    `parts` were handed over when last recorded, `lost` of them have no row; `rows` exist now.
    """

    name: str
    station: str
    started_s: float
    ended_s: float | None
    parts: int
    lost: int
    rows: int


class ArchiveReader:
    """The archive in `folder`; use as a context manager or call `close()`. One thread reads.

    Raises LineError if there is no archive, or its index is damaged or newer than this version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._db = open_for_reading(folder)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def count(self, query: Query) -> int:
        """Return how many parts match `query`."""
        where, values = query.where()
        sql = f"SELECT count(*) FROM parts JOIN runs ON runs.id = parts.run_id WHERE {where}"  # noqa: S608
        (row,) = self._rows(sql, values)
        return int(row[0])

    def newest(self, query: Query, limit: int) -> list[ArchivedPart]:
        """Return the newest parts that match `query`, newest first."""
        where, values = query.where()
        return self._parts(f"WHERE {where} ORDER BY parts.id DESC LIMIT ?", [*values, limit])

    def oldest_first(self, query: Query, after: int = 0) -> Iterator[ArchivedPart]:
        """Yield every part that matches `query`, in pages, so that a writing station is never blocked.

        `after`: only parts behind that position.
        """
        where, values = query.where()
        last = after
        while True:
            page = self._parts(
                f"WHERE {where} AND parts.id > ? ORDER BY parts.id LIMIT ?", [*values, last, _PAGE]
            )
            yield from page
            if len(page) < _PAGE:
                return
            last = page[-1].id

    def get(self, part_id: str) -> ArchivedPart:
        """Return one part. Raises LineError for an unknown id."""
        found = self._find(part_id)
        if found is None:
            raise LineError(
                f"{self.folder}: there is no part {part_id!r}; `ast-edge archive list` lists the parts."
            )
        return found

    def position(self, part_id: str) -> int | None:
        """Return where a part stands in the order of archiving; None if it is not there."""
        found = self._find(part_id)
        return None if found is None else found.id

    def first_since(self, time_s: float) -> int | None:
        """Return the lowest position of a part triggered at `time_s` or later; None if there is none."""
        (row,) = self._rows("SELECT min(id) AS id FROM parts WHERE time >= ?", [time_s])
        found: int | None = row["id"]
        return found

    def _find(self, part_id: str) -> ArchivedPart | None:
        run, _, number = part_id.rpartition("-")
        if not (run and number.isascii() and number.isdigit() and len(number) < 19):
            return None
        found = self._parts("WHERE runs.name = ? AND number = ?", [run, int(number)])
        return found[0] if found else None

    def runs(self) -> list[ArchivedRun]:
        """Return every run, oldest first."""
        rows = self._rows(
            """SELECT name, station, started AS started_s, ended AS ended_s, parts, lost,
            (SELECT count(*) FROM parts WHERE run_id = runs.id) AS rows FROM runs ORDER BY id""",
            [],
        )
        return [ArchivedRun(**dict(row)) for row in rows]

    def _parts(self, which: str, values: list[object]) -> list[ArchivedPart]:
        rows = self._rows(f"{_SELECT} {which}", values)
        return [_part(row) for row in rows]

    def _rows(self, sql: str, values: list[object]) -> list[sqlite3.Row]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as exc:
            raise LineError(
                f"{self.folder / INDEX}: the index cannot be read ({sentence(exc)}); try again."
            ) from exc


def _part(row: sqlite3.Row) -> ArchivedPart:
    values = {name: row[column] for name, column in COLUMNS.items()}
    files = Files(*(row[name] for name in Files._fields))
    return ArchivedPart(id=row["id"], run=row["run"], files=files, **values)
