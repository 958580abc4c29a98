"""Finding and configuring GigE Vision cameras through Aravis. Every setting is read back."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ast_edge.cameras import genicam
from ast_edge.cameras.genicam import TRIGGERS, Asking, colour_of
from ast_edge.cameras.uri import CameraUri, whole
from ast_edge.errors import CameraError
from ast_edge.frames.pixel_formats import Colour


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
class Settings(genicam.Settings):
    """Settings of the URI; without `packet_size` it is the largest that the network delivers."""

    packet_size: int | None

    @classmethod
    def of(cls, uri: CameraUri) -> Settings:
        """Parse the settings. Raises UsageError for impossible values."""
        uri.check_keys(*genicam.OPTIONS, "packet_size")
        size = uri.option("packet_size", _packet_size, None)
        return cls(**vars(genicam.Settings.parsed(uri)), packet_size=size)


def _packet_size(text: str) -> int | None:
    return None if text == "auto" else whole(text)


def set_up(aravis: Any, camera: Any, settings: Settings, asking: Asking) -> Colour:
    """Configure the camera and return the colour of its frames. Raises CameraError for a refused setting."""
    if (wanted := settings.pixel_format) is not None:
        asking(f"refuses pixel_format={wanted}", lambda: camera.set_pixel_format_from_string(wanted))
    found = asking("has no pixel format", camera.get_pixel_format_as_string)
    colour = colour_of(asking.uri, found)
    set_trigger(camera, settings, asking)
    if settings.exposure_us is not None:
        _automatic_off(aravis, camera, "exposure_time", asking)
        asking.number("exposure_us", settings.exposure_us, camera.set_exposure_time, camera.get_exposure_time)
    if settings.gain is not None:
        _automatic_off(aravis, camera, "gain", asking)
        asking.number("gain", settings.gain, camera.set_gain, camera.get_gain)
    return colour


def set_trigger(camera: Any, settings: Settings, asking: Asking) -> None:
    """Set the trigger, or the rate of a free-running camera. Raises CameraError if it is refused."""
    if settings.rate is not None:
        asking.number("rate", settings.rate, camera.set_frame_rate, camera.get_frame_rate)
    if (trigger := settings.trigger) == "off":
        asking("refuses trigger=off", camera.clear_triggers)
        return
    source = TRIGGERS[trigger]
    asking(f"refuses trigger={trigger}", lambda: camera.set_trigger(source))
    if (took := asking("does not report its trigger", camera.get_trigger_source)) != source:
        raise CameraError(f"{asking.uri}: trigger={trigger} is refused; the camera set {took}.")


def reported(camera: Any) -> dict[str, float | str]:
    """Return exposure, gain and their automatic modes, as far as the camera has them."""
    ask: dict[str, Callable[[], float | str]] = {
        "exposure_us": camera.get_exposure_time,
        "exposure_auto": lambda: str(camera.get_exposure_time_auto().value_nick),
        "gain": camera.get_gain,
        "gain_auto": lambda: str(camera.get_gain_auto().value_nick),
    }
    found: dict[str, float | str] = {}
    for name, get in ask.items():
        with contextlib.suppress(Exception):  # GLib's, of a camera without the feature
            found[name] = get()
    return found


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
