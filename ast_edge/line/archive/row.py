"""What the index says about one part: its record, what became of its picture, and where its files lie."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

from ast_edge.line.part import PartRecord

# none: nothing was to be kept (a pass that was not chosen, or no frame); waiting: on its way to the disk;
# kept: written; crowded: too many pictures waited; unwritable: the disk refused it, or it cannot be drawn;
# stopped: the limits are reached and what is there is protected; interrupted: the station ended before it was
# written; expired: removed by the limits; missing: was kept, but its files are gone or changed.
PictureState = Literal[
    "none", "waiting", "kept", "crowded", "unwritable", "stopped", "interrupted", "expired", "missing"
]


@dataclass(frozen=True, kw_only=True)
class Row(PartRecord):
    """A part as it stands in the index, but for its files."""

    picture_state: PictureState


# The index's columns by the fields of a row; `run` is in a table of its own.
COLUMNS = {one.name: "time" if one.name == "time_s" else one.name for one in fields(Row) if one.name != "run"}


class Files(NamedTuple):
    """Where a part's files lie, relative to the archive's folder; `bytes` of all of them together."""

    picture: str | None = None
    overlay: str | None = None
    depth: str | None = None
    json: str | None = None
    bytes: int = 0

    @property
    def paths(self) -> list[str]:
        """Those that there are; the JSON file, without which the others are worth nothing, first."""
        return [path for path in (self.json, self.picture, self.overlay, self.depth) if path is not None]


class Outcome(NamedTuple):
    """What became of the picture of one part; `passed`: whether its verdict is pass."""

    run: str
    number: int
    passed: bool
    state: PictureState
    files: Files = Files()


def row_of(record: PartRecord, state: PictureState) -> Row:
    """The row of one part."""
    return Row(**vars(record), picture_state=state)
