"""Requests every part's picture as soon as the part is in place, however busy the inspection is."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, Full, Queue

from ast_edge.cameras.base import Camera
from ast_edge.errors import CameraError
from ast_edge.line.part import Trigger
from ast_edge.line.station.timing import Timing

_POLL_S = 0.02
_HUNG_S = 1.0
# Limit of threads that never returned from the camera's library; beyond it no further thread is started.
_MOST_HUNG = 3


@dataclass(frozen=True)
class Request:
    """A request for a part: its time, and the number that the frame will have, None if unknown."""

    asked_ns: int
    number: int | None


class Shutter:
    """`ask` from any thread; `work` on a thread of the station; `look_after` periodically from another.

    A part whose picture cannot be requested in time becomes a fault by `fault`, and the camera is not
    triggered: its picture would show another part. `is_open` returns whether a part still waits for its
    verdict.
    """

    def __init__(
        self,
        camera: Camera,
        timing: Timing,
        is_open: Callable[[int], bool],
        fault: Callable[[Trigger, str], None],
    ) -> None:
        self._camera, self._timing = camera, timing
        self._is_open, self._fault = is_open, fault
        self._queue: Queue[Trigger] = Queue(timing.max_waiting)
        self._requests: dict[int, Request] = {}
        self._news = threading.Condition()
        self._asking_since: float | None = None
        self.life = 0  # how often the requesting thread was replaced
        self.hung = 0

    def ask(self, trigger: Trigger) -> None:
        """Queue a part; never blocks."""
        try:
            self._queue.put_nowait(trigger)
        except Full:
            self._fault(trigger, f"more than {self._queue.maxsize} parts wait for the camera")

    def work(self, stopped: threading.Event, life: int) -> None:
        """Request pictures until the station stops, or a thread of another `life` has taken over."""
        while not stopped.is_set() and life == self.life:
            with contextlib.suppress(Empty):
                self._take(self._queue.get(timeout=_POLL_S), stopped, life)

    def request(self, trigger: Trigger, until: Callable[[], bool]) -> Request | None:
        """Return the request for this part once it was made; None when `until` says to stop waiting.

        Parts come in order: requests for earlier ones are forgotten.
        """
        with self._news:
            while trigger.number not in self._requests and not until():
                self._news.wait(_POLL_S)
            for number in [number for number in self._requests if number < trigger.number]:
                del self._requests[number]
            return self._requests.pop(trigger.number, None)

    def look_after(self, replace: Callable[[], None]) -> None:
        """If the camera's library has not returned for long, call `replace` to start another thread."""
        with self._news:
            since = self._asking_since
            if since is None or time.monotonic() - since < _HUNG_S or self.hung >= _MOST_HUNG:
                return
            self._asking_since = None
            self.life += 1
            self.hung += 1
        replace()

    # ---- on the asking thread ------------------------------------------------------------------------------

    def _take(self, trigger: Trigger, stopped: threading.Event, life: int) -> None:
        """Process one part: wait until it has settled, then request its picture."""
        from_ns = trigger.there_ns + int(self._timing.settle_ms * 1e6)
        stopped.wait(max(from_ns - time.monotonic_ns(), 0) / 1e9)
        if stopped.is_set() or not self._is_open(trigger.number):
            return
        if why := self._timing.too_late(trigger, time.monotonic_ns()):
            self._fault(trigger, f"its picture would be requested {why}")
            return
        with self._news:
            self._asking_since = time.monotonic()
        asked_ns = time.monotonic_ns()
        try:
            number = self._camera.trigger()
        except CameraError as exc:
            number, refused = None, str(exc)
        else:
            refused = ""
        if not self._back(life):
            return
        if why := refused or self._late(trigger):
            self._fault(trigger, why)
            return
        with self._news:
            self._requests[trigger.number] = Request(asked_ns, number)
            self._news.notify_all()

    def _back(self, life: int) -> bool:
        """The library has returned; return whether this thread is still the one in charge."""
        with self._news:
            if life != self.life:
                self.hung -= 1
                return False
            self._asking_since = None
            return True

    def _late(self, trigger: Trigger) -> str:
        """Return why the exposure may be too late: a slow request may have been executed as late as now."""
        why = self._timing.too_late(trigger, time.monotonic_ns())
        return f"the camera accepted its request {why}" if why else ""
