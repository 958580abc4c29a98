"""The section `archive` of line.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ast_edge.line.config.options import Options

Days = Annotated[float, Field(gt=0, le=36_500)]


class ArchiveOptions(Options):
    """What is stored of each part, where, and for how long.

    Every part gets a row in `folder`/index.sqlite, within about 0.2 s: a kill or a power failure loses the
    rows of that last moment, which the next start reports in the log; what a PLC must know of them is in its
    own registers. Rejects, faults and every `every_nth_pass`-th pass (starting with the first; 0: no pass)
    also get their picture, in `format`: "png" is lossless, with `png_level` 0 (fast, large) to 9; "jpeg" has
    `jpeg_quality` 1 to 100. `overlay` adds the picture with heat map.

    Pictures are removed, the oldest passes first, when they are older than `keep_days` days, when more than
    `keep_parts` parts have pictures, or when less than `min_free_gb` GB (10^9 bytes) of the disk are free;
    rejects and faults only if no passes are left to remove, except for `keep_days`, which applies to all.
    With `protect_rejects` rejects and faults are never removed: instead no more pictures are stored, and a
    warning reports that. Rows are kept until there are more than `keep_rows`.

    Days are counted by the archive's own clock: it runs while the station does and adds, at each start, the
    time that the station was off, but never more than a week. A system clock that is set back or forward
    therefore deletes nothing, and pictures live longer if the station is off for weeks.

    `sync` "full" syncs each picture and each batch of rows to disk before continuing; "normal" leaves that to
    the system: a kill loses no more than with "full", a power failure some seconds more. Pictures waiting to
    be written use at most `queue_mb` MB (10^6 bytes) of memory.
    """

    folder: Path
    every_nth_pass: Annotated[int, Field(ge=0, le=1_000_000_000)] = 100
    format: Literal["png", "jpeg"] = "png"
    png_level: Annotated[int, Field(ge=0, le=9)] = 1
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 90
    overlay: bool = True
    keep_days: Days | None = 30
    keep_parts: Annotated[int, Field(ge=1)] | None = None
    min_free_gb: Annotated[float, Field(ge=0, le=1_000_000)] = 1.0
    protect_rejects: bool = False
    keep_rows: Annotated[int, Field(ge=1000, le=1_000_000_000)] = 10_000_000
    sync: Literal["full", "normal"] = "full"
    queue_mb: Annotated[float, Field(gt=0, le=65_536)] = 256

    @property
    def min_free_bytes(self) -> int:
        """`min_free_gb` in bytes."""
        return int(self.min_free_gb * 1e9)

    @property
    def keep_s(self) -> float | None:
        """`keep_days` in seconds."""
        return None if self.keep_days is None else self.keep_days * 86_400
