"""GigE Vision cameras by Aravis, through the system's bindings.

gige://SERIAL-or-ADDRESS?trigger=software&exposure_us=800&gain=0&packet_size=8192&pixel_format=Mono8&rate=30

`trigger`: software, line0 to line3 (the camera's input), or off (runs freely, at `rate` frames a second).
With software one frame is taken at opening, too. `packet_size` in bytes, by default what the
network lets through; `buffers` frames may be on their way. What is not given stays as the camera has it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ast_edge.cameras.base import Camera, Frame, NoFrame, State
from ast_edge.cameras.gi_bindings import load
from ast_edge.cameras.uri import CameraUri, positive, whole
from ast_edge.errors import CameraError
from ast_edge.pixel_formats import Colour

# By the names of the GenICam pixel format naming convention.
_COLOURS: dict[str, Colour] = {
    "Mono8": "mono",
    "BayerRG8": "bayer_rggb",
    "BayerGR8": "bayer_grbg",
    "BayerGB8": "bayer_gbrg",
    "BayerBG8": "bayer_bggr",
    "RGB8": "rgb",
    "BGR8": "bgr",
}
_TRIGGERS = {"software": "Software", **{f"line{n}": f"Line{n}" for n in range(4)}}
_OPTIONS = ("trigger", "exposure_us", "gain", "packet_size", "pixel_format", "rate", "buffers")
_POLL_S = 0.05
_WARM_UP_S = 2.0
_RECEIVE_BYTES = 32 << 20
_FRAME_IDS = 1 << 16  # GigE Vision 1.x counts blocks in 16 bits, from 1; 0 is left out


class Device(NamedTuple):
    """A camera that answered: Aravis' id, serial number, address, and maker and model."""

    id: str
    serial: str
    address: str
    model: str


def list_devices(aravis: Any) -> list[Device]:
    """Every GigE Vision camera that answers; takes about a second."""
    aravis.update_device_list()
    return [
        Device(
            aravis.get_device_id(index),
            aravis.get_device_serial_nbr(index) or "",
            aravis.get_device_address(index) or "",
            f"{aravis.get_device_vendor(index)} {aravis.get_device_model(index)}",
        )
        for index in range(aravis.get_n_devices())
        if aravis.get_device_protocol(index) == "GigEVision"
    ]


def _trigger(text: str) -> str:
    if text != "off" and text not in _TRIGGERS:
        raise ValueError(f"expected off or one of {', '.join(_TRIGGERS)}")
    return text


