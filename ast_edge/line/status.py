"""The status of the station for outputs, metrics and the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from ast_edge.cameras.base import State

StationState = Literal["starting", "running", "paused", "stopping", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Triggers entered, results by verdict, parts still open: `triggers == given + open`, always."""

    triggers: int
    verdicts: dict[str, int]
    open: int

    @property
    def given(self) -> int:
        """Results given."""
        return sum(self.verdicts.values())

    @property
    def balanced(self) -> bool:
        """Whether every trigger has a result or is still open."""
        return self.triggers == self.given + self.open


# Why the next part may not be judged: the station is not running, its camera or its trigger is not connected,
# it hangs, or its ledger does not balance.
Obstacle = Literal["state", "camera", "trigger", "hung", "ledger"]
# Alarms about the fraction of faults or rejects among the last parts.
AlarmKind = Literal["faults", "rejects", "stuck"]


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """State outside the station itself: why its trigger is not connected and what hangs, empty if all is
    well; warnings and alarms in force, a sentence each; and by name, why an output does not deliver.
    """

    trigger: str = ""
    hung: str = ""
    warnings: tuple[str, ...] = ()
    alarms: Mapping[AlarmKind, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StationStatus:
    """The station at one moment. `frame_age_s` is None before the first frame, `waiting` parts in the queue.

    `failures` counts unexpected errors. `gaps` counts occasions on which an unknown number of parts passed
    unseen: from the first one on, counters and `judged` are incomplete.
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
        """Why the next part may not be judged, a sentence each; empty if it will be."""
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
        """Whether the next part will be judged, as far as is known."""
        return not self.obstacles

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for people, a sentence each; includes alarms and gaps."""
        gap = (f"parts passed uncounted {self.gaps} times: {self.last_gap}",) if self.gaps else ()
        return (*self.surroundings.alarms.values(), *gap, *self.surroundings.warnings)

    def at_end(self) -> StationStatus:
        """Return the final status of the station: stopped."""
        return replace(self, state="stopped")

    def as_dict(self) -> dict[str, object]:
        """Return the station for outputs: plain values that change only when something happens."""
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
            "outputs_failing": list(self.surroundings.outputs.values()),
            "warnings": list(self.warnings),
        }

    def as_sentence(self) -> str:
        """Describe the station in one line, for a service manager."""
        counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(self.balance.verdicts.items()))
        said = "; ".join(self.obstacles.values()) or "ready"
        return f"{said}; recipe {self.recipe}: {counts or 'no part yet'}"


class StationView(Protocol):
    """Provides the station's status; from any thread, without waiting."""

    def status(self) -> StationStatus:
        """Return the current status."""
