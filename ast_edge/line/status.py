"""What the station says about itself to outputs, metrics and the page."""

from __future__ import annotations

from dataclasses import dataclass, replace
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


@dataclass(frozen=True, kw_only=True)
class StationStatus:
    """The station at one moment. `frame_age_s` is None before the first frame, `waiting` parts in the queue.

    `failures` counts unexpected errors; `warnings` are in force now, one sentence each.
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
    warnings: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether the next part will be judged, as far as can be known now."""
        return self.state == "running" and self.camera == "live" and self.balance.balanced

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
            "recipe": self.recipe,
            "threshold": self.threshold,
            "camera": self.camera,
            "triggers": self.balance.triggers,
            "passed": verdicts.get("pass", 0),
            "rejected": verdicts.get("reject", 0),
            "faults": verdicts.get("fault", 0),
            "open": self.balance.open,
            "balanced": self.balance.balanced,
            "failures": self.failures,
            "last_failure": self.last_failure,
            "warnings": list(self.warnings),
        }


class StationView(Protocol):
    """Says how the station is; from any thread, without waiting."""

    def status(self) -> StationStatus:
        """The station now."""
