"""A supervised camera: read by its own thread, and opened again when it fails, hangs or stalls."""

from __future__ import annotations

import contextlib
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from typing_extensions import override

from ast_edge.backoff import Backoff
from ast_edge.cameras.base import Camera, Frame, NoFrame, State
from ast_edge.cameras.link import Link
from ast_edge.errors import CameraError, LostFrameError, NotTriggeredError, sentence

Policy = Literal["latest", "every"]
_WATCH_S = 0.05
_OPEN_S = 60.0
_MOST_HUNG = 3  # limit of threads that never returned; no further one is started
_COUNTED = ("frames", "dropped", "repeated", "incomplete", "errors", "reconnects", "hung")


@dataclass(frozen=True)
class Watch:
    """When a camera counts as stalled or lost, in seconds without a frame, and which frames are kept.

    A camera with triggers (`triggered`) owes no frame until `trigger()` requests one; if a line of its own
    triggers it, only its errors show a failure, since it is unknown when a frame is due. While a requested
    frame is pending no other can be requested, because the two could not be distinguished: the frame arrives,
    is lost, or the camera counts as lost after `lost_s` and is opened again.

    Policy "latest" keeps only the newest frame, "every" keeps up to `kept` of them; without room the oldest
    is dropped, and every dropped frame is counted. Closing a camera may take up to `close_s`.
    """

    stall_s: float = 2.0
    lost_s: float = 5.0
    policy: Policy = "every"
    kept: int = 16
    triggered: bool = False
    close_s: float = 5.0


