"""A part: it begins with a trigger and ends with exactly one result."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from ast_edge.cameras.base import Frame
from ast_edge.inspector import Inspection
from ast_edge.model.manifest import ModelSpec
from ast_edge.verdict.scoring import Verdict


@dataclass(frozen=True)
class Trigger:
    """The moment at which a part is there.

    `number` counts the triggers of one run of the station from 1; `at_ns` is `time.monotonic_ns()`, `wall_s`
    `time.time()`; `encoder` is the conveyor's count at that moment, None without an encoder; `source` says
    where it came from; `external_id` is the number or name that the source itself gave to the part. Where the
    moment is known as a span alone, `at_ns` begins it and `until_ns` ends it: the deadline counts from the
    beginning, and a picture shows the part for certain only after the end.
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
        """From this moment on the part is there for certain."""
        return self.at_ns if self.until_ns is None else self.until_ns


@dataclass(frozen=True, eq=False)
class PartResult:
    """What became of one trigger: the same object goes to every output and to the archive.

    `run` names this run of the station, so that `(run, number)` is unique for ever. `score` is NaN and
    `inspection` None where the network was not asked. `latency_ms` is from trigger to verdict. `spec` is what
    the model that was in force says about itself.
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
        """The same result for whoever has to wait with it: a queue of pictures fills the memory."""
        frame = None if self.frame is None else replace(self.frame, pixels=None, depth_m=None)
        return replace(self, frame=frame, inspection=None)

    @property
    def number(self) -> int:
        """The trigger's number."""
        return self.trigger.number

    @property
    def part_id(self) -> str:
        """Unique for ever, and a fit name for a file."""
        return f"{self.run}-{self.number:07d}"

    def as_dict(self) -> dict[str, object]:
        """What is told about the part: plain values, no pictures; numbers that are not finite are None."""
        return {
            "part_id": self.part_id,
            "run": self.run,
            "number": self.number,
            "external_id": self.trigger.external_id,
            "time": datetime.fromtimestamp(self.trigger.wall_s, timezone.utc).isoformat(
                timespec="milliseconds"
            ),
            "encoder": self.trigger.encoder,
            "trigger": self.trigger.source,
            "recipe": self.recipe,
            "verdict": self.verdict,
            "reason": self.reason,
            "score": self.score if math.isfinite(self.score) else None,
            "threshold": self.threshold,
            "latency_ms": round(self.latency_ms, 3),
            "stages_ms": {name: round(value, 3) for name, value in self.stages_ms.items()},
            "source": self.frame.source if self.frame is not None else "",
        }

    def as_json(self) -> str:
        """`as_dict` as one line."""
        return json.dumps(self.as_dict(), allow_nan=False)
