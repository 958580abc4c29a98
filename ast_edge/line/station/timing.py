"""What must happen when."""

from __future__ import annotations

from dataclasses import dataclass

from ast_edge.line.part import Trigger


@dataclass(frozen=True)
class Timing:
    """What must happen when, in milliseconds.

    `deadline_ms` from trigger to verdict; a part that is not decided by then is a fault. `max_frame_age_ms`:
    a frame that arrived longer before its trigger does not show the part; with `settle_ms` frames that arrive
    less than this after the trigger do not show it yet. `drain_s` seconds are given to open parts and to
    outputs when the station stops; `max_waiting` parts may wait. With `refuse_repeated` a frame that equals
    the one before it is a fault: no real camera gives the same noise twice, a frozen one does.
    """

    deadline_ms: float = 200.0
    max_frame_age_ms: float = 0.0
    settle_ms: float = 0.0
    drain_s: float = 5.0
    max_waiting: int = 64
    refuse_repeated: bool = True

    def earliest_ns(self, trigger: Trigger) -> int:
        """When a frame that shows this part arrives at the earliest."""
        return trigger.there_ns + int((self.settle_ms - self.max_frame_age_ms) * 1e6)

    def deadline_ns(self, trigger: Trigger) -> int:
        """When its verdict must be there."""
        return trigger.at_ns + int(self.deadline_ms * 1e6)
