"""What the index says about one part; every value fits its column, whatever came from outside."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from ast_edge.line.part import PartResult

# none: nothing was to be kept (a pass that was not chosen, or no frame); waiting: on its way to the disk;
# kept: written; crowded: too many pictures waited; unwritable: the disk refused it, or it cannot be drawn;
# stopped: the limits are reached and what is there is protected; interrupted: the station ended before it was
# written; expired: removed by the limits; missing: was kept, but its files are gone or changed.
PictureState = Literal[
    "none", "waiting", "kept", "crowded", "unwritable", "stopped", "interrupted", "expired", "missing"
]
_REASON_CHARS, _NAME_CHARS = 1000, 256
_INT64 = 1 << 63


class Row(NamedTuple):
    """A part as it stands in the index, but for its files; times in seconds, `time` is `time.time()`."""

    run: str
    number: int
    time: float
    external_id: str | None
    encoder: int | None
    trigger: str
    recipe: str
    verdict: str
    reason: str
    score: float | None
    threshold: float | None
    latency_ms: float | None
    source: str
    picture_state: PictureState

    @property
    def key(self) -> tuple[str, int]:
        """Run and number, unique for ever."""
        return self.run, self.number


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


def row_of(result: PartResult, state: PictureState) -> Row:
    """The row of one result: a few microseconds, without its pictures."""
    trigger, external = result.trigger, result.trigger.external_id
    return Row(
        _text(result.run, _NAME_CHARS),
        trigger.number,
        _finite(trigger.wall_s) or 0.0,
        None if external is None else _text(external, _NAME_CHARS),
        trigger.encoder if trigger.encoder is not None and -_INT64 <= trigger.encoder < _INT64 else None,
        _text(trigger.source, _NAME_CHARS),
        _text(result.recipe, _NAME_CHARS),
        result.verdict,
        _text(result.reason, _REASON_CHARS),
        _finite(result.score),
        _finite(result.threshold),
        _finite(result.latency_ms),
        _text(result.frame.source if result.frame is not None else "", _REASON_CHARS),
        state,
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _text(text: str, most: int) -> str:
    """Cut off, and without the lone surrogates that SQLite refuses."""
    return text[:most].encode("utf-8", "replace").decode()
