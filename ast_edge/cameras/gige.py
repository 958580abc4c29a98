"""GigE Vision cameras through Aravis and the system bindings.

gige://SERIAL-or-ADDRESS?trigger=software&exposure_us=800&gain=0&packet_size=8192&pixel_format=Mono8
gige://SERIAL-or-ADDRESS?trigger=off&rate=30

`trigger`: software, line0 to line3 (the camera's input), or off (free-running at `rate` frames per second).
In every case a few frames are triggered by software after opening: they calibrate the transit time, from
which the exposure time of every later frame follows by its stamp. `exposure_us` and `gain` (in the camera's
unit, mostly dB) switch the automatic modes off. `packet_size` is in bytes, by default the largest that the
network supports; up to `buffers` frames may be in flight. Settings that are not given stay as the camera has
them.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ast_edge.cameras.base import Camera, Frame, NoFrame, State
from ast_edge.cameras.genicam import SOFTWARE, Asking, Clock, frames_between
from ast_edge.cameras.gi_bindings import load
from ast_edge.cameras.gige_setup import (
    Device,
    Settings,
    device_of,
    list_devices,
    reported,
    set_packets,
    set_trigger,
    set_up,
)
from ast_edge.cameras.gvcp import Pulse
from ast_edge.cameras.uri import CameraUri
from ast_edge.errors import CameraError, LostFrameError

__all__ = ["Device", "GigeCamera", "list_devices"]

_POLL_S = 0.05
_WARM_UP_S = 2.0
_ASKED_AT_OPENING = 3
_RECEIVE_BYTES = 32 << 20
_STREAM_COUNTS = ("n_resent_packets", "n_missing_packets", "n_underruns")


class GigeCamera(Camera):
    """One camera. Raises CameraError if it is missing, in use, or refuses a setting."""

    def __init__(self, uri: CameraUri) -> None:
        self._settings = settings = Settings.of(uri)
        self.uri = uri.public
        self._aravis = load("Aravis", "0.8")
        self._asking = Asking(self.uri)
        self._closed = False
        self._lock = threading.Lock()
        self._number = -1
        self._last_id: int | None = None
        self._clock = Clock(self.uri)
        self._count = {"frames": 0, "incomplete": 0, "missing": 0}
        self._stream_count = dict.fromkeys((name.removeprefix("n_") for name in _STREAM_COUNTS), 0)
        device = device_of(self._aravis, uri)
        self._pulse: Pulse | None = None
        self._stream: Any = None
        self._camera: Any = self._asking("cannot be opened", lambda: self._aravis.Camera.new(device))
        try:
            self._take_over()
            self._colour = set_up(self._aravis, self._camera, settings, self._asking)
            self._reported = reported(self._camera)
            self._stream = self._start(settings)
            self._pulse = self._watched()
            self._warm_up()
        except BaseException:
            self.close()
            raise

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the next frame; an incomplete one is counted and raises LostFrameError."""
        end = time.monotonic() + timeout_s
        while True:
            stream = self._living()
            left_s = end - time.monotonic()
            buffer = stream.timeout_pop_buffer(int(max(min(left_s, _POLL_S), 0) * 1e6))
            if buffer is not None:
                try:
                    return self._frame(buffer, time.monotonic_ns())
                except LostFrameError:
                    # The first frame may well be incomplete (see `_warm_up`), and no part waits for it.
                    if self._number or self._settings.trigger != "off":
                        raise
                finally:
                    stream.push_buffer(buffer)
            if left_s <= 0:
                return NoFrame.TIMEOUT

    def trigger(self) -> None:
        """Trigger by software; the frame gets the next number by the camera's own count."""
        if not self._settings.software:
            raise CameraError(f"{self.uri}: the URI has no trigger=software; add it.")
        with self._lock:
            self._living()
            self._asking("did not accept the software trigger", self._camera.software_trigger)

    @property
    @override
    def state(self) -> State:
        return "closed" if self._closed else "lost" if self._gone else "live"

    @property
    @override
    def settings(self) -> Mapping[str, float | str]:
        return self._reported

    @property
    def counters(self) -> Mapping[str, int]:
        """Counts of frames, incomplete and missing ones, and Aravis' stream: resent and missing packets."""
        if (stream := self._stream) is not None:
            for name in _STREAM_COUNTS:
                self._stream_count[name.removeprefix("n_")] = int(stream.get_info_uint64_by_name(name))
        return {**self._count, **self._stream_count}

    def close(self) -> None:
        """Release the camera. A disconnected one is released in the background: Aravis takes ten seconds."""
        self._closed = True
        pulse, self._pulse = self._pulse, None
        silent = pulse is not None and not pulse.lives()
        if pulse is not None:
            pulse.close()
        if silent:
            threading.Thread(target=self._let_go, name="ast-edge-gige-gone", daemon=True).start()
        else:
            self._let_go()

    def _let_go(self) -> None:
        with self._lock:
            camera, stream = self._camera, self._stream
            self._camera = self._stream = None
            if camera is not None and stream is not None:
                with contextlib.suppress(Exception):  # a disconnected camera cannot be stopped
                    camera.stop_acquisition()
            # Released with the last references: threads end, and other programs can use the camera.
            del stream, camera

    @property
    def _gone(self) -> str:
        """Why the camera is lost; "" while it is connected.

        Polled rather than awaited: a handler of Aravis' signal `control-lost` runs on a thread that may then
        be the last owner of the camera, and would have to wait for its own end.
        """
        if (pulse := self._pulse) is not None and pulse.gone:
            return pulse.gone
        camera = self._camera
        if camera is not None and camera.is_gv_device() and not camera.get_device().is_controller():
            return "the camera is disconnected or controlled by another program; check cable and power"
        return ""

    def _living(self) -> Any:
        """Return the stream. Raises CameraError if the camera was closed or is lost."""
        stream = self._stream
        if self._closed or stream is None:
            raise CameraError(f"{self.uri}: the camera was closed.")
        if why := self._gone:
            raise CameraError(f"{self.uri}: {why}.")
        return stream

    # ---- opening -------------------------------------------------------------------------------------------

    def _start(self, settings: Settings) -> Any:
        """Create the stream with its buffers, and start acquisition."""
        camera, aravis, asking = self._camera, self._aravis, self._asking
        if camera.is_gv_device():
            set_packets(aravis, camera, settings, asking)
        stream = asking("provides no stream", lambda: camera.create_stream(None, None))
        if camera.is_gv_device():
            stream.set_property("socket-buffer", aravis.GvStreamSocketBuffer.FIXED)
            stream.set_property("socket-buffer-size", _RECEIVE_BYTES)
        payload = asking("does not report its payload size", camera.get_payload)
        for _ in range(settings.buffers):
            stream.push_buffer(aravis.Buffer.new_allocate(payload))
        asking("does not start", camera.start_acquisition)
        return stream

    def _take_over(self) -> None:
        camera = self._camera
        if camera.is_gv_device() and not camera.get_device().is_controller():
            raise CameraError(f"{self.uri}: another program controls the camera; close that one first.")
        with contextlib.suppress(Exception):  # usually it is not running
            # A program that was killed left it running, which locks settings and sends frames to no receiver.
            camera.stop_acquisition()

    def _watched(self) -> Pulse | None:
        camera = self._camera
        if not camera.is_gv_device():
            return None
        with contextlib.suppress(OSError):  # Aravis watches the camera anyway
            return Pulse(camera.get_device().get_device_address().get_address().to_string())
        return None

    def _warm_up(self) -> None:
        """Discard a few frames triggered by software, whatever triggers the camera later.

        Aravis enlarges the socket's buffer when the first frame has begun; without this, packets of the first
        part's frame would be lost. A camera without a software trigger stays uncalibrated.
        """
        if self._settings.software:
            for _ in range(_ASKED_AT_OPENING):
                self._ask_one()
            return
        camera, asking = self._camera, self._asking
        asking("does not stop", camera.stop_acquisition)
        try:
            camera.set_trigger(SOFTWARE)
            camera.start_acquisition()
            for _ in range(_ASKED_AT_OPENING):
                self._ask_one()
        except Exception:  # noqa: BLE001 (GLib's, of a camera that cannot do this)
            self._clock = Clock(self.uri)
        with contextlib.suppress(Exception):  # usually it is running
            camera.stop_acquisition()
        while (buffer := self._stream.try_pop_buffer()) is not None:
            self._stream.push_buffer(buffer)
        self._last_id = None
        set_trigger(camera, self._settings, asking)
        asking("does not start", camera.start_acquisition)

    def _ask_one(self) -> None:
        """Request one frame by software, to calibrate the clock."""
        asked_ns = time.monotonic_ns()
        self._asking("did not accept the software trigger", self._camera.software_trigger)
        buffer = self._stream.timeout_pop_buffer(int(_WARM_UP_S * 1e6))
        if buffer is None:
            raise CameraError(f"{self.uri}: no frame within {_WARM_UP_S:g} s after a software trigger.")
        host_ns = time.monotonic_ns()
        self._clock.learn(int(buffer.get_timestamp()) or None, asked_ns, host_ns)
        self._last_id = int(buffer.get_frame_id())
        self._stream.push_buffer(buffer)

    # ---- frames --------------------------------------------------------------------------------------------

    def _frame(self, buffer: Any, host_ns: int) -> Frame:
        lost = self._lost_before(int(buffer.get_frame_id()))
        self._count["missing"] += lost
        self._number += 1 + lost
        status = buffer.get_status()
        if status != self._aravis.BufferStatus.SUCCESS:
            self._count["incomplete"] += 1
            raise LostFrameError(
                f"{self.uri}: frame {self._number} is incomplete ({status.value_nick}).", self._number
            )
        self._count["frames"] += 1
        pixels = self._pixels(buffer)
        device_ns = int(buffer.get_timestamp()) or None
        exposed = self._clock.exposed(device_ns, host_ns)
        return Frame(pixels, self._colour, self._number, device_ns, host_ns, self.uri, None, *exposed)

    def _pixels(self, buffer: Any) -> NDArray[np.uint8]:
        """Copy the picture, since the buffer is returned to the camera."""
        width, height = int(buffer.get_image_width()), int(buffer.get_image_height())
        channels = (3,) if self._colour in ("rgb", "bgr") else ()
        row = width * (channels[0] if channels else 1)
        padding = int(buffer.get_image_padding()[0]) if hasattr(buffer, "get_image_padding") else 0
        data = np.frombuffer(buffer.get_image_data() or b"", np.uint8)
        if not height or data.size < (row + padding) * height - padding:
            raise CameraError(f"{self.uri}: a frame of {data.size} bytes is too short for {width}x{height}.")
        rows = np.lib.stride_tricks.as_strided(data, (height, row), (row + padding, 1), writeable=False)
        picture: NDArray[np.uint8] = rows.reshape(height, width, *channels).copy()
        return picture

    def _lost_before(self, frame_id: int) -> int:
        """Return the frames lost between the previous and this one, by the camera's own count."""
        last, self._last_id = self._last_id, frame_id
        if last is None or frame_id == 0:
            return 0
        return frames_between(last, frame_id)
