"""The position of the conveyor, from an encoder that may wrap around, stand still, be silent or wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

# No encoder read over a field bus counts faster; a larger jump means that it was reset.
FASTEST_PER_S = 65_536
UNREADABLE_NS = 1_000_000_000
STILL_NS = 1_000_000_000
# Consecutive parts with the same count: the parts move and the encoder does not count. Two may be one part
# that bounced in front of its sensor.
_STUCK_PARTS = 3

BeltState = Literal["unknown", "moving", "still", "backwards", "unreadable", "stuck"]


@dataclass(frozen=True)
class EncoderReading:
    """An encoder's count, 0 or more, and its time on `time.monotonic_ns()`."""

    count: int
    at_ns: int


@runtime_checkable
class EncoderSource(Protocol):
    """Reads an encoder; from any thread, without waiting."""

    def position(self) -> EncoderReading | None:
        """Return the newest reading; None while the encoder cannot be read."""


class Belt:
    """Counts without wrap-around; pure, with time passed in.

    `bits` is the width at which the encoder wraps. A step back of more than `tolerance` between two readings,
    or of more than `distance` in total, an impossibly large step forward, and a silence during which the
    counter may have made half a revolution each invalidate earlier positions and count as one more `break_`.
    """

    def __init__(self, bits: int, *, tolerance: int, distance: int) -> None:
        self._size = 1 << bits
        self._tolerance, self._distance = tolerance, distance
        self._last: EncoderReading | None = None
        self._furthest = 0
        self._moved_ns = 0
        self._back = False
        self._part_count: int | None = None
        self._alike = 0
        self.position = 0
        self.breaks = 0
        self.why = ""

    def read(self, reading: EncoderReading | None) -> None:
        """Process the encoder's newest reading."""
        if reading is None or (self._last is not None and reading.at_ns <= self._last.at_ns):
            return
        count = reading.count % self._size
        if self._last is None:
            self.position = self._furthest = count
            self._moved_ns = reading.at_ns
        else:
            self._step(
                self._signed(count - self._last.count), reading.at_ns - self._last.at_ns, reading.at_ns
            )
        self._last = EncoderReading(count, reading.at_ns)

    def part(self, count: int, at_ns: int) -> None:
        """Process the count of a triggered part: a reading, and evidence that the encoder still counts."""
        self.read(EncoderReading(count, at_ns))
        self._alike = self._alike + 1 if count == self._part_count else 1
        self._part_count = count
        if self._alike == _STUCK_PARTS:
            self._break("parts arrive but the encoder does not count")

    def place(self, count: int) -> int:
        """Return the position for a count near the current one."""
        last = self._last.count if self._last is not None else count
        return self.position + self._signed(count - last)

    def state(self, now_ns: int) -> BeltState:
        """Return the current state of the encoder."""
        if self._last is None:
            return "unknown"
        if now_ns - self._last.at_ns > UNREADABLE_NS:
            return "unreadable"
        if self._alike >= _STUCK_PARTS:
            return "stuck"
        if self._back:
            return "backwards"
        return "still" if now_ns - self._moved_ns > STILL_NS else "moving"

    def usable(self, now_ns: int) -> bool:
        """Whether a part's distance to the gate can be measured now."""
        return self.state(now_ns) not in {"unknown", "unreadable", "stuck"}

    def _signed(self, difference: int) -> int:
        """Return the signed difference with the smaller magnitude."""
        half = self._size // 2
        return (difference + half) % self._size - half

    def _step(self, delta: int, gap_ns: int, at_ns: int) -> None:
        reach = FASTEST_PER_S * gap_ns // 1_000_000_000
        self.position += delta
        if delta:
            self._moved_ns, self._back = at_ns, delta < 0
        if reach >= self._size // 2:
            self._break(f"the encoder was not read for {gap_ns / 1e9:.1f} s and may have wrapped around")
        elif abs(delta) > reach + self._tolerance:
            self._break(f"the encoder jumped by {delta}")
        elif delta < -self._tolerance or self._furthest - self.position > self._distance:
            self._break(f"the conveyor moved back by {self._furthest - self.position}")
        self._furthest = max(self._furthest, self.position)

    def _break(self, why: str) -> None:
        self._furthest = self.position
        self.breaks += 1
        self.why = why
