"""Parts of a camera triggered by the line itself: every frame is a part, entered when it arrives.

Not when the inspection gets to it: while an engine hangs, the parts behind it are late too, and the clock
must know of them. A part's time is that of its exposure if the camera provides it, so that frames buffered
while this process was stalled count as late.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Full, Queue

from ast_edge.cameras.base import Camera, Frame, NoFrame
from ast_edge.errors import CameraError
from ast_edge.line.part import Trigger

_POLL_S = 0.02
# A larger gap cannot be lost frames: the camera restarted its count, and the number of lost frames is
# unknown.
MOST_LOST = 1000


class Arrivals:
    """Turns frames of `camera` into parts, in `queue`; `enter` creates a part for a moment, `fault` decides
    one at once, `uncounted` is called when an unknown number of parts passed, with source and reason.

    A frame lost in transit is a part too. It is known, and decided, when the next one arrives: a gate cannot
    hit it.
    """

    def __init__(
        self,
        camera: Camera,
        enter: Callable[[int], Trigger],
        fault: Callable[[Trigger, str], None],
        uncounted: Callable[[str, str], None],
        room: int,
    ) -> None:
        self._camera, self._enter, self._fault, self._uncounted = camera, enter, fault, uncounted
        self.queue: Queue[tuple[Trigger, Frame]] = Queue(room)
        self.drained = threading.Event()  # the camera has no more frames, and none are wanted
        self._last_number: int | None = None

    def take(self, stopping: threading.Event) -> None:
        """Take one frame, waiting briefly; when the station stops, only frames that have already arrived."""
        if self.drained.is_set():
            time.sleep(_POLL_S)
            return
        ending = stopping.is_set()
        try:
            found = self._camera.read(0.0 if ending else _POLL_S)
        except CameraError as exc:
            self._fault(self._enter(time.monotonic_ns()), str(exc))
            return
        if isinstance(found, Frame):
            self._add(found)
        elif found is NoFrame.END:
            stopping.set()
            self.drained.set()
        elif ending:
            self.drained.set()

    def _add(self, frame: Frame) -> None:
        if self._last_number is not None:
            self._add_lost(frame.number - self._last_number - 1, frame.latest_ns)
        self._last_number = frame.number
        trigger = self._enter(frame.latest_ns)
        try:
            self.queue.put_nowait((trigger, frame))
        except Full:
            self._fault(trigger, f"more than {self.queue.maxsize} parts are waiting")

    def _add_lost(self, count: int, at_ns: int) -> None:
        if count > MOST_LOST:
            self._uncounted("camera", f"its frame count jumped by {count}")
        for _ in range(min(count, MOST_LOST)):
            self._fault(self._enter(at_ns), "the camera's frame was lost on the way")
