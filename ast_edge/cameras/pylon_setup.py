"""Configuring Basler cameras by the names of their GenICam features. Every setting is read back."""

from __future__ import annotations

import contextlib
from types import ModuleType
from typing import Any

from ast_edge.cameras.genicam import TRIGGERS, Asking, Settings, colour_of
from ast_edge.errors import CameraError
from ast_edge.frames.pixel_formats import Colour

# The names under which cameras have what an option is about.
_REPORTED = {
    "exposure_us": ("ExposureTime", "ExposureTimeAbs"),
    "exposure_auto": ("ExposureAuto",),
    "gain": ("Gain", "GainRaw"),
    "gain_auto": ("GainAuto",),
}


class Features:
    """The features of an open camera; `genicam` is the module of pypylon."""

    def __init__(self, camera: Any, genicam: ModuleType, asking: Asking) -> None:
        self._camera, self._genicam, self._asking = camera, genicam, asking

    def set_up(self, settings: Settings) -> Colour:
        """Set pixel format, exposure, gain and buffers; return the colour of the frames."""
        if settings.pixel_format is not None:
            self.set("PixelFormat", settings.pixel_format)
        colour = colour_of(self._asking.uri, str(self.node("PixelFormat").GetValue()))
        self.set_number("exposure_us", settings.exposure_us, *_REPORTED["exposure_us"], auto="ExposureAuto")
        self.set_number("gain", settings.gain, *_REPORTED["gain"], auto="GainAuto")
        self._camera.MaxNumBuffer.Value = settings.buffers
        return colour

    def set_trigger(self, trigger: str, rate: float | None = None) -> None:
        """Set the trigger of a frame, or the `rate` of a free-running camera; others are switched off."""
        selector = self.node("TriggerSelector")
        for kind in selector.Symbolics if selector is not None else ():
            if kind != "FrameStart" and self.writable("TriggerSelector"):
                selector.SetValue(kind)
                if self.writable("TriggerMode"):
                    self.set("TriggerMode", "Off")
        if selector is not None:
            self.set("TriggerSelector", "FrameStart")
        if trigger == "off":
            self.set("TriggerMode", "Off")
            if rate is not None and self.writable("AcquisitionFrameRateEnable"):
                self.set("AcquisitionFrameRateEnable", "true")
            self.set_number("rate", rate, "AcquisitionFrameRate", "AcquisitionFrameRateAbs")
            return
        self.set("TriggerSource", TRIGGERS[trigger])
        self.set("TriggerMode", "On")

    def reported(self) -> dict[str, float | str]:
        """Return exposure, gain and their automatic modes, as far as the camera has them."""
        found: dict[str, float | str] = {}
        for option, names in _REPORTED.items():
            node = next((node for name in names if (node := self.node(name)) is not None), None)
            if node is not None and self._genicam.IsReadable(node):
                found[option] = node.GetValue()
        return found

    def node(self, name: str) -> Any:
        """Return a feature by its GenICam name; None if the camera has none of that name."""
        node = self._camera.GetNodeMap().GetNode(name)
        return node if node.IsValid() else None

    def writable(self, name: str) -> bool:
        """Whether the camera has the feature and lets it be set now."""
        node = self.node(name)
        return node is not None and bool(self._genicam.IsWritable(node))

    def set(self, name: str, value: str) -> None:
        """Set a feature from text, and check that it was accepted. A command is executed."""
        node = self.node(name)
        if node is None:
            raise CameraError(f"{self._asking.uri}: the camera has no feature {name}.")
        if isinstance(node, self._genicam.ICommand):
            self._asking(f"refuses {name}", node.Execute)
            return
        self._asking(f"refuses {name}={value}", lambda: node.FromString(value))
        found = self._asking(f"does not report {name}", node.ToString)
        if not _same(found, value):
            raise CameraError(f"{self._asking.uri}: {name}={value} is not possible; the camera set {found}.")

    def set_number(self, option: str, value: float | None, *names: str, auto: str = "") -> None:
        """Set a number under the first of `names` that the camera has, its automatic mode `auto` off."""
        if value is None:
            return
        if auto and self.writable(auto):
            self.set(auto, "Off")
        name = next((name for name in names if self.node(name) is not None), names[0])
        node = self.node(name)
        if node is None:
            raise CameraError(
                f"{self._asking.uri}: {option}={value:g} is not possible; the camera has no {name}."
            )
        whole_only = isinstance(node, self._genicam.IInteger)
        self._asking.number(
            option, value, lambda given: node.SetValue(round(given) if whole_only else given), node.GetValue
        )

    def tick_ns(self) -> float:
        """Nanoseconds of a tick of the camera's clock: USB3 Vision counts nanoseconds, GigE Vision says."""
        frequency = self.node("GevTimestampTickFrequency")
        if frequency is None or not self._genicam.IsReadable(frequency):
            return 1.0
        return 1e9 / max(int(frequency.GetValue()), 1)


def _same(found: str, value: str) -> bool:
    """Whether a feature has the value given: numbers within a hundredth, truth values in any spelling."""
    with contextlib.suppress(ValueError):
        return abs(float(found) - float(value)) <= 0.01 * max(abs(float(value)), 1.0)
    words = {found.casefold(), value.casefold()}
    return len(words) == 1 or words in ({"1", "true"}, {"0", "false"})
