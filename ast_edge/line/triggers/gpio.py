"""Triggers from a GPIO line: each edge is a part, with the kernel's time stamp; and an encoder's line.

The kernel numbers the edges of a line. If numbers are missing, more edges came than its buffer holds: these
parts are missed, and are faults. Two kinds of edges are not counted by anything: those that come while no
process holds the line (before the start, or while a USB chip is unplugged), and those that follow each other
faster than the kernel's thread handles them, which it sees as one.

An encoder on another line of the chip is counted by the same numbers, so that edges beyond the buffer are
counted too. One line has no direction: a conveyor that moves back counts up. A part's count is that at the
time of its edge, and unknown if edges around it were not kept.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from ast_edge.line.config.options import Name, Options
from ast_edge.line.gate.belt import EncoderReading
from ast_edge.line.links.gpio import Chip, GpioInput, input_settings, request_lines
from ast_edge.line.triggers.watched import WatchedTrigger

if TYPE_CHECKING:
    import gpiod

ROOM = 1024  # edges per line that the kernel keeps, its maximum
_SEQUENCE = 1 << 32
_WAIT_S = 0.1
_ENCODER_S = 0.002  # maximum age of an encoder's position
_KEPT = 4 * ROOM
# The distance moved while no process held the line is unknown. No conveyor jumps this far: the gate detects
# it and drops the parts on their way.
_BREAK = (1 << 30) + 30_000
_MOST_READS = 8  # at once: too fast an encoder must not starve the sensor


class GpioTriggerOptions(Options):
    """A sensor on a line of `chip` (/dev/gpiochip0), and optionally an `encoder` on another."""

    kind: Literal["gpio"]
    name: Name = "gpio"
    chip: Chip = "/dev/gpiochip0"
    sensor: GpioInput
    encoder: GpioInput | None = None

    @model_validator(mode="after")
    def _own_lines(self) -> GpioTriggerOptions:
        if self.encoder is not None and self.encoder.line == self.sensor.line:
            raise ValueError("sensor and encoder are the same line")
        return self


class _Encoder:
    """Counts the edges of a line; remembers the times of the newest ones."""

    def __init__(self) -> None:
        self._request: gpiod.LineRequest | None = None
        self._opened = False
        self._base = self._last = 0
        self._times: deque[int] = deque(maxlen=_KEPT)
        self._counts: deque[int] = deque(maxlen=_KEPT)

    def open(self, chip: str, line: GpioInput) -> None:
        """Start to count; continues from the previous count, plus a jump."""
        self.close()
        if self._opened:
            self._base = (self._base + self._last + _BREAK) % _SEQUENCE
        self._opened, self._last = True, 0
        self._times.clear()
        self._counts.clear()
        self._request = request_lines(chip, {line.line: input_settings(line)}, events=ROOM)

    def read(self) -> EncoderReading | None:
        """Return the current count, including all edges so far."""
        if self._request is None:
            return None
        now = time.monotonic_ns()
        for _ in range(_MOST_READS):
            now = time.monotonic_ns()
            if not self._request.wait_edge_events(0):
                break
            for event in self._request.read_edge_events(ROOM):
                self._last = event.line_seqno
                self._times.append(event.timestamp_ns)
                self._counts.append((self._base + self._last) % _SEQUENCE)
        return EncoderReading((self._base + self._last) % _SEQUENCE, now)

    def at(self, moment_ns: int) -> int | None:
        """Return the count at a recent moment; None if edges around it were not kept."""
        place = bisect_right(self._times, moment_ns)
        before = self._counts[place - 1] if place else self._base
        after = self._counts[place] if place < len(self._counts) else None
        if after is not None and (after - before) % _SEQUENCE != 1:
            return None
        return before

    def close(self) -> None:
        """Release the line."""
        request, self._request = self._request, None
        if request is not None:
            request.release()


class GpioTrigger(WatchedTrigger):
    """Waits for edges on its own thread; also the encoder for a reject gate (`position`)."""

    def __init__(self, options: GpioTriggerOptions) -> None:
        super().__init__(options.name)
        self._options = options
        self._request: gpiod.LineRequest | None = None
        self._encoder = _Encoder()
        self._sequence = 0

    # ---- on the trigger's own thread -----------------------------------------------------------------------

    def _connect(self) -> None:
        sensor = self._options.sensor
        self._request = request_lines(self._options.chip, {sensor.line: input_settings(sensor)}, events=ROOM)
        self._sequence = 0
        if self._options.encoder is not None:
            self._encoder.open(self._options.chip, self._options.encoder)

    def _rest(self) -> None:
        """Return at once: `_look` waits for edges."""

    def _unknown(self) -> str:
        return "parts before this: no process held the line"

    def _look(self) -> None:
        assert self._request is not None  # noqa: S101 (opened before)
        wait_s = 0.0 if self._fresh else _WAIT_S if self._options.encoder is None else _ENCODER_S
        waiting = self._request.wait_edge_events(wait_s)
        events = self._request.read_edge_events(ROOM) if waiting else []
        # After the sensor's edges: those of the encoder up to then are all available.
        self._reading = self._encoder.read()
        for event in events:
            self._edge(event.timestamp_ns, event.line_seqno)

    def _edge(self, at_ns: int, sequence: int) -> None:
        lost = (sequence - self._sequence - 1) % _SEQUENCE
        self._sequence = sequence
        if lost:
            self._miss(lost, why="more edges came than the kernel keeps")
        self._give(at_ns, encoder=None if self._reading is None else self._encoder.at(at_ns))

    def _disconnect(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.release()
        self._encoder.close()
