"""Latency from a frame in memory to its verdict, by stage: warm up until settled, then measure.

Stages are measured inside, by CUDA events where the engine has them; the whole is measured outside, from
call to return, on one monotonic clock. The difference is reported too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter, perf_counter_ns
from typing import TYPE_CHECKING, TypedDict

import numpy as np
from numpy.typing import NDArray

from ast_edge.backends.settling import settled
from ast_edge.errors import FrameError

if TYPE_CHECKING:
    from typing import Any

    from ast_edge.frames.pixel_formats import Colour
    from ast_edge.inspector import Inspection, Inspector

MOST_WARM_UP, MOST_WARM_UP_S = 500, 60.0
# Compared candidates alternate in blocks, so that disturbances affect all of them. The first inspection of a
# block is not counted, since threads of the previous candidate may still be spinning.
BLOCK = 10


class Part(TypedDict, total=False):
    """The arguments of `Inspector.inspect`."""

    frame: NDArray[np.uint8]
    colour: Colour
    depth_m: NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Limits:
    """When to stop: after a number of parts or seconds, whichever comes first; at least one is given."""

    count: int | None
    seconds: float | None


@dataclass(frozen=True)
class WarmUp:
    """`settled` is False if times still changed by more than 5 % when the warm-up ended."""

    count: int
    seconds: float
    first_ms: float
    settled: bool


@dataclass
class Times:
    """One candidate's parts: total milliseconds, and the stages inside, row by row."""

    total_ms: list[float] = field(default_factory=list)
    stages_ms: list[Mapping[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, total_ms: float, inspection: Inspection) -> None:
        """Add one part. Raises FrameError for a fault, which never reached the engine."""
        if inspection.verdict == "fault":
            raise FrameError(f"the frame cannot be judged, so nothing was measured: {inspection.reason}.")
        self.total_ms.append(total_ms)
        self.stages_ms.append(inspection.stages_ms)


def warm_up(inspector: Inspector, part: Part, *, most: int = MOST_WARM_UP) -> WarmUp:
    """Inspect the part until its time has settled, at most `most` times or for a minute."""
    times: list[float] = []
    started = perf_counter()
    while not settled(times) and len(times) < most and perf_counter() - started < MOST_WARM_UP_S:
        total_ms, inspection = _clocked(inspector, part)
        Times().add(total_ms, inspection)
        times.append(total_ms)
    return WarmUp(len(times), round(perf_counter() - started, 3), round(times[0], 3), settled(times))


def measure(inspector: Inspector, part: Part, limits: Limits, *, callers: int = 1) -> Times:
    """Inspect the part repeatedly from `callers` threads, each with one part in flight at a time."""
    times = Times()
    started = perf_counter()
    until = None if limits.seconds is None else started + limits.seconds
    places = _Places(limits.count)
    lock = threading.Lock()

    def call() -> None:
        while places.take() and (until is None or perf_counter() < until):
            found = _clocked(inspector, part)
            with lock:
                times.add(*found)

    if callers == 1:
        call()
    else:
        _in_threads(call, callers)
    times.seconds = perf_counter() - started
    return times


def interleaved(
    inspectors: Sequence[Inspector], parts: Sequence[Part], limits: Limits
) -> tuple[list[Times], list[list[float]]]:
    """Measure candidates in blocks of `BLOCK` parts in random order; also return the median of each block."""
    found: list[Times] = [Times() for _ in inspectors]
    medians: list[list[float]] = [[] for _ in inspectors]
    order, shuffled = list(range(len(inspectors))), np.random.default_rng(0)
    started = perf_counter()
    while not _over(limits, len(found[0].total_ms), started):
        shuffled.shuffle(order)  # so that no candidate always follows the same one
        for index in order:
            inspector, part, times, blocks = inspectors[index], parts[index], found[index], medians[index]
            _clocked(inspector, part)
            begun, before = perf_counter(), len(times.total_ms)
            for _ in range(BLOCK):
                times.add(*_clocked(inspector, part))
            times.seconds += perf_counter() - begun
            blocks.append(float(np.median(times.total_ms[before:])))
    return found, medians


class _Places:
    """Hands out a number of places, unlimited if `count` is None."""

    def __init__(self, count: int | None) -> None:
        self._left, self._lock = count, threading.Lock()

    def take(self) -> bool:
        with self._lock:
            if self._left is None:
                return True
            self._left -= 1
            return self._left >= 0


def _over(limits: Limits, count: int, started: float) -> bool:
    if limits.count is not None and count >= limits.count:
        return True
    return limits.seconds is not None and count > 0 and perf_counter() - started >= limits.seconds


def _in_threads(call: Callable[[], None], callers: int) -> None:
    """Run `call` in threads; the first error of any thread is raised here."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            call()
        except BaseException as exc:  # noqa: BLE001 (raised below)
            errors.append(exc)

    threads = [threading.Thread(target=guarded, name=f"ast-edge-caller-{i}") for i in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _clocked(inspector: Inspector, part: Part) -> tuple[float, Inspection]:
    started = perf_counter_ns()
    inspection = inspector.inspect(**part)
    return (perf_counter_ns() - started) / 1e6, inspection
