"""RealSense depth cameras, through `pyrealsense2`: each picture with the depth map registered to it.

realsense://SERIAL?width=848&height=480&fps=30&skew_ms=10    the first camera found without a serial number
realsense:///recording.db3?loop=1&skew_ms=10                 what the SDK recorded, at the recorded speed

Colour and depth come from two sensors. A pair whose stamps are more than `skew_ms` apart, half a frame
period by default, is discarded and counted as `unpaired`: it would show two parts. Where the SDK has no
stamps of the camera (`system_time`), they are times of arrival. The SDK projects the depth map onto the
picture by the camera's own calibration.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ast_edge.cameras import sdk
from ast_edge.cameras.base import Camera, Frame, NoFrame, State
from ast_edge.cameras.uri import CameraUri, positive, whole, yes_or_no
from ast_edge.errors import CameraError, message

_POLL_S = 0.1  # the longest that the SDK is waited for at once, so that `close` is not kept waiting
_OLDEST_NS = 10_000_000_000  # an older stamp must be from another clock
_MAPPED_NS = 5_000_000  # by how much the SDK's mapping of the camera's clock to the host's may be wrong


class _Pair(NamedTuple):
    """A picture uint8 [H,W,3] RGB and the distances float32 [H,W] in metres, 0 where nothing was measured."""

    pixels: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    number: int  # as the colour sensor counts
    stamp_ns: int
    clock: str  # of the stamp: hardware_clock, system_time or global_time


class RealSenseCamera(Camera):
    """One camera or recording. Raises CameraError if it is missing, in use, or has no such streams."""

    def __init__(self, uri: CameraUri) -> None:
        self.uri = uri.public
        self._rs = library(self.uri)
        self._recorded = uri.place.startswith("/")
        if self._recorded:
            uri.check_keys("loop", "skew_ms")
        else:
            uri.check_keys("width", "height", "fps", "skew_ms")
        self._count = Counter({"frames": 0, "unpaired": 0})
        self._first: int | None = None
        self._last = -1
        self._closed = False
        self._reading = threading.Lock()  # the SDK must not be stopped while it is waited for
        skew_ms = uri.option("skew_ms", positive, None)
        self._pipeline = self._rs.pipeline()
        try:
            profile = self._pipeline.start(self._wanted(uri))
        except RuntimeError as exc:
            raise CameraError(f"{self.uri}: {_words(exc)}") from exc
        try:
            fps = self._checked(profile)
            self._playback = profile.get_device().as_playback() if self._recorded else None
            if not self._recorded:
                self._keep_rate(profile)
            self._align = self._rs.align(self._rs.stream.color)
        except RuntimeError as exc:
            self._pipeline.stop()
            raise CameraError(f"{self.uri}: {_words(exc)}") from exc
        except BaseException:
            self._pipeline.stop()
            raise
        self._period_ns = int(1e9 / fps)
        self._skew_ns = int(1e6 * (500 / fps if skew_ms is None else skew_ms))

    def _wanted(self, uri: CameraUri) -> Any:
        config = self._rs.config()
        if self._recorded:
            if not Path(uri.place).is_file():
                raise CameraError(f"{self.uri}: there is no file {uri.place}.")
            config.enable_device_from_file(uri.place, uri.option("loop", yes_or_no, False))  # noqa: FBT003
            return config
        size = uri.option("width", whole, 848), uri.option("height", whole, 480)
        fps = uri.option("fps", whole, 30)
        found = [serial for serial, _ in list_devices()]
        config.enable_device(
            sdk.serial_of(uri, found, "the cable (USB 3), and the udev rules of librealsense")
        )
        config.enable_stream(self._rs.stream.depth, *size, self._rs.format.z16, fps)
        config.enable_stream(self._rs.stream.color, *size, self._rs.format.rgb8, fps)
        return config

    def _keep_rate(self, profile: Any) -> None:
        """Let no automatic exposure exceed a frame period, on which the bounds of the exposure rest."""
        option = self._rs.option.auto_exposure_priority
        for sensor in profile.get_device().query_sensors():
            if sensor.supports(option):
                sensor.set_option(option, 0)

    def _checked(self, profile: Any) -> float:
        """Return the frame rate. Raises CameraError without colour or depth, or a format that is not read."""
        found = {stream.stream_type(): stream for stream in profile.get_streams()}
        wanted = {self._rs.stream.color: self._rs.format.rgb8, self._rs.stream.depth: self._rs.format.z16}
        for kind, form in wanted.items():
            stream = found.get(kind)
            if stream is None or stream.format() != form:
                shown = "none" if stream is None else stream.format().name
                raise CameraError(
                    f"{self.uri}: expected a {kind.name} stream of format {form.name}, found {shown}; "
                    "record both, colour as rgb8 and depth as z16."
                )
        return float(min(stream.fps() for stream in found.values()))

    @override
    def read(self, timeout_s: float) -> Frame | NoFrame:
        end = time.monotonic() + timeout_s
        while True:
            if self._closed:
                raise CameraError(f"{self.uri}: the camera was closed.")
            left_s = min(max(end - time.monotonic(), 0.0), _POLL_S)
            with self._reading:
                found = NoFrame.TIMEOUT if self._closed else self._next(left_s)
            host_ns = time.monotonic_ns()
            if isinstance(found, _Pair):
                return self._frame(found, host_ns)
            if found is NoFrame.END:
                return found
            if time.monotonic() >= end:
                return NoFrame.TIMEOUT

    def _next(self, timeout_s: float) -> _Pair | NoFrame | None:
        """Return the next pair, or why there is none; None if its halves were exposed too far apart."""
        try:
            there, frames = self._pipeline.try_wait_for_frames(max(int(1e3 * timeout_s), 1))
            if not there:
                return NoFrame.END if self._at_end() else NoFrame.TIMEOUT
            colour, depth = frames.get_color_frame(), frames.get_depth_frame()
            if not colour or not depth or colour.get_frame_number() == self._last:
                return None
            clocks = {colour.get_frame_timestamp_domain().name, depth.get_frame_timestamp_domain().name}
            apart_ns = abs(colour.get_timestamp() - depth.get_timestamp()) * 1e6
            if len(clocks) > 1 or apart_ns > self._skew_ns:
                self._count["unpaired"] += 1
                return None
            return self._registered(frames, clocks.pop())
        except RuntimeError as exc:
            raise CameraError(f"{self.uri}: {_words(exc)}") from exc

    def _registered(self, frames: Any, clock: str) -> _Pair:
        """Copy the picture and the depth map as the SDK projects it onto the picture."""
        aligned = self._align.process(frames)
        colour, depth = aligned.get_color_frame(), aligned.get_depth_frame()
        distances = np.asanyarray(depth.get_data()).astype(np.float32) * np.float32(depth.get_units())
        pixels = np.array(np.asanyarray(colour.get_data()), np.uint8)
        if distances.shape != pixels.shape[:2]:
            sizes = f"{distances.shape[1]}x{distances.shape[0]}, not {pixels.shape[1]}x{pixels.shape[0]}"
            raise CameraError(f"{self.uri}: the SDK registered a depth map of {sizes}; update pyrealsense2.")
        stamp_ns = int(1e6 * colour.get_timestamp())
        return _Pair(pixels, distances, int(colour.get_frame_number()), stamp_ns, clock)

    def _frame(self, pair: _Pair, host_ns: int) -> Frame:
        if self._first is None or pair.number < self._last:
            # A recording that starts again counts from its beginning; the numbers go on.
            self._first = pair.number - (0 if self._first is None else self._last - self._first + 1)
        self._last = pair.number
        self._count["frames"] += 1
        exposed = self._exposed(pair, host_ns)
        number = pair.number - self._first
        return Frame(pair.pixels, "rgb", number, pair.stamp_ns, host_ns, self.uri, pair.depth_m, *exposed)

    def _exposed(self, pair: _Pair, host_ns: int) -> tuple[int | None, int | None]:
        """Return when the exposure can have begun, from and to, on the host's clock; None if unknown.

        Only a stamp of the SDK's global time says it, the camera's own mapped to the host's wall clock: it is
        taken within the exposure or at its readout, each of at most a frame period. The other sensor's
        exposure is up to the skew apart, before or after.
        """
        if self._recorded:
            return host_ns, host_ns
        if pair.clock != "global_time":
            return None, None
        before_ns, wall_ns, after_ns = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        earliest_ns = pair.stamp_ns - wall_ns + before_ns - 2 * self._period_ns - self._skew_ns - _MAPPED_NS
        latest_ns = pair.stamp_ns - wall_ns + after_ns + self._skew_ns + _MAPPED_NS
        if not 0 <= host_ns - earliest_ns <= _OLDEST_NS:
            return None, None
        return earliest_ns, min(latest_ns, host_ns)

    def _at_end(self) -> bool:
        stopped = self._rs.playback_status.stopped
        return self._playback is not None and self._playback.current_status() == stopped

    @property
    @override
    def state(self) -> State:
        return "closed" if self._closed else "live"

    @property
    @override
    def counters(self) -> Mapping[str, int]:
        return dict(self._count)

    @override
    def close(self) -> None:
        self._closed = True  # first, so that `read` does not take the lock again
        with self._reading, contextlib.suppress(RuntimeError):  # of a pipeline that was stopped
            self._pipeline.stop()


def list_devices() -> list[tuple[str, str]]:
    """Serial number and name of each RealSense camera on this machine. Raises CameraError without the SDK."""
    rs = library("realsense://")
    try:
        devices = list(rs.context().query_devices())
        info = rs.camera_info
        return [(it.get_info(info.serial_number), it.get_info(info.name)) for it in devices]
    except RuntimeError as exc:
        raise CameraError(f"realsense://: {_words(exc)}") from exc


def library(uri: str) -> ModuleType:
    """The SDK's module. Raises CameraError if it is missing or does not load."""
    return sdk.module("pyrealsense2", "pyrealsense2", uri, "realsense")


def _words(exc: RuntimeError) -> str:
    text = message(exc).rstrip(".")
    if "Couldn't resolve requests" in text:
        text += ": choose width, height and fps that the camera has for both rgb8 and z16"
    return f"the RealSense SDK says: {text}."
