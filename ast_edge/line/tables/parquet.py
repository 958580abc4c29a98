"""A folder of Parquet files, one or more for every time that parts were appended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ast_edge.errors import LineError, message
from ast_edge.files import atomic_path, remove_leftovers
from ast_edge.line.tables.append import Archive, Last
from ast_edge.line.tables.columns import COLUMNS, NAMES, REQUIRED, Kind, Row
from ast_edge.line.tables.places import claimed, refused

_TYPES: dict[Kind, Any] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "time": pa.timestamp("ms", tz="UTC"),
}
SCHEMA = pa.schema([pa.field(name, _TYPES[kind], nullable=name not in REQUIRED) for name, kind in COLUMNS])
_LOCK = ".lock"


class ParquetFolder:
    """The folder `path`, created if missing: parts-000001.parquet and so on, each of one archive.

    Raises LineError if a file is damaged or has other columns, the folder cannot be written, or another
    process appends to it.
    """

    batch = 100_000

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = claimed(path, path / _LOCK)
        remove_leftovers(path)

    def last(self, archive: Archive) -> Last | None:
        """The last part of the newest file that is of the archive."""
        runs = set(archive.runs)
        for file in reversed(self._files()):
            found = _read(file, "part_id", "run", "time")
            if found["run"][-1].as_py() in runs:
                return Last(str(found["part_id"][-1].as_py()), found["time"][-1].as_py())
        return None

    def ids(self, archive: Archive) -> set[str]:  # noqa: ARG002 (others do no harm)
        """Of all files."""
        return {
            part_id for file in self._files() for part_id in _read(file, "part_id")["part_id"].to_pylist()
        }

    def append(self, rows: Sequence[Row]) -> None:
        """One file, which has its name only when it is whole."""
        columns = dict(zip(NAMES, zip(*rows, strict=True), strict=True))
        table = pa.table({name: list(values) for name, values in columns.items()}, schema=SCHEMA)
        files = self._files()
        number = 1 + (int(files[-1].stem.partition("-")[2]) if files else 0)
        try:
            with atomic_path(self._path / f"parts-{number:06d}.parquet") as temporary:
                pq.write_table(table, temporary)
        except OSError as exc:
            raise refused(self._path, exc) from exc

    def close(self) -> None:
        """Release the folder."""
        self._lock.close()

    def _files(self) -> list[Path]:
        return sorted(self._path.glob("parts-[0-9][0-9][0-9][0-9][0-9][0-9].parquet"))


def _read(file: Path, *columns: str) -> Any:
    try:
        return pq.read_table(file, columns=list(columns))
    except (OSError, pa.ArrowException) as exc:
        raise LineError(
            f"{file}: is not a file of parts ({message(exc)}); remove it or give another folder."
        ) from exc
