"""What GenICam cameras have in common, whichever library opens them: names, settings, errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ast_edge.cameras.device_clock import DeviceClock
from ast_edge.cameras.uri import CameraUri, finite, positive, whole
from ast_edge.errors import AstEdgeError, CameraError, UsageError
from ast_edge.frames.pixel_formats import Colour

# Names of the GenICam pixel format naming convention; the last two are those of its first version.
COLOURS: dict[str, Colour] = {
    "Mono8": "mono",
    "BayerRG8": "bayer_rggb",
    "BayerGR8": "bayer_grbg",
    "BayerGB8": "bayer_gbrg",
    "BayerBG8": "bayer_bggr",
    "RGB8": "rgb",
    "BGR8": "bgr",
    "RGB8Packed": "rgb",
    "BGR8Packed": "bgr",
}
SOFTWARE = "Software"
TRIGGERS = {"software": SOFTWARE, **{f"line{n}": f"Line{n}" for n in range(4)}}
OPTIONS = ("trigger", "exposure_us", "gain", "pixel_format", "rate", "buffers")
_MOST_BUFFERS = 256
_FRAME_IDS = 1 << 16
# Where in the source of the GenICam reference implementation an error was found.
_THROWN = re.compile(r"\s*:? \w+Exception thrown.*", re.DOTALL)


@dataclass(frozen=True)
class Settings:
    """Settings of the URI; None keeps the camera's value."""

    trigger: str
    exposure_us: float | None
    gain: float | None
    pixel_format: str | None
    rate: float | None
    buffers: int

    @staticmethod
    def parsed(uri: CameraUri) -> Settings:
        """Parse the settings that all have. Raises UsageError for impossible values."""
        settings = Settings(
            trigger=uri.option("trigger", _trigger, "off"),
            exposure_us=uri.option("exposure_us", positive, None),
            gain=uri.option("gain", finite, None),
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
    if text != "off" and text not in TRIGGERS:
        raise ValueError(f"expected off or one of {', '.join(TRIGGERS)}")
    return text


def _buffers(text: str) -> int:
    if not 1 <= (count := whole(text)) <= _MOST_BUFFERS:
        raise ValueError(f"expected 1 to {_MOST_BUFFERS}")
    return count


def frames_between(last: int, now: int) -> int:
    """Frames lost between two by the camera's own count of them.

    GigE Vision counts in 16 bits from 1, unless it has extended ids: 65535 is followed by 1.
    """
    gap = now - last - 1
    if gap < 0 and last < _FRAME_IDS:
        gap += _FRAME_IDS - 1
    return gap if 0 <= gap < _FRAME_IDS // 2 else 0


def colour_of(uri: str, pixel_format: str) -> Colour:
    """Return the colour of a pixel format. Raises CameraError for one that is not read."""
    if pixel_format not in COLOURS:
        raise CameraError(
            f"{uri}: the pixel format {pixel_format} is not among {', '.join(COLOURS)}; set one "
            "with pixel_format=."
        )
    return COLOURS[pixel_format]


class Clock:
    """The clock of a camera whose frames may have no stamp: a `DeviceClock` that raises CameraError."""

    def __init__(self, uri: str) -> None:
        self._uri, self._clock = uri, DeviceClock()

    def learn(self, device_ns: int | None, asked_ns: int, host_ns: int) -> None:
        """Learn from a frame that was requested at `asked_ns` and arrived at `host_ns`."""
        if device_ns is not None:
            try:
                self._clock.learn(device_ns, asked_ns, host_ns)
            except ValueError as exc:
                raise CameraError(f"{self._uri}: {exc}.") from exc

    def exposed(self, device_ns: int | None, host_ns: int) -> tuple[int | None, int | None]:
        """Return when the exposure can have begun, from and to; None if unknown."""
        if device_ns is None:
            return None, None
        try:
            return self._clock.exposed(device_ns, host_ns)
        except ValueError as exc:
            raise CameraError(f"{self._uri}: {exc}.") from exc


class Asking:
    """Calls a camera; errors of its library become a CameraError that names the camera."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __call__(self, what: str, ask: Callable[[], Any]) -> Any:
        """Run `ask`. `what` is the end of a sentence that begins with "the camera"."""
        try:
            return ask()
        except AstEdgeError:
            raise
        except Exception as exc:
            words = _THROWN.sub("", getattr(exc, "message", None) or str(exc)).rstrip(". ")
            raise CameraError(f"{self.uri}: the camera {what}: {words}.") from exc

    def number(
        self, name: str, value: float, put: Callable[[float], object], get: Callable[[], float]
    ) -> None:
        """Set a value and check that it was accepted, within a hundredth."""
        self(f"refuses {name}={value:g}", lambda: put(value))
        found = self(f"does not report {name}", get)
        if not abs(found - value) <= 0.01 * max(abs(value), 1.0):
            raise CameraError(f"{self.uri}: {name}={value:g} is not possible; the camera set {found:g}.")
