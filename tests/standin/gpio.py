"""A GPIO chip without a kernel that has one: what `gpiod.request_lines` gives, and how it refuses.

Settings, events, words and errors are gpiod's own; only the kernel behind them is played here, as its
documentation and source have it: each line's edges are numbered, the buffer of a request drops its oldest, a
level must hold for the debounce period, a line has one user. The same tests run on the kernel's simulator
where there is one (tests/line/gpio_bench.py).
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import gpiod
from gpiod.exception import RequestReleasedError
from gpiod.line import Direction, Edge, Value

Config = dict[Iterable[int | str] | int | str, gpiod.LineSettings | None]
MOST_EVENTS = 1024
_RISING, _FALLING = gpiod.EdgeEvent.Type.RISING_EDGE.value, gpiod.EdgeEvent.Type.FALLING_EDGE.value


def refusal(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@dataclass
class Line:
    """One line: its level on the wire, who has it, and its edges."""

    name: str
    level: bool = False
    settings: gpiod.LineSettings | None = None
    seqno: int = 0
    steady: bool = False  # the logical level that was last accepted
    since_ns: int | None = None  # when it began to differ, while the debounce period runs


class StandInChip:
    """The kernel's side of a chip; `path` is where it is. Tests pull inputs and look at levels."""

    def __init__(self, path: str, names: Iterable[str]) -> None:
        self.path = path
        self.lines = [Line(name) for name in names]
        self.there = True
        self.changed = threading.Condition()
        self.requests: list[StandInRequest] = []

    def pull(self, offset: int, *, high: bool) -> None:
        with self.changed:
            line = self.lines[offset]
            self._settle()
            line.level = high
            self._notice(offset, time.monotonic_ns())
            self._settle()
            self.changed.notify_all()

    def level(self, offset: int) -> bool:
        return self.lines[offset].level

    def unplug(self) -> None:
        with self.changed:
            self.there = False
            for line in self.lines:
                line.settings = None
            self.changed.notify_all()

    def plug(self) -> None:
        self.there = True

    # ---- for requests, under the lock ----------------------------------------------------------------------

    def take(self, offset: int, settings: gpiod.LineSettings) -> None:
        line = self.lines[offset]
        if line.settings is not None:
            raise refusal(errno.EBUSY)
        line.settings, line.seqno, line.since_ns = settings, 0, None
        if settings.direction is Direction.OUTPUT:
            line.level = (settings.output_value is Value.ACTIVE) != settings.active_low
        line.steady = line.level != settings.active_low

    def _notice(self, offset: int, now_ns: int) -> None:
        """The wire changed: an edge at once, or when the level has held for the debounce period."""
        line = self.lines[offset]
        if line.settings is None or line.settings.edge_detection is Edge.NONE:
            return
        logical = line.level != line.settings.active_low
        if logical == line.steady:
            line.since_ns = None
        elif not line.settings.debounce_period:
            self._edge(offset, now_ns)
        else:
            line.since_ns = now_ns

    def _settle(self) -> None:
        now = time.monotonic_ns()
        for offset, line in enumerate(self.lines):
            if line.since_ns is not None and line.settings is not None:
                over = line.since_ns + int(line.settings.debounce_period.total_seconds() * 1e9)
                if now >= over:
                    line.since_ns = None
                    self._edge(offset, over)

    def _edge(self, offset: int, at_ns: int) -> None:
        line = self.lines[offset]
        assert line.settings is not None
        line.steady = not line.steady
        wanted = line.settings.edge_detection
        if wanted not in {Edge.BOTH, Edge.RISING if line.steady else Edge.FALLING}:
            return
        line.seqno += 1
        for request in self.requests:
            request.happened(offset, at_ns, rising=line.steady)

    def settle(self) -> None:
        self._settle()


