"""What every camera is to the line: frames, or a reason why there is none, as values."""

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
    """Why `read` gave no frame: nothing came in time, or nothing will come any more."""

    TIMEOUT = "timeout"
    END = "end"


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture as the camera gave it.

    `pixels` uint8 in the pixel format `colour` (see `ast_edge.frames.pixel_formats`), None for a camera of
    depth alone; `depth_m` float [H,W] in metres where there is depth. `number` counts the camera's frames
    from 0, those that were lost on the way included; `device_ns` is the camera's own clock, None where it has
    none; `host_ns` is `time.monotonic_ns()` when the whole frame had arrived. Its exposure began, on that
    same clock, no earlier than `exposed_from_ns` and no later than `exposed_to_ns`; None where the camera
    cannot tell. `source` names it for people: a file, say.
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
        """From this moment on the exposure had begun for certain: when it arrived, or earlier."""
        return self.host_ns if self.exposed_to_ns is None else self.exposed_to_ns


class Camera(ABC):
    """A source of frames; use as a context manager or call `close()`. One thread reads.

    `uri` is without credentials. `state` may be asked from any thread, and so may `counters`: frames read,
    dropped, incomplete and repeated, reconnections, and what else a kind of camera counts.
    """

    uri: str

    @abstractmethod
    def read(self, timeout_s: float) -> Frame | NoFrame:
        """The next frame, waiting at most `timeout_s`.

        Raises LostFrameError for one frame that cannot be had: its number is left out, and the next may be
        read. Raises CameraError when the camera cannot go on.
        """

    @property
    @abstractmethod
    def state(self) -> State:
        """What the camera is doing."""

    @property
    @abstractmethod
    def counters(self) -> Mapping[str, int]:
        """How often what happened since the camera was opened."""

    @property
    def frame_age_s(self) -> float | None:
        """Seconds since the last frame arrived; None before the first, or where nobody keeps count."""
        return None

    def trigger(self) -> int | None:
        """Ask for one frame (software trigger); the number it will have, None where that is unknown.

        Raises CameraError where that is not possible.
        """
        raise CameraError(f"{self.uri}: this camera has no software trigger.")

    @abstractmethod
    def close(self) -> None:
        """Let go of the camera; a second call does nothing, and a `read` that waits ends."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