class GigeCamera(Camera):
    """One camera. Raises CameraError where it is not there, is in use, or refuses a setting."""

    def __init__(self, uri: CameraUri) -> None:
        uri.check_keys(*_OPTIONS)
        self.uri = uri.public
        self._aravis = load("Aravis", "0.8")
        self._closed = False
        self._lock = threading.Lock()
        self._number = -1
        self._last_id: int | None = None
        self._count = {"frames": 0, "incomplete": 0, "missing": 0}
        self._software = uri.option("trigger", _trigger, "off") == "software"
        device = self._device(uri.place)
        self._camera: Any = self._asked("cannot be opened", lambda: self._aravis.Camera.new(device))
        try:
            self._set_up(uri)
            self._stream = self._start(uri)
            if self._software:
                self._warm_up()
        except BaseException:
            self._camera = None
            raise

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """See `Camera`; an incomplete frame is counted and never given."""
        end = time.monotonic() + timeout_s
        while True:
            if self._closed:
                raise CameraError(f"{self.uri}: the camera was closed.")
            if self._is_lost():
                raise CameraError(f"{self.uri}: the camera does not answer any more; check cable and power.")
            left_s = end - time.monotonic()
            buffer = self._stream.timeout_pop_buffer(int(max(min(left_s, _POLL_S), 0) * 1e6))
            if buffer is None:
                if left_s <= 0:
                    return NoFrame.TIMEOUT
                continue
            try:
                frame = self._frame(buffer, time.monotonic_ns())
            finally:
                self._stream.push_buffer(buffer)
            if frame is not None:
                return frame

    def trigger(self) -> None:
        """See `Camera`."""
        if not self._software:
            raise CameraError(f"{self.uri}: opened without trigger=software; add it to the URI.")
        with self._lock:
            if self._closed:
                raise CameraError(f"{self.uri}: the camera was closed.")
            self._asked("did not take the software trigger", self._camera.software_trigger)

    def _is_lost(self) -> bool:
        """Whether the camera stopped answering Aravis' heartbeat.

        Asked for and not waited for: with a handler of Aravis' signal `control-lost` its thread may be the
        last to hold the camera, and would have to wait for its own end.
        """
        camera = self._camera
        return camera is not None and camera.is_gv_device() and not camera.get_device().is_controller()

    @property
    def state(self) -> State:
        """See `Camera`."""
        return "closed" if self._closed else "lost" if self._is_lost() else "live"

    @property
    def counters(self) -> Mapping[str, int]:
        """Frames; incomplete and missing ones; and of Aravis' stream: packets asked for again and missing."""
        found = dict(self._count)
        if not self._closed:
            for name in ("n_resent_packets", "n_missing_packets", "n_underruns"):
                found[name.removeprefix("n_")] = int(self._stream.get_info_uint64_by_name(name))
        return found

    def close(self) -> None:
        """See `Camera`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(Exception):  # a camera that is gone cannot be stopped
                self._camera.stop_acquisition()
            # Both go with their last reference: the stream's thread ends, and the camera is free for others.
            self._stream = self._camera = None

    # ---- opening -------------------------------------------------------------------------------------------

    def _device(self, place: str) -> str:
        """What Aravis opens: an address as it is, a serial number or name looked up in the network."""
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(place))
        found = list_devices(self._aravis)
        for device in found:
            if place in device:
                return device.id
        seen = ", ".join(f"{device.serial} at {device.address}" for device in found) or "none"
        raise CameraError(
            f"{self.uri}: no camera with this serial number answers (cameras found: {seen}); check power and "
            "cable, and that camera and network card are in one subnet, or give the camera's address."
        )

    def _set_up(self, uri: CameraUri) -> None:
        camera = self._camera
        device = camera.get_device()
        if camera.is_gv_device() and not device.is_controller():
            raise CameraError(f"{self.uri}: another program controls the camera; close that one first.")
        if "pixel_format" in uri.options:
            wanted = uri.options["pixel_format"]
            self._asked("refuses pixel_format", lambda: camera.set_pixel_format_from_string(wanted))
        found = self._asked("has no pixel format", camera.get_pixel_format_as_string)
        if found not in _COLOURS:
            raise CameraError(
                f"{self.uri}: the pixel format {found} is not among {', '.join(_COLOURS)}; choose one "
                "by pixel_format=."
            )
        self._colour = _COLOURS[found]
        trigger = uri.option("trigger", _trigger, "off")
        if "rate" in uri.options:
            self._set("rate", uri.option("rate", positive, 1.0), camera.set_frame_rate, camera.get_frame_rate)
        if trigger == "off":
            self._asked("refuses trigger=off", camera.clear_triggers)
        else:
            self._asked(f"refuses trigger={trigger}", lambda: camera.set_trigger(_TRIGGERS[trigger]))
        exposure, gain = uri.option("exposure_us", positive, None), uri.option("gain", float, None)
        if exposure is not None:
            self._set("exposure_us", exposure, camera.set_exposure_time, camera.get_exposure_time)
        if gain is not None:
            self._set("gain", gain, camera.set_gain, camera.get_gain)

    def _set(self, name: str, value: float, put: Callable[[float], object], get: Callable[[], float]) -> None:
        """Set a value and look whether it was taken, within a hundredth."""
        self._asked(f"refuses {name}={value:g}", lambda: put(value))
        found = self._asked(f"does not tell {name}", get)
        if abs(found - value) > 0.01 * max(abs(value), 1.0):
            raise CameraError(f"{self.uri}: {name}={value:g} is not possible, the camera took {found:g}.")

    def _start(self, uri: CameraUri) -> Any:
        """The stream with its buffers, and acquisition begun."""
        camera, aravis = self._camera, self._aravis
        if camera.is_gv_device():
            if "packet_size" in uri.options:
                size = uri.option("packet_size", whole, 0)
                self._asked(f"refuses packet_size={size}", lambda: camera.gv_set_packet_size(size))
            else:
                self._asked("has no packet size that arrives", camera.gv_auto_packet_size)
            # Aravis' packet socket hands packets over in blocks of up to 5 ms: too late for a line.
            camera.gv_set_stream_options(aravis.GvStreamOption.PACKET_SOCKET_DISABLED)
        stream = self._asked("gives no stream", lambda: camera.create_stream(None, None))
        if camera.is_gv_device():
            stream.set_property("socket-buffer", aravis.GvStreamSocketBuffer.FIXED)
            stream.set_property("socket-buffer-size", _RECEIVE_BYTES)
        payload = self._asked("does not tell its payload", camera.get_payload)
        for _ in range(uri.option("buffers", whole, 8)):
            stream.push_buffer(aravis.Buffer.new_allocate(payload))
        self._asked("does not start", camera.start_acquisition)
        return stream

    def _warm_up(self) -> None:
        """One frame that nobody gets: Aravis makes the socket's buffer large when the first one has begun.

        Without it, packets of the first part's frame would be lost.
        """
        self._asked("did not take the software trigger", self._camera.software_trigger)
        buffer = self._stream.timeout_pop_buffer(int(_WARM_UP_S * 1e6))
        if buffer is not None:
            self._last_id = int(buffer.get_frame_id())
            self._stream.push_buffer(buffer)

    def _asked(self, what: str, ask: Callable[[], Any]) -> Any:
        """Do it; an error of Aravis becomes a sentence."""
        try:
            return ask()
        except Exception as exc:
            words = getattr(exc, "message", None) or str(exc)
            raise CameraError(f"{self.uri}: the camera {what}: {words}") from exc

    # ---- frames --------------------------------------------------------------------------------------------

    def _frame(self, buffer: Any, host_ns: int) -> Frame | None:
        lost = self._lost_before(int(buffer.get_frame_id()))
        self._count["missing"] += lost
        self._number += 1 + lost
        if buffer.get_status() != self._aravis.BufferStatus.SUCCESS:
            self._count["incomplete"] += 1
            return None
        self._count["frames"] += 1
        pixels = self._pixels(buffer)
        device_ns = int(buffer.get_timestamp()) or None
        return Frame(pixels, self._colour, self._number, device_ns, host_ns, self.uri)

    def _pixels(self, buffer: Any) -> NDArray[np.uint8]:
        """A copy of the picture: the buffer goes back to the camera."""
        width, height = int(buffer.get_image_width()), int(buffer.get_image_height())
        channels = (3,) if self._colour in ("rgb", "bgr") else ()
        row = width * (channels[0] if channels else 1)
        padding = int(buffer.get_image_padding()[0]) if hasattr(buffer, "get_image_padding") else 0
        data = np.frombuffer(buffer.get_image_data(), np.uint8)
        if data.size < (row + padding) * height - padding:
            raise CameraError(f"{self.uri}: a frame of {data.size} bytes, {width}x{height} pixels announced.")
        rows = np.lib.stride_tricks.as_strided(data, (height, row), (row + padding, 1), writeable=False)
        picture: NDArray[np.uint8] = rows.reshape(height, width, *channels).copy()
        return picture

    def _lost_before(self, frame_id: int) -> int:
        """Frames between this one and the one before, by the camera's own count."""
        last, self._last_id = self._last_id, frame_id
        if last is None or frame_id == 0:
            return 0
        gap = frame_id - last - 1
        if gap < 0 and last < _FRAME_IDS:
            gap += _FRAME_IDS - 1  # 65535 is followed by 1
        return gap if 0 <= gap < _FRAME_IDS // 2 else 0
