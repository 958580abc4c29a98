"""The interface of cameras: frames, or the reason for the absence of one, as values."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import CameraError
from ast_edge.frames.pixel_formats import Colour

if TYPE_CHECKING:
    from typing_extensions import Self

State = Literal["connecting", "live", "stalled", "lost", "closed"]


class NoFrame(enum.Enum):
    """Why `read` returned no frame: none arrived in time, or none will arrive any more."""

    TIMEOUT = "timeout"
    END = "end"


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame as delivered by the camera.

    `pixels` uint8 in the pixel format `colour` (see `ast_edge.frames.pixel_formats`), None for a depth-only
    camera; `depth_m` float [H,W] in metres, None without depth. `number` counts the camera's frames from 0,
    including those lost in transit; `device_ns` is the camera's own clock, None if it has none; `host_ns` is
    `time.monotonic_ns()` when the whole frame had arrived. The exposure began, on the same clock, no earlier
    than `exposed_from_ns` and no later than `exposed_to_ns`; None if the camera cannot provide this. `source`
    is a label for people, such as a file name.
    """

    pixels: NDArray[np.uint8] | None = field(repr=False)
    colour: Colour | None
    number: int
    device_ns: int | None
    host_ns: int
    source: str = ""
    depth_m: NDArray[np.floating[Any]] | None = field(default=None, repr=False)
    exposed_from_ns: int | None = None
    exposed_to_ns: int | None = None

    @property
    def latest_ns(self) -> int:
        """The latest moment at which the exposure can have begun: the time of arrival or earlier."""
        return self.host_ns if self.exposed_to_ns is None else self.exposed_to_ns


class Camera(ABC):
    """A source of frames; use as a context manager or call `close()`. One thread reads.

    `uri` contains no credentials. `state` and `counters` may be read from any thread. Counters: frames read,
    dropped, incomplete and repeated, reconnections, and counters specific to the kind of camera.
    """

    uri: str

    @abstractmethod
    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the next frame; wait at most `timeout_s`.

        Raises LostFrameError for a single frame that cannot be delivered: its number is skipped, and reading
        may continue. Raises CameraError when the camera cannot continue.
        """

    @property
    @abstractmethod
    def state(self) -> State:
        """The state of the camera."""

    @property
    @abstractmethod
    def counters(self) -> Mapping[str, int]:
        """Event counts since the camera was opened."""

    @property
    def settings(self) -> Mapping[str, float | str]:
        """What the camera reported when it was opened: by the names of the URI's options, such as
        exposure_us, and its automatic modes, exposure_auto and gain_auto. Empty if it reports nothing.
        """
        return {}

    @property
    def frame_age_s(self) -> float | None:
        """Seconds since the last frame arrived; None before the first, or if the camera does not track it."""
        return None

    def trigger(self) -> int | None:
        """Request one frame (software trigger); return the number it will have, None if unknown.

        Raises CameraError if the camera has no software trigger.
        """
        raise CameraError(f"{self.uri}: this camera has no software trigger.")

    @abstractmethod
    def close(self) -> None:
        """Release the camera; idempotent. A waiting `read` returns."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