class Supervised(Camera):
    """`read` returns the next frame, TIMEOUT if there is none for any reason, END after the last one.

    A camera that raises is closed and opened again after growing delays, without limit; its frame numbers
    continue. One whose library does not return is abandoned, and another is opened. `state` and `last_error`
    (the camera's own message) describe the problem; `on_state` is called with both at every change of state,
    on the supervisor's thread.
    """

    def __init__(
        self,
        uri: str,
        factory: Callable[[], Camera],
        watch: Watch | None = None,
        on_state: Callable[[State, str], None] = lambda *_: None,
    ) -> None:
        self.uri = uri
        self._factory = factory
        self._watch = watch or Watch()
        self._on_state = on_state
        self._ring: deque[Frame] = deque()
        self._news = threading.Condition()
        self._count = Counter(dict.fromkeys(_COUNTED, 0))
        self._earlier: Counter[str] = Counter()  # counters of the cameras already closed
        self._state: State = "connecting"
        self._ended = False
        self._closing = threading.Event()
        self._stir = threading.Event()  # wakes the supervisor
        self._link: Link | None = None
        self._hung: list[Link] = []
        self._stuck_since: float | None = None
        self._first_number = self._next_number = 0
        self._seen: tuple[int | None, int] | None = None
        self._last_ns: int | None = None
        self._owed_since: float | None = None  # since when the camera owes a frame
        self._asked_at: float | None = None  # when the pending frame was requested
        self.last_error = ""
        self._thread = threading.Thread(target=self._run, name="ast-edge-camera", daemon=True)
        self._thread.start()

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the next frame; raises CameraError only after `close()`."""
        with self._news:
            self._news.wait_for(lambda: self._ring or self._ended or self._closing.is_set(), timeout_s)
            if self._ring:
                return self._ring.popleft()
            if self._closing.is_set():
                raise CameraError(f"{self.uri}: the camera was closed.")
            return NoFrame.END if self._ended else NoFrame.TIMEOUT

    def trigger(self) -> int:
        """Request a frame; return the number that it will have unless frames are lost before it.

        Raises CameraError while there is no camera, or another frame is pending. If the camera's library does
        not return, the camera counts as stalled and as lost, as if no frame arrived.
        """
        with self._news:
            link, now = self._link, time.monotonic()
            camera = None if link is None or link.over.is_set() else link.camera
            if camera is None or self._state == "lost":
                why = self.last_error or "not open yet"
                raise CameraError(f"{self.uri}: the camera is {self._state}: {why}")
            if self._asked_at is not None:
                raise CameraError(
                    f"{self.uri}: the frame requested {(now - self._asked_at) * 1e3:.0f} ms ago has not "
                    "arrived yet, and a second one could not be distinguished from it."
                )
            self._asked_at, number = now, self._next_number
            if self._owed_since is None:
                self._owed_since = now
        try:
            camera.trigger()
        except NotTriggeredError:
            with self._news:
                self._owed_since = self._asked_at = None
            raise
        # A camera that raises anything else may still have received the trigger: its frame is waited for.
        with self._news:
            if link is not self._link:
                raise CameraError(f"{self.uri}: the camera was opened again while a frame was requested.")
        return number

    @property
    @override
    def state(self) -> State:
        return self._state

    @property
    def hung_s(self) -> float:
        """Seconds since no further thread is started because the library hung repeatedly; usually 0.

        Only a new process helps in this case.
        """
        since = self._stuck_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def counters(self) -> Mapping[str, int]:
        """Frames, dropped, repeated, incomplete, errors, reconnects, hung, and the camera's own counters.

        All since the start; `incomplete` frames arrived in part or could not be read, `hung` counts library
        calls that did not return.
        """
        with self._news:
            own = Counter(self._earlier)
            if self._link is not None:
                own.update(self._link.counted)
            return {**own, **self._count}

    @property
    @override
    def settings(self) -> Mapping[str, float | str]:
        """Those of the camera that is open now; empty without one."""
        with self._news:
            camera = None if self._link is None else self._link.camera
        return {} if camera is None else camera.settings

    @property
    def frame_age_s(self) -> float | None:
        """Seconds since the last frame; None before the first."""
        return None if self._last_ns is None else (time.monotonic_ns() - self._last_ns) / 1e9

    def close(self) -> None:
        """Close the camera; waits for the threads, but not forever if the camera's library hangs."""
        self._closing.set()
        self._stir.set()
        with self._news:
            self._news.notify_all()
        self._thread.join()

    # ---- the supervisor's thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        backoff = Backoff()
        self._live_once(backoff)
        while not self._ended and not self._closing.wait(backoff.next_s()):
            if self._may_open():
                self._add("reconnects")
                self._live_once(backoff)
        self._become("closed")

    def _may_open(self) -> bool:
        """Whether another thread may be started on a library that hung before."""
        self._hung = [link for link in self._hung if not link.join(0)]
        stuck = len(self._hung) >= _MOST_HUNG
        self._stuck_since = (self._stuck_since or time.monotonic()) if stuck else None
        return not stuck

    def _live_once(self, backoff: Backoff) -> None:
        """Open the camera and watch it until this session ends."""
        link = Link(self._factory, self._take, self._lose)
        with self._news:
            self._link, self._first_number = link, self._next_number
            self._owed_since = self._asked_at = None
        link.start()
        try:
            self._watch_over(link, backoff)
        except CameraError as exc:
            self._note_error(exc)
        link.leave()
        if not link.join(self._watch.close_s):
            self._hung.append(link)
            self._add("hung")
            self.last_error = f"{self.uri}: the camera's library does not return."
        with self._news:
            self._earlier.update(link.counted)
            self._link = None

    def _watch_over(self, link: Link, backoff: Backoff) -> None:
        """Watch until the camera ends or fails; raises CameraError when it hangs or is silent too long."""
        end_of_opening = time.monotonic() + _OPEN_S
        while not self._closing.is_set():
            self._stir.wait(_WATCH_S)
            self._stir.clear()
            if link.over.is_set():
                self._end_of(link)
                return
            if link.camera is not None:
                self._look_at(link)
                if link.taken:
                    backoff.reset()
            elif time.monotonic() > end_of_opening:
                raise CameraError(f"{self.uri}: the camera did not open within {_OPEN_S:g} s.")

    def _end_of(self, link: Link) -> None:
        """Handle the end of a session: no more frames, or an error."""
        if link.error is not None:
            self._note_error(link.error)
        elif link.ended:
            with self._news:
                self._ended = True
                self._news.notify_all()

    def _look_at(self, link: Link) -> None:
        """Update the state: live, stalled or lost."""
        with self._news:
            if self._owed_since is None and not self._watch.triggered:
                self._owed_since = time.monotonic()  # just opened; the time to open does not count as silence
            silent_s = 0.0 if self._owed_since is None else time.monotonic() - self._owed_since
        hung_s = link.hung_s
        longest_s = max(silent_s, hung_s)
        what = "its library does not return" if hung_s > self._watch.stall_s / 2 else "no frame"
        if longest_s > self._watch.lost_s:
            raise CameraError(f"{self.uri}: {what} for {longest_s:.1f} s.")
        if longest_s > self._watch.stall_s:
            self._become("stalled", f"{what} for {longest_s:.1f} s")
        elif link.taken or self._watch.triggered:
            self._become("live")

    def _note_error(self, exc: Exception) -> None:
        self._add("errors")
        self.last_error = sentence(exc)
        self._become("lost", self.last_error)

    def _become(self, state: State, why: str = "") -> None:
        changed, self._state = state != self._state, state
        if changed:
            with contextlib.suppress(Exception):  # an error of the listener must not end the watch
                self._on_state(state, why)

    # ---- the reading thread --------------------------------------------------------------------------------

    def _take(self, link: Link, frame: Frame) -> None:
        with self._news:
            if link is not self._link:
                return  # it hung and was replaced
            frame = replace(frame, number=self._first_number + frame.number)
            self._next_number = frame.number + 1
            link.taken += 1
            self._owed_since = None if self._watch.triggered else time.monotonic()
            self._asked_at = None
            if self._state != "live":
                self._stir.set()
            self._count["frames"] += 1
            self._last_ns = frame.host_ns
            while len(self._ring) >= (1 if self._watch.policy == "latest" else self._watch.kept):
                self._ring.popleft()
                self._count["dropped"] += 1
            self._ring.append(frame)
            self._news.notify_all()
        # Checked while the next frame is already in flight.
        picture = frame.pixels if frame.pixels is not None else frame.depth_m
        seen = (frame.device_ns, 0 if picture is None else zlib.crc32(picture[::8].tobytes()))
        if seen == self._seen:
            self._add("repeated")
        self._seen = seen

    def _lose(self, link: Link, lost: LostFrameError) -> None:
        with self._news:
            if link is self._link:
                number = None if lost.number is None else self._first_number + lost.number
                self._next_number = (self._next_number if number is None else number) + 1
                self._asked_at = None
                if self._watch.triggered:
                    self._owed_since = None
                self._count["incomplete"] += 1
                self.last_error = str(lost)

    def _add(self, what: str) -> None:
        with self._news:
            self._count[what] += 1
