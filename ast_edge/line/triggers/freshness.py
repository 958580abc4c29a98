"""When a part was in place, as far as its trigger shows, and whether that is recent enough for a picture.

A trigger is never a point in time: a polled counter moved at some time between two polls, a message was in
transit for an unknown time. Each kind of source bounds that interval, and a part outside the bound is missed,
which is a fault: by then the camera may see an empty belt, or the next part.

- Polls of a PLC (`modbus`, `s7`, `ethernet-ip`): at most `max_gap_ms` may pass between sending one request
and the answer to the next.
- Clocks (`timer`): a moment noticed more than `max_gap_ms` after it was due is missed.
- Messages (`mqtt`, and `software` over HTTP): they carry `sent_ms`, the sender's clock, and may be up to
`max_age_ms` old when the station handles them. Both clocks must be synchronised, by NTP or PTP.
- Edges (`gpio`) carry the kernel's own time and need no bound here; how late a picture may be taken is
  decided by `ast_edge.line.station.timing.Timing`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

GapMs = Annotated[float, Field(gt=0, le=60_000)]
USUAL_GAP_MS = 100.0
NEEDS_AGE = (
    "max_age_ms is required: a message can take long to arrive, and a part that has left would be judged by "
    "another part's picture; set it, with timing.picture_within_ms, to less than a part stays before the "
    "camera, synchronise the clocks, and send sent_ms"
)
_GAP_IN_POLLS = 3
# How far ahead of ours a sender's clock may be, as a fraction of the allowed age: synchronised clocks still
# differ, and one that runs ahead makes every message look younger than it is.
_AHEAD_SHARE = 0.5


class StaleError(Exception):
    """A trigger that does not prove that its part is still in place; the message says why."""


@dataclass(frozen=True)
class Moment:
    """The part arrived between `at_ns` and `until_ns` (monotonic); its deadline counts from `at_ns`."""

    at_ns: int
    until_ns: int


def gap_allowed(given_ms: float | None, poll_ms: float = 0.0) -> float:
    """Return the longest gap between two polls in milliseconds: as configured, else 100 or three polls."""
    return max(USUAL_GAP_MS, _GAP_IN_POLLS * poll_ms) if given_ms is None else given_ms


def too_long(from_ns: int, to_ns: int, max_gap_ms: float) -> str:
    """Return why a part that arrived in this interval is missed; empty if the interval is short enough."""
    gap_ms = (to_ns - from_ns) / 1e6
    if gap_ms <= max_gap_ms:
        return ""
    return f"seen up to {gap_ms:.0f} ms after it arrived, max_gap_ms is {max_gap_ms:g}: the part may be gone"


def message_moment(sent_ms: float | None, max_age_ms: float) -> Moment:
    """Return when the part of a message handled now arrived; `sent_ms` is UNIX time in milliseconds.

    Raises StaleError for a message without a time, older than `max_age_ms`, or from the future.
    """
    now_ns, wall_ms = time.monotonic_ns(), time.time() * 1e3
    if sent_ms is None:
        raise StaleError("the trigger has no sent_ms, so its age is unknown")
    age_ms = wall_ms - sent_ms
    if age_ms > max_age_ms:
        raise StaleError(f"the trigger is {age_ms:.0f} ms old, max_age_ms is {max_age_ms:g}")
    if -age_ms > max_age_ms * _AHEAD_SHARE:
        raise StaleError(
            f"the trigger was sent {-age_ms:.0f} ms in the future: synchronise the sender's clock"
        )
    return Moment(now_ns - int(max(age_ms, 0.0) * 1e6), now_ns)