class StandInRequest:
    """What gpiod.LineRequest is; the methods that ast-edge uses."""

    def __init__(self, chip: StandInChip, taken: dict[int | str, int], room: int) -> None:
        self._chip, self._taken = chip, taken
        self._events: deque[gpiod.EdgeEvent] = deque(maxlen=room)
        self._global = 0
        self._released = False
        chip.requests.append(self)

    def happened(self, offset: int, at_ns: int, *, rising: bool) -> None:
        if offset in self._taken.values():
            self._global += 1
            kind = _RISING if rising else _FALLING
            seqno = self._chip.lines[offset].seqno
            self._events.append(gpiod.EdgeEvent(kind, at_ns, offset, self._global, seqno))

    def release(self) -> None:
        with self._chip.changed:
            if self._released:
                return
            self._released = True
            self._chip.requests.remove(self)
            for offset in self._taken.values():
                self._chip.lines[offset].settings = None

    def set_value(self, line: int | str, value: Value) -> None:
        with self._chip.changed:
            self._check()
            if not isinstance(value, Value):
                raise TypeError("the value is no gpiod.line.Value")
            if isinstance(line, str) and line not in self._taken:
                raise ValueError(f"unknown line name: {line}")
            offset = self._taken.get(line, line)
            if offset not in self._taken.values():
                raise ValueError(errno.EINVAL, os.strerror(errno.EINVAL))
            assert isinstance(offset, int)
            settings = self._chip.lines[offset].settings
            if settings is None or settings.direction is not Direction.OUTPUT:
                raise refusal(errno.EPERM)
            self._chip.lines[offset].level = (value is Value.ACTIVE) != settings.active_low

    def wait_edge_events(self, timeout: timedelta | float | None = None) -> bool:
        if isinstance(timeout, timedelta):
            timeout = timeout.total_seconds()
        end = None if timeout is None else time.monotonic() + timeout
        with self._chip.changed:
            while True:
                self._check()
                self._chip.settle()
                if self._events:
                    return True
                left = 1.0 if end is None else end - time.monotonic()
                if left <= 0:
                    return False
                self._chip.changed.wait(min(left, 0.001))  # a debounce period may end meanwhile

    def read_edge_events(self, max_events: int | None = None) -> list[gpiod.EdgeEvent]:
        self.wait_edge_events(None)  # as the real one: without events it blocks
        with self._chip.changed:
            count = min(max_events or 64, len(self._events))
            return [self._events.popleft() for _ in range(count)]

    def _check(self) -> None:
        if self._released:
            raise RequestReleasedError
        if not self._chip.there:
            raise refusal(errno.ENODEV)


def request_lines_of(chips: dict[str, StandInChip]):  # type: ignore[no-untyped-def]
    """What takes the place of `gpiod.request_lines`."""

    def request_lines(
        path: str,
        config: Config,
        consumer: str | None = None,
        event_buffer_size: int | None = None,
        output_values: dict[int | str, Value] | None = None,
    ) -> StandInRequest:
        chip = chips.get(path)
        if chip is None or not chip.there:
            raise refusal(errno.ENOENT)
        assert output_values is None, "the stand-in does not know output_values"
        with chip.changed:
            taken: dict[int | str, int] = {}
            for line in config:
                assert isinstance(line, int | str), "the stand-in knows single lines only"
                offset = _offset(chip, line)
                if offset in taken.values():
                    raise ValueError(f"line must be configured exactly once - offset {offset} repeats")
                taken[line] = offset
            for line, offset in taken.items():
                chip.take(offset, config[line] or gpiod.LineSettings())
        return StandInRequest(chip, taken, min(event_buffer_size or 16 * len(taken), MOST_EVENTS))

    return request_lines


def _offset(chip: StandInChip, line: int | str) -> int:
    names = [known.name for known in chip.lines]
    if isinstance(line, str):
        if line in names:
            return names.index(line)
        if not line.isdecimal():
            raise refusal(errno.ENOENT)
    if int(line) >= len(names):
        raise ValueError("line offset of out range")
    return int(line)
