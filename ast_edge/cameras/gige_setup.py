"""Finding and configuring GigE Vision cameras through Aravis. Every setting is read back."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ast_edge.cameras.uri import CameraUri, finite, positive, whole
from ast_edge.errors import CameraError, UsageError
from ast_edge.frames.pixel_formats import Colour

# Names of the GenICam pixel format naming convention.
COLOURS: dict[str, Colour] = {
    "Mono8": "mono",
    "BayerRG8": "bayer_rggb",
    "BayerGR8": "bayer_grbg",
    "BayerGB8": "bayer_gbrg",
    "BayerBG8": "bayer_bggr",
    "RGB8": "rgb",
    "BGR8": "bgr",
}
SOFTWARE = "Software"
_TRIGGERS = {"software": SOFTWARE, **{f"line{n}": f"Line{n}" for n in range(4)}}
_OPTIONS = ("trigger", "exposure_us", "gain", "packet_size", "pixel_format", "rate", "buffers")
_MOST_BUFFERS = 256


class Device(NamedTuple):
    """A camera that answered: Aravis id, serial number, address, vendor and model."""

    id: str
    serial: str
    address: str
    model: str


def list_devices(aravis: Any) -> list[Device]:
    """List every GigE Vision camera that answers; takes about a second."""
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


def device_of(aravis: Any, uri: CameraUri) -> str:
    """Return what Aravis opens: an address unchanged; a serial number or name is looked up in the network.

    Raises CameraError if no camera has this name.
    """
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(uri.place))
    found = list_devices(aravis)
    for device in found:
        if uri.place in device:
            return device.id
    seen = ", ".join(f"{device.serial} at {device.address}" for device in found) or "none"
    raise CameraError(
        f"{uri.public}: no camera with this serial number answers (cameras found: {seen}); check power and "
        "cable, and that camera and network card are in one subnet, or give the camera's address."
    )


@dataclass(frozen=True)
class Settings:
    """Settings of the URI; None keeps the camera's value, or for packet_size takes the network's maximum."""

    trigger: str
    exposure_us: float | None
    gain: float | None
    packet_size: int | None
    pixel_format: str | None
    rate: float | None
    buffers: int

    @classmethod
    def of(cls, uri: CameraUri) -> Settings:
        """Parse the settings. Raises UsageError for impossible values."""
        uri.check_keys(*_OPTIONS)
        settings = cls(
            trigger=uri.option("trigger", _trigger, "off"),
            exposure_us=uri.option("exposure_us", positive, None),
            gain=uri.option("gain", finite, None),
            packet_size=uri.option("packet_size", _packet_size, None),
            pixel_format=uri.options.get("pixel_format"),
            rate=uri.option("rate", positive, None),
            buffers=uri.option("buffers", _buffers, 8),
        )
        if settings.rate is not None and settings.trigger != "off":
            raise UsageError(
                f"{uri.public}: rate= applies to a free-running camera and has no effect with "
                f"trigger={settings.trigger}; leave one of them out."
            )
        return settings

    @property
    def software(self) -> bool:
        """Whether frames are requested with `trigger()`."""
        return self.trigger == "software"


def _trigger(text: str) -> str:
    if text != "off" and text not in _TRIGGERS:
        raise ValueError(f"expected off or one of {', '.join(_TRIGGERS)}")
    return text


def _packet_size(text: str) -> int | None:
    return None if text == "auto" else whole(text)


def _buffers(text: str) -> int:
    if not 1 <= (count := whole(text)) <= _MOST_BUFFERS:
        raise ValueError(f"expected 1 to {_MOST_BUFFERS}")
    return count


class Asking:
    """Calls a camera; errors of Aravis become a CameraError that names the camera."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __call__(self, what: str, ask: Callable[[], Any]) -> Any:
        """Run `ask`. `what` is the end of a sentence that begins with "the camera"."""
        try:
            return ask()
        except Exception as exc:
            words = getattr(exc, "message", None) or str(exc)
            raise CameraError(f"{self.uri}: the camera {what}: {words}") from exc

    def number(
        self, name: str, value: float, put: Callable[[float], object], get: Callable[[], float]
    ) -> None:
        """Set a value and check that it was accepted, within a hundredth."""
        self(f"refuses {name}={value:g}", lambda: put(value))
        found = self(f"does not report {name}", get)
        if not abs(found - value) <= 0.01 * max(abs(value), 1.0):
            raise CameraError(f"{self.uri}: {name}={value:g} is not possible; the camera set {found:g}.")


def set_up(aravis: Any, camera: Any, settings: Settings, asking: Asking) -> Colour:
    """Configure the camera and return the colour of its frames. Raises CameraError for a refused setting."""
    if (wanted := settings.pixel_format) is not None:
        asking(f"refuses pixel_format={wanted}", lambda: camera.set_pixel_format_from_string(wanted))
    found = asking("has no pixel format", camera.get_pixel_format_as_string)
    if found not in COLOURS:
        raise CameraError(
            f"{asking.uri}: the pixel format {found} is not among {', '.join(COLOURS)}; set one "
            "with pixel_format=."
        )
    set_trigger(camera, settings, asking)
    if settings.exposure_us is not None:
        _automatic_off(aravis, camera, "exposure_time", asking)
        asking.number("exposure_us", settings.exposure_us, camera.set_exposure_time, camera.get_exposure_time)
    if settings.gain is not None:
        _automatic_off(aravis, camera, "gain", asking)
        asking.number("gain", settings.gain, camera.set_gain, camera.get_gain)
    return COLOURS[found]


def set_trigger(camera: Any, settings: Settings, asking: Asking) -> None:
    """Set the trigger, or the rate of a free-running camera. Raises CameraError if it is refused."""
    if settings.rate is not None:
        asking.number("rate", settings.rate, camera.set_frame_rate, camera.get_frame_rate)
    if (trigger := settings.trigger) == "off":
        asking("refuses trigger=off", camera.clear_triggers)
        return
    source = _TRIGGERS[trigger]
    asking(f"refuses trigger={trigger}", lambda: camera.set_trigger(source))
    if (took := asking("does not report its trigger", camera.get_trigger_source)) != source:
        raise CameraError(f"{asking.uri}: trigger={trigger} is refused; the camera set {took}.")


def _automatic_off(aravis: Any, camera: Any, what: Literal["exposure_time", "gain"], asking: Asking) -> None:
    """Switch an automatic mode off, which would change the value again or make the camera refuse it."""
    there = camera.is_exposure_auto_available if what == "exposure_time" else camera.is_gain_auto_available
    if asking(f"does not report whether it has automatic {what}", there):
        switch = getattr(camera, f"set_{what}_auto")
        asking(f"keeps its automatic {what}", lambda: switch(aravis.Auto.OFF))


def set_packets(aravis: Any, camera: Any, settings: Settings, asking: Asking) -> None:
    """Set the packet size and the socket that receives packets."""
    if (size := settings.packet_size) is None:
        asking("has no packet size that the network delivers", camera.gv_auto_packet_size)
    else:
        asking.number(
            "packet_size", size, lambda _: camera.gv_set_packet_size(size), camera.gv_get_packet_size
        )
    # Aravis' packet socket delivers packets in blocks of up to 5 ms: too late for a line.
    camera.gv_set_stream_options(aravis.GvStreamOption.PACKET_SOCKET_DISABLED)
