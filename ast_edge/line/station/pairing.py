"""Matches frames with parts: better no verdict than another part's."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ast_edge.cameras.base import Camera, Frame, NoFrame
from ast_edge.line.part import Trigger
from ast_edge.line.station.shutter import Request, Shutter
from ast_edge.line.station.timing import Timing
from ast_edge.model.manifest import Mode

_POLL_S = 0.02
_LOST = "a frame was lost in transit: the one that arrived may show another part"
_NO_CLOCK = (
    "the camera does not report exposure times: set camera.delay_ms to the maximum time from exposure "
    "to arrival"
)


class Pairing:
    """Matches frames of `camera` with triggers, on the inspecting thread.

    `following` returns the part that waits next; `given_up` whether waiting for a part's frame is pointless.
    With `one_each` the camera waits for triggers and delivers one frame for each. With a `shutter` frames are
    requested: a part's frame is the one with the number announced for its request or, if a camera announces
    none, one that arrived after it. Without, it is the first frame whose exposure began when the part was in
    place.
    """

    def __init__(
        self,
        camera: Camera,
        timing: Timing,
        following: Callable[[], Trigger | None],
        given_up: Callable[[Trigger], bool],
        *,
        one_each: bool = False,
        shutter: Shutter | None = None,
    ) -> None:
        self._one_each, self._shutter = one_each, shutter
        self._camera, self._timing = camera, timing
        self._following, self._given_up = following, given_up
        self.ended = False  # whether the camera has delivered its last frame
        self._held: Frame | None = None
        self._last_number: int | None = None
        self._last_digests: dict[str, int] = {}
        # Of the depth maps read last and before that, also those of discarded frames.
        self._depths: tuple[int | None, int | None] = (None, None)

    def frame_for(self, trigger: Trigger) -> Frame | str:
        """Return the first frame that shows the part, or the reason why there is none. Raises CameraError.

        Earlier frames are discarded; a frame that may already show the next part is kept for that one.
        """
        if self._shutter is None:
            return self._first(trigger, partial(self._shown, trigger))
        request = self._shutter.request(trigger, partial(self._over, trigger))
        if request is None:
            return "its picture was not requested from the camera in time"
        return self._first(trigger, partial(self._answered, trigger, request))

    def _first(self, trigger: Trigger, fits: Callable[[Frame], bool | str]) -> Frame | str:
        """Return the first frame that fits, or the reason of `fits` if a frame proves that none will."""
        while True:
            frame = self._read(trigger)
            if isinstance(frame, str):
                return frame
            found = fits(frame)
            if isinstance(found, str):
                return found
            if found:
                return frame

    def _shown(self, trigger: Trigger, frame: Frame) -> bool | str:
        """Whether an unrequested frame shows the part."""
        timing, exposed_ns, lost = self._timing, self._timing.exposed_ns(frame), self._lost_before(frame)
        if exposed_ns is None:
            return _NO_CLOCK
        if exposed_ns < timing.earliest_ns(trigger):
            return False
        following = self._following()
        if following is not None and exposed_ns >= timing.earliest_ns(following):
            self._held = frame
            return "its frame is missing: the one that arrived may show the next part"
        if why := timing.too_late(trigger, frame.latest_ns):
            return f"its picture was taken {why}"
        return _LOST if lost else True

    def _answered(self, trigger: Trigger, request: Request, frame: Frame) -> bool | str:
        """Whether a frame is the one requested for this part."""
        lost = self._lost_before(frame)
        if request.number is not None:
            if frame.number > request.number:
                self._held = frame
                return _LOST
            # If it has the number but was exposed before the request, the camera was triggered by another
            # source.
            if frame.number < request.number or frame.latest_ns < request.asked_ns:
                return False
            # A camera's fastest answer bounds the transit time; this answer may have been slow.
            exposed_ns = request.asked_ns if frame.exposed_from_ns is None else frame.exposed_from_ns
            why = self._timing.too_late(trigger, exposed_ns)
            return f"its picture was taken {why}" if why else True
        following = self._following()
        if following is not None and frame.host_ns >= self._timing.earliest_ns(following):
            self._held = frame
            return "its frame is missing: the one that arrived may show the next part"
        if frame.latest_ns < max(request.asked_ns, self._timing.earliest_ns(trigger)):
            return False
        return _LOST if lost else True

    def _lost_before(self, frame: Frame) -> bool:
        """Whether a camera that delivers one frame per trigger has lost some since the previous one."""
        last, self._last_number = self._last_number, frame.number
        return self._one_each and last is not None and frame.number > last + 1

    def repeated(self, frame: Frame, mode: Mode) -> str:
        """Describe what of the frame equals the previous one, by every eighth row; empty if nothing does.

        Picture and depth map come from two sensors, each of which may freeze alone; inputs not used by the
        recipe's `mode` are ignored. A depth map may also equal that of a frame that was discarded: noise
        makes every map different, but compression makes equal pictures of a scene that stands still.
        """
        seen = {
            "frame": frame.pixels if mode != "depth" else None,
            "depth map": frame.depth_m if mode != "rgb" else None,
        }
        digests = {what: _digest(part) for what, part in seen.items() if part is not None}
        before, self._last_digests = self._last_digests, digests
        frozen = [what for what, digest in digests.items() if before.get(what) == digest]
        if "depth map" not in frozen and self._depths[0] == digests.get("depth map", -1):
            frozen.append("depth map")
        if not frozen or not self._timing.refuse_repeated:
            return ""
        equal = "equals" if len(frozen) == 1 else "equal"
        return f"the {' and the '.join(frozen)} {equal} the one before: is the camera frozen?"

    def _over(self, trigger: Trigger) -> bool:
        return self._given_up(trigger) or time.monotonic_ns() > self._timing.deadline_ns(trigger)

    def _read(self, trigger: Trigger) -> Frame | str:
        held, self._held = self._held, None
        if held is not None:
            return held
        while (left_ns := self._timing.deadline_ns(trigger) - time.monotonic_ns()) > 0:
            read = self._camera.read(min(left_ns / 1e9, _POLL_S))
            if isinstance(read, Frame):
                if read.depth_m is not None:
                    self._depths = (self._depths[1], _digest(read.depth_m))
                return read
            if read is NoFrame.END:
                self.ended = True
                return "the camera has no more frames"
            if self._given_up(trigger):
                break
        return f"no frame arrived in time (camera {self._camera.state})"


def _digest(part: NDArray[Any]) -> int:
    """Return a digest of every eighth row; a camera may give an array of any shape."""
    return zlib.crc32(np.atleast_1d(part)[::8].tobytes())
