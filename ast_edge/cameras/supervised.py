"""A camera that is watched: read by a thread of its own, opened anew when it dies or falls silent."""

from __future__ import annotations

import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ast_edge.backoff import Backoff
from ast_edge.cameras.base import Camera, Frame, NoFrame, State
from ast_edge.errors import AstEdgeError, CameraError

Policy = Literal["latest", "every"]
_POLL_S = 0.1
_CLOSE_S = 5.0


@dataclass(frozen=True)
class Watch:
    """When a camera counts as stalled and as lost, in seconds without a frame, and what is kept.

    A camera that waits for triggers (`triggered`) owes no frame until `trigger()` asks it for one; where a
    line of its own triggers it, nobody here knows when it owes one, and only its errors tell. While a frame
    that was asked for is on its way, for at most `answer_s`, no other can be asked for: which of two came
    could not be told.

    Policy "latest" keeps the newest frame alone, "every" keeps up to `kept` of them; what finds no room
    pushes out the oldest, and every frame pushed out is counted as dropped.
    """

    stall_s: float = 2.0
    lost_s: float = 5.0
    policy: Policy = "every"
    kept: int = 16
    triggered: bool = False
    answer_s: float = 2.0


class Supervised(Camera):
    """`read` gives the next frame, TIMEOUT while there is none for whatever reason, END after the last one.

    A camera that raises is closed and opened again with growing waits, for ever; its frames' numbers go on
    where they were. The state tells what is the matter, also while the camera's own library hangs, and
    `last_error` the camera's own words; `told` hears of every change of state, on the camera's thread.
    """

    def __init__(
        self,
        uri: str,
        factory: Callable[[], Camera],
        watch: Watch | None = None,
        told: Callable[[State, str], None] = lambda *_: None,
    ) -> None:
        self.uri = uri
        self._factory = factory
        self._watch = watch or Watch()
        self._told = told
        self._ring: deque[Frame] = deque()
        self._news = threading.Condition()
        self._count = Counter(dict.fromkeys(("frames", "dropped", "repeated", "errors", "reconnects"), 0))
        self._earlier: Counter[str] = Counter()  # what cameras that were closed had counted themselves
        self._state: State = "connecting"
        self._ended = False
        self._closing = threading.Event()
        self._camera: Camera | None = None
        self._first_number = self._next_number = 0
        self._seen: tuple[int | None, int] | None = None
        self._last_ns: int | None = None
        self._owed_since: float | None = None  # since when the camera owes a frame
        self._asked_at: float | None = None  # when the frame was asked for that is on its way
        self._turned = time.monotonic()
        self.last_error = ""
        self._thread = threading.Thread(target=self._run, name="ast-edge-camera", daemon=True)
        self._thread.start()

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """See `Camera`; raises CameraError only after `close()`."""
        with self._news:
            self._news.wait_for(lambda: self._ring or self._ended or self._closing.is_set(), timeout_s)
            if self._ring:
                return self._ring.popleft()
            if self._closing.is_set():
                raise CameraError(f"{self.uri}: the camera was closed.")
            return NoFrame.END if self._ended else NoFrame.TIMEOUT

    def trigger(self) -> None:
        """Ask the camera for a frame. Raises CameraError while there is none, or another is on its way."""
        camera = self._camera
        if camera is None:
            raise CameraError(f"{self.uri}: the camera is {self.state}: {self.last_error or 'not open yet'}")
        now = time.monotonic()
        with self._news:
            if self._asked_at is not None and now - self._asked_at < self._watch.answer_s:
                raise CameraError(
                    f"{self.uri}: the frame asked for {(now - self._asked_at) * 1e3:.0f} ms ago has not come "
                    "yet, and a second could not be told from it."
                )
            self._asked_at = now
            if self._owed_since is None:
                self._owed_since = now
        try:
            camera.trigger()
        except CameraError:
            self._asked_at = None
            raise

    @property
    def state(self) -> State:
        """See `Camera`; "stalled" and then "lost" too where the camera's own library does not return."""
        hung_s = time.monotonic() - self._turned - _POLL_S
        if self._state not in ("live", "stalled") or hung_s < self._watch.stall_s:
            return self._state
        return "lost" if hung_s > self._watch.lost_s else "stalled"

    @property
    def hung_s(self) -> float:
        """Seconds since the camera's thread last moved; its waits between two tries count too."""
        return time.monotonic() - self._turned if self._thread.is_alive() else 0.0

    @property
    def counters(self) -> Mapping[str, int]:
        """Frames, dropped, repeated, errors, reconnects, and what the camera itself counts, over all."""
        camera = self._camera
        own = camera.counters if camera is not None else {}
        with self._news:
            return {**(self._earlier + Counter(own)), **self._count}

    @property
    def frame_age_s(self) -> float | None:
        """Seconds since the last frame; None before the first."""
        return None if self._last_ns is None else (time.monotonic_ns() - self._last_ns) / 1e9

    def close(self) -> None:
        """See `Camera`; waits for the thread, but not for ever where the camera's library hangs."""
        self._closing.set()
        with self._news:
            self._news.notify_all()
        self._thread.join(_CLOSE_S)
        if self._thread.is_alive():
            self.last_error = f"{self.uri}: the camera's library does not return."
        self._state = "closed"

    def _run(self) -> None:
        backoff = Backoff()
        while not self._closing.is_set() and not self._ended:
            self._turned = time.monotonic()
            try:
                with self._factory() as camera:
                    self._camera, self._first_number = camera, self._next_number
                    try:
                        self._capture(camera, backoff)
                    except Exception as exc:  # noqa: BLE001 (told before closing it takes its time)
                        self._note_error(exc)
                    finally:
                        self._camera = None
                        with self._news:
                            self._earlier.update(camera.counters)
            except Exception as exc:  # noqa: BLE001 (any error of a camera is a reason to open it again)
                self._note_error(exc)
            if not self._ended and not self._closing.is_set():
                self._count["reconnects"] += 1
                self._closing.wait(backoff.next_s())
        self._become("closed")

    def _capture(self, camera: Camera, backoff: Backoff) -> None:
        """Read until the camera ends, dies or is silent for too long."""
        self._owed_since = None if self._watch.triggered else time.monotonic()
        self._asked_at, incomplete = None, camera.counters.get("incomplete", 0)
        if self._watch.triggered:
            self._become("live")
        while not self._closing.is_set():
            self._turned = time.monotonic()
            found = camera.read(_POLL_S)
            if (lost := camera.counters.get("incomplete", 0)) != incomplete:
                incomplete, self._asked_at = lost, None  # it has come, if not whole
            if found is NoFrame.END:
                with self._news:
                    self._ended = True
                    self._news.notify_all()
                return
            if isinstance(found, Frame):
                self._owed_since = None if self._watch.triggered else time.monotonic()
                self._keep(found)
                self._become("live")
                backoff.reset()
                continue
            self._look_at_silence()

    def _look_at_silence(self) -> None:
        silent_s = 0.0 if self._owed_since is None else time.monotonic() - self._owed_since
        if silent_s > self._watch.lost_s:
            raise CameraError(f"{self.uri}: no frame for {silent_s:.1f} s.")
        if silent_s > self._watch.stall_s:
            self._become("stalled", f"no frame for {silent_s:.1f} s")

    def _keep(self, frame: Frame) -> None:
        frame = replace(frame, number=self._first_number + frame.number)
        self._next_number = frame.number + 1
        seen = frame.pixels if frame.pixels is not None else frame.depth_m
        digest = 0 if seen is None else zlib.crc32(seen[::8].tobytes())
        room = 1 if self._watch.policy == "latest" else self._watch.kept
        with self._news:
            self._asked_at = None
            self._count["frames"] += 1
            self._count["repeated"] += (frame.device_ns, digest) == self._seen
            self._seen = (frame.device_ns, digest)
            self._last_ns = frame.host_ns
            while len(self._ring) >= room:
                self._ring.popleft()
                self._count["dropped"] += 1
            self._ring.append(frame)
            self._news.notify_all()

    def _note_error(self, exc: Exception) -> None:
        self._count["errors"] += 1
        self.last_error = str(exc) if isinstance(exc, AstEdgeError) else f"{type(exc).__name__}: {exc}"
        self._become("lost", self.last_error)

    def _become(self, state: State, why: str = "") -> None:
        changed, self._state = state != self._state, state
        if changed:
            self._told(state, why)
