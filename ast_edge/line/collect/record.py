"""`parts.jsonl`: a line of JSON for every part whose files are on the disk.

A line is appended, and synced, after the part's files were. A line without its end, as a kill or a power
failure leaves it, is no line.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ast_edge.errors import LineError
from ast_edge.files import named_errors
from ast_edge.wording import first_problem

_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TriggerFacts(_Facts):
    """The part's trigger: its number in the run, its source, and the source's own name of the part."""

    run: str
    number: int
    source: str
    external_id: str | None


class CameraFacts(_Facts):
    """The camera, its frame's number, clock, pixel format and size, and the settings that it reported."""

    uri: str
    frame: int
    device_ns: int | None
    colour: str
    width: int
    height: int
    settings: dict[str, float | str]


class GreyLevels(_Facts):
    """As in `ast_edge.line.collect.looks.Looks`."""

    brightness: float
    contrast: float
    saturated: float


class CollectedPart(_Facts):
    """One line. `label` is None for a good part to train on; paths are relative to the folder; `time` is the
    trigger's, in UTC.
    """

    number: Annotated[int, Field(ge=1)]
    label: str | None
    picture: str
    depth: str | None
    time: str
    trigger: TriggerFacts
    encoder: int | None
    camera: CameraFacts
    grey_levels: GreyLevels
    sharpness: _Finite
    sha256: str


class Record:
    """The file, and its lines. Open it while holding the lock of the folder.

    Raises LineError for a file with a line that is none, OSError of the disk.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        new = not path.exists()
        self._file = path.open("a+b")
        try:
            if new:
                sync_folder(path.parent)
            self.parts = self._read()
        except BaseException:
            self._file.close()
            raise

    def append(self, part: CollectedPart) -> None:
        """Append a line and sync it; on an error nothing of it stays. Raises OSError."""
        self._write(part.model_dump_json().encode() + b"\n")
        self.parts.append(part)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def _read(self) -> list[CollectedPart]:
        self._file.seek(0)
        *lines, torn = self._file.read().split(b"\n")
        parts = [self._parsed(line, at) for at, line in enumerate(lines, 1)]
        if torn:
            self._mend(torn, parts)
        return parts

    def _mend(self, torn: bytes, parts: list[CollectedPart]) -> None:
        """End a last line that lacks only its end; remove one that was not written to its end."""
        try:
            part = CollectedPart.model_validate_json(torn)
        except ValidationError:
            self._cut(os.fstat(self._file.fileno()).st_size - len(torn))
        else:
            self._write(b"\n")
            parts.append(part)

    def _parsed(self, line: bytes, at: int) -> CollectedPart:
        try:
            return CollectedPart.model_validate_json(line)
        except ValidationError as exc:
            key, words = first_problem(exc)
            raise LineError(
                f"{self._path}:{at}: is not a line of `ast-edge collect` ({f'{key} {words}'.strip()}); "
                "restore the file, or collect into another folder."
            ) from exc

    def _write(self, data: bytes) -> None:
        end = os.fstat(self._file.fileno()).st_size
        try:
            with named_errors(self._path):
                self._file.write(data)
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError:
            self._cut(end)
            raise

    def _cut(self, end: int) -> None:
        os.ftruncate(self._file.fileno(), end)
        os.fsync(self._file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names of new files in `folder` durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
