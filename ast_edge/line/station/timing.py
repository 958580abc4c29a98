"""What must happen when."""

from __future__ import annotations

from dataclasses import dataclass

from ast_edge.cameras.base import Frame
from ast_edge.line.part import Trigger


@dataclass(frozen=True)
class Timing:
    """What must happen when, in milliseconds.

    `deadline_ms` from trigger to verdict; a part that is not decided by then is a fault. A picture shows a
    part when its exposure began after the part was there for certain (`Trigger.there_ns`), and `settle_ms`
    later where it must come to rest first; with `max_frame_age_ms` it may have begun so much earlier, for a
    camera that a sensor before the trigger exposes. It does not show the part any more `picture_within_ms`
    after the earliest moment at which it may be taken; None sets no bound but the deadline. `delay_ms` is how
    long a camera that cannot tell has its frames under way, from exposure to arrival, at most; None: unknown,
    and no picture of such a camera can be trusted. `drain_s` seconds are given to open parts and to outputs
    when the station stops; `max_waiting` parts may wait. With `refuse_repeated` a frame that equals the one
    before it is a fault: no real camera gives the same noise twice, a frozen one does.
    """

    deadline_ms: float = 200.0
    max_frame_age_ms: float = 0.0
    settle_ms: float = 0.0
    picture_within_ms: float | None = None
    delay_ms: float | None = None
    drain_s: float = 5.0
    max_waiting: int = 64
    refuse_repeated: bool = True

    def earliest_ns(self, trigger: Trigger) -> int:
        """When the exposure of a frame that shows this part begins at the earliest."""
        return trigger.there_ns + int((self.settle_ms - self.max_frame_age_ms) * 1e6)

    def exposed_ns(self, frame: Frame) -> int | None:
        """When the frame's exposure began at the earliest; None where nothing tells."""
        if frame.exposed_from_ns is not None:
            return frame.exposed_from_ns
        return None if self.delay_ms is None else frame.latest_ns - int(self.delay_ms * 1e6)

    def too_late(self, trigger: Trigger, at_ns: int) -> str:
        """In words, as "80 ms after ...", why a picture of that moment may show another part; else empty."""
        if self.picture_within_ms is None:
            return ""
        after_ms = (at_ns - trigger.there_ns) / 1e6 - self.settle_ms
        if after_ms <= self.picture_within_ms:
            return ""
        return f"{after_ms:.0f} ms after the part was there, picture_within_ms is {self.picture_within_ms:g}"

    def deadline_ns(self, trigger: Trigger) -> int:
        """When its verdict must be there."""
        return trigger.at_ns + int(self.deadline_ms * 1e6)
