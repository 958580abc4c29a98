"""Time limits of the station."""

from __future__ import annotations

from dataclasses import dataclass

from ast_edge.cameras.base import Frame
from ast_edge.line.part import Trigger


@dataclass(frozen=True)
class Timing:
    """Time limits, in milliseconds unless stated otherwise.

    `deadline_ms` from trigger to verdict; a part not decided by then is a fault. A picture shows a part if
    its exposure began after the part was certainly in place (`Trigger.there_ns`), plus `settle_ms` if it must
    come to rest first; with `max_frame_age_ms` it may have begun that much earlier, for a camera exposed by a
    sensor before the trigger. It no longer shows the part `picture_within_ms` after the earliest possible
    moment; None leaves only the deadline. `delay_ms` is the maximum time from exposure to arrival for a
    camera that does not report it; None: unknown, and no picture of such a camera can be trusted. `drain_s`
    seconds are given to open parts and to outputs when the station stops; up to `max_waiting` parts may wait.
    With `refuse_repeated` a frame equal to the previous one is a fault: a real camera never produces the same
    noise twice, a frozen one does.
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
        """Return the earliest time at which the exposure of a frame that shows this part can begin."""
        return trigger.there_ns + int((self.settle_ms - self.max_frame_age_ms) * 1e6)

    def exposed_ns(self, frame: Frame) -> int | None:
        """Return the earliest time at which the frame's exposure can have begun; None if unknown."""
        if frame.exposed_from_ns is not None:
            return frame.exposed_from_ns
        return None if self.delay_ms is None else frame.latest_ns - int(self.delay_ms * 1e6)

    def too_late(self, trigger: Trigger, at_ns: int) -> str:
        """Return why a picture taken then may show another part ("80 ms after ..."); empty if it cannot."""
        if self.picture_within_ms is None:
            return ""
        after_ms = (at_ns - trigger.there_ns) / 1e6 - self.settle_ms
        if after_ms <= self.picture_within_ms:
            return ""
        return f"{after_ms:.0f} ms after the part arrived, picture_within_ms is {self.picture_within_ms:g}"

    def deadline_ns(self, trigger: Trigger) -> int:
        """Return when its verdict is due."""
        return trigger.at_ns + int(self.deadline_ms * 1e6)
