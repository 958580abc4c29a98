"""A table of a database that SQLAlchemy reaches: SQLite and PostgreSQL are tested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timezone
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from ast_edge.errors import LineError, UsageError, message
from ast_edge.line.tables.append import Archive, Last
from ast_edge.line.tables.columns import COLUMNS, NAMES, REQUIRED, Kind, Row
from ast_edge.wording import install_hint

_TYPES: dict[Kind, Any] = {
    "text": sa.Text(),
    "integer": sa.BigInteger(),
    "number": sa.Double(),
    "time": sa.DateTime(timezone=True),
}
_RUNS = 500  # names in one question


class DatabaseTable:
    """The table `name` of the database at `url`, created if missing; for the parts of any number of archives.

    `part_id` is unique, and `position` counts the rows in the order in which they were appended. Raises
    UsageError for a URL that SQLAlchemy does not understand, LineError if the database refuses.
    """

    batch = 1000

    def __init__(self, url: str, name: str) -> None:
        try:
            self._where = sa.make_url(url).render_as_string(hide_password=True)
            self._engine = sa.create_engine(url)
        except NoSuchModuleError as exc:
            raise UsageError(f"{url.partition(':')[0]}: SQLAlchemy knows no such database.") from exc
        except ModuleNotFoundError as exc:
            raise UsageError(
                f"{url.partition(':')[0]}: needs the Python package {exc.name}; for PostgreSQL run "
                f"{install_hint('mes')} and write postgresql+psycopg://."
            ) from exc
        except (ArgumentError, ValueError) as exc:
            raise UsageError(
                "expected the URL of a database as sqlite:///mes.db or postgresql+psycopg://user@host/name; "
                "characters such as @ or / in a password are written as %40 and %2F."
            ) from exc
        self._table = sa.Table(
            name,
            sa.MetaData(),
            sa.Column(
                "position",
                sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
                sa.Identity(),
                primary_key=True,
            ),
            *(
                sa.Column(column, _TYPES[kind], nullable=column not in REQUIRED, unique=column == "part_id")
                for column, kind in COLUMNS
            ),
        )
        try:
            with self._asking() as connection:
                self._table.create(connection, checkfirst=True)
                self._check_columns(connection)
        except BaseException:
            self.close()
            raise

    def last(self, archive: Archive) -> Last | None:
        """The row with the highest position of any run of the archive."""
        columns = self._table.c
        newest = sa.select(columns.position, columns.part_id, columns.time)
        newest = newest.order_by(columns.position.desc()).limit(1)
        rows = self._of_runs(newest, archive)
        if not rows:
            return None
        row = max(rows, key=lambda row: row.position)
        time = row.time
        # SQLite keeps no time zone.
        return Last(row.part_id, time.replace(tzinfo=timezone.utc) if time and time.tzinfo is None else time)

    def ids(self, archive: Archive) -> set[str]:
        """Those of the archive's runs."""
        return {part_id for (part_id,) in self._of_runs(sa.select(self._table.c.part_id), archive)}

    def append(self, rows: Sequence[Row]) -> None:
        """One transaction."""
        with self._asking() as connection:
            connection.execute(self._table.insert(), [dict(zip(NAMES, row, strict=True)) for row in rows])

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _of_runs(self, select: sa.Select[Any], archive: Archive) -> list[sa.Row[Any]]:
        """What `select` finds for every few runs of the archive."""
        found = list[sa.Row[Any]]()
        with self._asking() as connection:
            for at in range(0, len(archive.runs), _RUNS):
                some = self._table.c.run.in_(archive.runs[at : at + _RUNS])
                found += connection.execute(select.where(some)).all()
        return found

    def _check_columns(self, connection: sa.Connection) -> None:
        found = {column["name"] for column in sa.inspect(connection).get_columns(self._table.name)}
        missing = [column.name for column in self._table.columns if column.name not in found]
        if missing:
            raise LineError(
                f"{self._where}: the table {self._table.name!r} has no column {', '.join(missing)}; give "
                "another --table."
            )

    @contextmanager
    def _asking(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError as exc:
            raise LineError(
                f"{self._where}: another process appends to {self._table.name!r}; try again when it ended."
            ) from exc
        except SQLAlchemyError as exc:
            what = getattr(exc, "orig", None) or exc
            raise LineError(
                f"{self._where}: the database refused ({message(what)}); check address, user and permissions."
            ) from exc
