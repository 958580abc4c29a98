"""USB and other Video4Linux cameras, through OpenCV.

v4l2:///dev/video0?width=1280&height=720&fps=60&exposure=100

`exposure` is in the driver's own unit, 100 microseconds for most USB cameras, and switches automatic exposure
off. A value that the driver does not accept is refused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import override

from ast_edge.cameras.base import Camera, Frame, NoFrame, State
from ast_edge.cameras.opencv import opencv
from ast_edge.cameras.uri import CameraUri, positive
from ast_edge.errors import CameraError

_MANUAL, _ONE_BUFFER = 1, 1
_OLDEST_NS = 10_000_000_000  # an older stamp must be from another clock
_SLOWEST_FPS = 5.0  # if the driver does not report it


def exposed_between(stamp_ns: int | None, host_ns: int, period_ns: int) -> tuple[int | None, int | None]:
    """Return when an exposure began, from and to, by the stamp of its buffer; None if unknown.

    The kernel stamps buffers with `time.monotonic_ns()`, at the start or the end of a frame's readout, which
    takes up to one frame period, after an exposure of up to another one. The stamp of another clock is
    ignored.
    """
    if stamp_ns is None or not 0 <= host_ns - stamp_ns <= _OLDEST_NS:
        return None, None
    return stamp_ns - 2 * period_ns, stamp_ns


class V4l2Camera(Camera):
    """One device. Raises CameraError if it is missing, in use, or refuses a setting."""

    def __init__(self, uri: CameraUri) -> None:
        cv2 = opencv(uri)
        uri.check_keys("width", "height", "fps", "exposure")
        self.uri = uri.public
        device = Path(uri.place)
        if not device.is_char_device():
            raise CameraError(f"{self.uri}: there is no device {device}; `ast-edge doctor` lists them.")
        self._cv2 = cv2
        self._video: Any = cv2.VideoCapture(str(device), cv2.CAP_V4L2)
        self._number = 0
        self._last_ns: int | None = None
        self._closed = False
        self._reading = threading.Lock()  # OpenCV must not be closed while it reads
        if not self._video.isOpened():
            raise CameraError(
                f"{self.uri}: {device} is not a camera, is in use, or you are not in the group video."
            )
        try:
            self._set_up(uri)
            fps = float(self._video.get(cv2.CAP_PROP_FPS))
            self._period_ns = int(1e9 / (fps if fps >= 1 else _SLOWEST_FPS))
        except BaseException:
            self._video.release()
            raise

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the next frame; OpenCV's own wait ends after ten seconds, regardless of `timeout_s`."""
        started = time.monotonic()
        with self._reading:
            if self._closed:
                raise CameraError(f"{self.uri}: the camera was closed.")
            there, pixels = self._video.read()
            host_ns = time.monotonic_ns()
            device_ns = int(self._video.get(self._cv2.CAP_PROP_POS_MSEC) * 1e6) or None
        if not there:
            if time.monotonic() - started >= timeout_s:
                return NoFrame.TIMEOUT
            raise CameraError(f"{self.uri}: the camera delivers no more frames; check its cable.")
        number, self._number = self._number, self._number + 1
        exposed = exposed_between(device_ns, host_ns, max(self._period_ns, self._since_last(device_ns)))
        return Frame(pixels, "bgr", number, device_ns, host_ns, self.uri, None, *exposed)

    def _since_last(self, device_ns: int | None) -> int:
        """Nanoseconds since the previous stamp: a dark scene's exposure may exceed the nominal period."""
        last, self._last_ns = self._last_ns, device_ns
        return 0 if last is None or device_ns is None else max(device_ns - last, 0)

    @property
    @override
    def state(self) -> State:
        return "closed" if self._closed else "live"

    @property
    @override
    def counters(self) -> Mapping[str, int]:
        return {"frames": self._number}

    @override
    def close(self) -> None:
        self._closed = True
        with self._reading:
            self._video.release()

    def _set_up(self, uri: CameraUri) -> None:
        cv2 = self._cv2
        self._video.set(cv2.CAP_PROP_BUFFERSIZE, _ONE_BUFFER)
        if "exposure" in uri.options:
            self._video.set(cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL)
            # Without an automatic mode there is nothing to read back.
            if (found := float(self._video.get(cv2.CAP_PROP_AUTO_EXPOSURE))) > 0 and found != _MANUAL:
                raise CameraError(
                    f"{self.uri}: exposure= needs automatic exposure off; the camera keeps it on."
                )
        for name, key in (
            ("width", cv2.CAP_PROP_FRAME_WIDTH),
            ("height", cv2.CAP_PROP_FRAME_HEIGHT),
            ("fps", cv2.CAP_PROP_FPS),
            ("exposure", cv2.CAP_PROP_EXPOSURE),
        ):
            if name not in uri.options:
                continue
            wanted = uri.option(name, positive, 1.0)
            self._video.set(key, wanted)
            found = float(self._video.get(key))
            if abs(found - wanted) > 0.01 * wanted:
                raise CameraError(f"{self.uri}: {name}={wanted:g} is refused; the camera set {found:g}.")
