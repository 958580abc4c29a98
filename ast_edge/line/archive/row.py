"""A row of the index: the record of a part, the state of its picture, and the paths of its files."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

from ast_edge.line.part import PartRecord

# none: nothing to store (a pass that was not selected, or no frame); waiting: queued for writing; kept:
# written; crowded: too many pictures waited; unwritable: a disk error, or it cannot be drawn; stopped: the
# limits are reached and existing pictures are protected; interrupted: the station ended before it was
# written; expired: removed by the limits; missing: was kept, but its files are gone or changed.
PictureState = Literal[
    "none", "waiting", "kept", "crowded", "unwritable", "stopped", "interrupted", "expired", "missing"
]


@dataclass(frozen=True, kw_only=True)
class Row(PartRecord):
    """A part in the index, without its files."""

    picture_state: PictureState


# The index's columns by the fields of a row; `run` is in a separate table.
COLUMNS = {one.name: "time" if one.name == "time_s" else one.name for one in fields(Row) if one.name != "run"}


class Files(NamedTuple):
    """Paths of a part's files, relative to the archive's folder; `bytes` is their total size."""

    picture: str | None = None
    overlay: str | None = None
    depth: str | None = None
    json: str | None = None
    bytes: int = 0

    @property
    def paths(self) -> list[str]:
        """Return the existing files; the JSON file, which the others depend on, first."""
        return [path for path in (self.json, self.picture, self.overlay, self.depth) if path is not None]


class Outcome(NamedTuple):
    """The outcome for the picture of one part; `passed`: whether its verdict is pass."""

    run: str
    number: int
    passed: bool
    state: PictureState
    files: Files = Files()


def row_of(record: PartRecord, state: PictureState) -> Row:
    """Return the row of one part."""
    return Row(**vars(record), picture_state=state)
