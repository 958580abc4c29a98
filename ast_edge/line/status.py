"""What the station says about itself to outputs, metrics and the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from ast_edge.cameras.base import State

StationState = Literal["starting", "running", "paused", "stopping", "stopped"]


@dataclass(frozen=True)
class Balance:
    """Triggers entered, results given by verdict, parts still open: `triggers == given + open`, always."""

    triggers: int
    verdicts: dict[str, int]
    open: int

    @property
    def given(self) -> int:
        """Results given."""
        return sum(self.verdicts.values())

    @property
    def balanced(self) -> bool:
        """Whether every trigger has its result or is still open."""
        return self.triggers == self.given + self.open


# Why the next part may not be judged: the station does not run, its camera or its trigger is away, it hangs,
# or its ledger does not balance.
Obstacle = Literal["state", "camera", "trigger", "hung", "ledger"]
# What is wrong with the share of faults or of rejects among the last parts.
AlarmKind = Literal["faults", "rejects", "stuck"]


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a station cannot see by itself: why its trigger is away and what hangs, in words, empty while all
    is well; warnings and alarms in force, a sentence each.
    """

    trigger: str = ""
    hung: str = ""
    warnings: tuple[str, ...] = ()
    alarms: Mapping[AlarmKind, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StationStatus:
    """The station at one moment. `frame_age_s` is None before the first frame, `waiting` parts in the queue.

    `failures` counts unexpected errors. `gaps` counts moments at which an unknown number of parts went by
    unseen: from the first on, counters and `judged` are not whole.
    """

    name: str
    run: str
    state: StationState
    recipe: str
    threshold: float
    camera: State
    frame_age_s: float | None
    balance: Balance
    waiting: int
    failures: int
    last_failure: str
    gaps: int = 0
    last_gap: str = ""
    surroundings: Surroundings = Surroundings()

    @property
    def obstacles(self) -> dict[Obstacle, str]:
        """Why the next part may not be judged, a sentence each; nothing while it will be."""
        found: dict[Obstacle, str] = {
            "state": "" if self.state == "running" else f"the station is {self.state}",
            "camera": "" if self.camera == "live" else f"the camera is {self.camera}",
            "trigger": self.surroundings.trigger,
            "hung": self.surroundings.hung,
            "ledger": "" if self.balance.balanced else "the ledger does not balance",
        }
        return {kind: words for kind, words in found.items() if words}

    @property
    def ready(self) -> bool:
        """Whether the next part will be judged, as far as can be known now."""
        return not self.obstacles

    @property
    def warnings(self) -> tuple[str, ...]:
        """What people should look at, a sentence each; alarms and gaps included."""
        gap = (f"parts went by uncounted {self.gaps} times: {self.last_gap}",) if self.gaps else ()
        return (*self.surroundings.alarms.values(), *gap, *self.surroundings.warnings)

    def at_end(self) -> StationStatus:
        """The same station after its last word: stopped."""
        return replace(self, state="stopped")

    def as_dict(self) -> dict[str, object]:
        """The station as every output says it: plain values, which change only when something happens."""
        verdicts = self.balance.verdicts
        return {
            "station": self.name,
            "run": self.run,
            "state": self.state,
            "ready": self.ready,
            "not_ready": list(self.obstacles.values()),
            "recipe": self.recipe,
            "threshold": self.threshold,
            "camera": self.camera,
            "triggers": self.balance.triggers,
            "passed": verdicts.get("pass", 0),
            "rejected": verdicts.get("reject", 0),
            "faults": verdicts.get("fault", 0),
            "open": self.balance.open,
            "balanced": self.balance.balanced,
            "gaps": self.gaps,
            "failures": self.failures,
            "last_failure": self.last_failure,
            "alarms": list(self.surroundings.alarms.values()),
            "warnings": list(self.warnings),
        }

    def as_sentence(self) -> str:
        """The station in one line, for a service manager."""
        counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(self.balance.verdicts.items()))
        said = "; ".join(self.obstacles.values()) or "ready"
        return f"{said}; recipe {self.recipe}: {counts or 'no part yet'}"


class StationView(Protocol):
    """Says how the station is; from any thread, without waiting."""

    def status(self) -> StationStatus:
        """The station now."""
