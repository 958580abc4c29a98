"""A CSV file with a header. Every part is one line: what a kill left of a line is removed."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ast_edge.errors import LineError
from ast_edge.line.tables.append import Archive, Last
from ast_edge.line.tables.columns import NAMES, Row, Value
from ast_edge.line.tables.places import claimed, refused
from ast_edge.wording import csv_text, one_line

_HEADER = csv_text([NAMES]).encode()
_BLOCK = 1 << 16


class CsvFile:
    """The file `path`, created if missing; it has the parts of one archive.

    Raises LineError if it is another table, cannot be written, or another process appends to it.
    """

    batch = 1000

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = claimed(path, path)
        try:
            self._begin()
        except OSError as exc:
            self._stream.close()
            raise refused(self._path, exc) from exc
        except BaseException:
            self._stream.close()
            raise

    def last(self, archive: Archive) -> Last | None:
        """The part of the last line."""
        line = self._last_line()
        if line == _HEADER.strip():
            return None
        fields = _fields(line.decode("utf-8", "replace"))
        if fields["run"] not in archive.runs and fields["station"] not in archive.stations:
            raise LineError(
                f"{self._path}: its last part, {one_line(fields['part_id'])}, is of station "
                f"{one_line(fields['station'])!r}, and the archive's station is "
                f"{', '.join(map(repr, sorted(archive.stations)))}; give each archive a file of its own."
            )
        return Last(fields["part_id"], datetime.fromisoformat(fields["time"]) if fields["time"] else None)

    def ids(self, archive: Archive) -> set[str]:  # noqa: ARG002 (the file has no other archive's)
        """Reads the whole file."""
        with self._path.open(encoding="utf-8", newline="") as stream:
            return {line[0] for line in csv.reader(stream)}

    def append(self, rows: Sequence[Row]) -> None:
        """One write; the disk has it when this returns."""
        lines = csv_text([[_cell(value) for value in row] for row in rows]).encode()
        try:
            before = self._size()
            self._stream.write(lines)
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as exc:
            os.truncate(self._path, before)
            raise refused(self._path, exc) from exc

    def close(self) -> None:
        """Release the file."""
        self._stream.close()

    def _begin(self) -> None:
        """Write the header of a new file; check that of an old one and remove a line without an end."""
        with self._path.open("rb") as stream:
            found = stream.read(len(_HEADER))
        if not _HEADER.startswith(found):
            first = one_line(found.partition(b"\n")[0].decode("utf-8", "replace").strip())
            raise LineError(
                f"{self._path}: expected a CSV file that begins with {_HEADER.decode().strip()!r}, found "
                f"{first!r}; give another file."
            )
        if found != _HEADER:
            os.truncate(self._path, 0)
            self._stream.write(_HEADER)
            self._stream.flush()
            return
        whole = self._size() - len(self._tail())
        if whole < self._size():
            os.truncate(self._path, whole)

    def _size(self) -> int:
        return os.fstat(self._stream.fileno()).st_size

    def _tail(self) -> bytes:
        """What follows the last line end: empty in a whole file."""
        return self._after_newline(self._size())

    def _last_line(self) -> bytes:
        return self._after_newline(self._size() - 1).strip()

    def _after_newline(self, end: int) -> bytes:
        """The bytes before `end` that follow the last line end before it."""
        found, start = b"", end
        with self._path.open("rb") as stream:
            while start > 0:
                start = max(0, start - _BLOCK)
                stream.seek(start)
                found = stream.read(end - start)
                if (at := found.rfind(b"\n")) >= 0:
                    return found[at + 1 :]
        return found


def _fields(line: str) -> dict[str, str]:
    values = next(csv.reader([line]))
    return dict(zip(NAMES, [*values, *[""] * len(NAMES)], strict=False))


def _cell(value: Value) -> Value:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    return one_line(value) if isinstance(value, str) else value
