"""Which frame shows which part: better no verdict than another part's."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable

from ast_edge.cameras.base import Camera, Frame, NoFrame
from ast_edge.line.part import Trigger
from ast_edge.line.station.timing import Timing

_POLL_S = 0.02


class Pairing:
    """Frames of `camera` for triggers, on the inspecting thread.

    `following` gives the part that waits next; `given_up` whether there is no use in waiting for a part's
    frame any longer; with `one_each` the camera waits for triggers and gives one frame for each.
    """

    def __init__(
        self,
        camera: Camera,
        timing: Timing,
        following: Callable[[], Trigger | None],
        given_up: Callable[[Trigger], bool],
        *,
        one_each: bool = False,
    ) -> None:
        self._one_each = one_each
        self._camera, self._timing = camera, timing
        self._following, self._given_up = following, given_up
        self.ended = False  # whether the camera has shown its last frame
        self._held: Frame | None = None
        self._last_number: int | None = None
        self._last_digest: int | None = None

    def frame_for(self, trigger: Trigger) -> Frame | str:
        """The first frame that shows the part, or in words why there is none. Raises CameraError.

        Frames before it are let go; a frame that may already show the next part is kept for that one.
        """
        timing = self._timing
        while True:
            frame = self._read(trigger)
            if isinstance(frame, str):
                return frame
            if self._lost_before(frame):
                return "a frame was lost on the way: the one that came may show another part"
            following = self._following()
            if following is not None and frame.host_ns >= timing.earliest_ns(following):
                self._held = frame
                return "its frame is missing: the one that came may show the next part"
            if frame.host_ns >= timing.earliest_ns(trigger):
                return frame

    def _lost_before(self, frame: Frame) -> bool:
        """Whether a camera that gives one frame a trigger has lost some since the one before."""
        last, self._last_number = self._last_number, frame.number
        return self._one_each and last is not None and frame.number > last + 1

    def repeated(self, frame: Frame) -> bool:
        """Whether the frame equals the one before, by every eighth row."""
        seen = frame.pixels if frame.pixels is not None else frame.depth_m
        digest = None if seen is None else zlib.crc32(seen[::8].tobytes())
        repeated, self._last_digest = digest == self._last_digest, digest
        return repeated and self._timing.refuse_repeated

    def _read(self, trigger: Trigger) -> Frame | str:
        held, self._held = self._held, None
        if held is not None:
            return held
        while (left_ns := self._timing.deadline_ns(trigger) - time.monotonic_ns()) > 0:
            read = self._camera.read(min(left_ns / 1e9, _POLL_S))
            if isinstance(read, Frame):
                return read
            if read is NoFrame.END:
                self.ended = True
                return "the camera has no more frames"
            if self._given_up(trigger):
                break
        return f"no frame came in time (camera {self._camera.state})"
