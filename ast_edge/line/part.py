"""A part: it begins with a trigger and ends with exactly one result."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import cached_property
from typing import Annotated

from pydantic import Field

from ast_edge.cameras.base import Frame
from ast_edge.inspector import Inspection
from ast_edge.model.manifest import ModelSpec
from ast_edge.verdict.scoring import Verdict

MOST_TEXT, MOST_NAME = 1000, 256  # characters of a reason and of a name
_INT64 = 1 << 63
Finite = Annotated[float, Field(allow_inf_nan=False)]
Int64 = Annotated[int, Field(ge=-_INT64, lt=_INT64)]


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """The moment at which a part is in place.

    `number` counts the triggers of one run of the station from 1; `at_ns` is `time.monotonic_ns()`, `wall_s`
    `time.time()`; `encoder` is the conveyor's count at that moment, None without an encoder; `source` names
    the origin of the trigger; `external_id` is the source's own number or name for the part. If only an
    interval is known, `at_ns` is its start and `until_ns` its end: the deadline counts from the start, and a
    picture is certain to show the part only after the end.
    """

    number: int
    at_ns: int
    wall_s: float
    encoder: int | None = None
    source: str = "software"
    external_id: str | None = None
    until_ns: int | None = None

    @property
    def there_ns(self) -> int:
        """The part is certainly in place from this moment on."""
        return self.at_ns if self.until_ns is None else self.until_ns


@dataclass(frozen=True, kw_only=True)
class PartRecord:
    """The stored and transmitted record of a judged part: used by index, JSON file, reader and outputs.

    Plain values: Unicode texts of bounded length, numbers that are finite or None. `time_s` is the trigger's
    `time.time()`.
    """

    run: str
    number: Annotated[int, Field(ge=0, lt=_INT64)]
    time_s: Finite
    external_id: str | None
    encoder: Int64 | None
    trigger: str
    recipe: str
    verdict: Verdict
    reason: str
    score: Finite | None
    threshold: Finite | None
    latency_ms: Finite | None
    source: str

    @property
    def part_id(self) -> str:
        """Globally unique, and usable as a file name."""
        return f"{self.run}-{self.number:07d}"

    @property
    def time(self) -> str:
        """The trigger's time in UTC, ISO 8601 with milliseconds."""
        try:
            moment = datetime.fromtimestamp(self.time_s, timezone.utc)
        except (OverflowError, ValueError, OSError):
            return f"{self.time_s} s"
        return moment.isoformat(timespec="milliseconds")

    def as_dict(self) -> dict[str, object]:
        """Return the part for JSON; `time` is text."""
        return {
            "part_id": self.part_id,
            "run": self.run,
            "number": self.number,
            "external_id": self.external_id,
            "time": self.time,
            "encoder": self.encoder,
            "trigger": self.trigger,
            "recipe": self.recipe,
            "verdict": self.verdict,
            "reason": self.reason,
            "score": self.score,
            "threshold": self.threshold,
            "latency_ms": self.latency_ms,
            "source": self.source,
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class PartResult:
    """The result of one trigger; the same object goes to every output and to the archive.

    `run` names this run of the station, so that `(run, number)` is globally unique. `score` is NaN and
    `inspection` None if the network was not run. `latency_ms` is from trigger to verdict. `spec` is the
    specification of the model in force.
    """

    run: str
    trigger: Trigger
    recipe: str
    verdict: Verdict
    reason: str
    score: float
    threshold: float
    latency_ms: float
    stages_ms: Mapping[str, float]
    frame: Frame | None = field(default=None, repr=False)
    inspection: Inspection | None = field(default=None, repr=False)
    spec: ModelSpec | None = field(default=None, repr=False)

    def without_pictures(self) -> PartResult:
        """Return the result without pictures, which would fill the memory of a queue."""
        frame = None if self.frame is None else replace(self.frame, pixels=None, depth_m=None)
        return replace(self, frame=frame, inspection=None)

    @property
    def number(self) -> int:
        """The trigger's number."""
        return self.trigger.number

    @property
    def part_id(self) -> str:
        """That of the record."""
        return self.record.part_id

    @cached_property
    def record(self) -> PartRecord:
        """Return the record, with values from outside made plain."""
        trigger = self.trigger
        encoder = trigger.encoder
        return PartRecord(
            run=_text(self.run, MOST_NAME),
            number=trigger.number,
            time_s=_finite(trigger.wall_s) or 0.0,
            external_id=None if trigger.external_id is None else _text(trigger.external_id, MOST_NAME),
            encoder=encoder if encoder is not None and -_INT64 <= encoder < _INT64 else None,
            trigger=_text(trigger.source, MOST_NAME),
            recipe=_text(self.recipe, MOST_NAME),
            verdict=self.verdict,
            reason=_text(self.reason, MOST_TEXT),
            score=_finite(self.score),
            threshold=_finite(self.threshold),
            latency_ms=_finite(self.latency_ms),
            source=_text(self.frame.source if self.frame is not None else "", MOST_TEXT),
        )

    @property
    def finite_stages_ms(self) -> dict[str, float]:
        """`stages_ms` without values that JSON cannot represent."""
        return {name: float(value) for name, value in self.stages_ms.items() if math.isfinite(value)}

    def as_dict(self) -> dict[str, object]:
        """Return the record and the stages, times rounded to microseconds."""
        record = self.record
        rounded = {name: round(value, 3) for name, value in self.finite_stages_ms.items()}
        latency_ms = None if record.latency_ms is None else round(record.latency_ms, 3)
        return {**record.as_dict(), "latency_ms": latency_ms, "stages_ms": rounded}

    def as_json(self) -> str:
        """Return `as_dict` as one line."""
        return json.dumps(self.as_dict(), allow_nan=False)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _text(text: str, most: int) -> str:
    """Truncate, and remove the lone surrogates that SQLite and UTF-8 refuse."""
    return text[:most].encode("utf-8", "replace").decode()
