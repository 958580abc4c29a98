"""Events on a line other than verdicts, for log, audit, metrics and outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

# start, stop: of the station; recipe: taken, refused; operator: a request of a person; camera, output,
# trigger: a connection was made or lost, or parts were missed; drift, archive, alarm: a warning began or
# ended; failure: an unexpected error; invariant: the ledger does not balance, which must never happen.
EventKind = Literal[
    "start",
    "stop",
    "recipe",
    "operator",
    "camera",
    "trigger",
    "output",
    "archive",
    "drift",
    "alarm",
    "failure",
    "invariant",
]


@dataclass(frozen=True)
class Event:
    """An event; `wall_s` is `time.time()`, `details` plain values without secrets."""

    kind: EventKind
    details: Mapping[str, object]
    wall_s: float


Report = Callable[[EventKind, Mapping[str, object]], None]


def ignore(kind: EventKind, details: Mapping[str, object]) -> None:
    """Ignore an event."""
