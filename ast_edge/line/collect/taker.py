"""In the place of a recipe: takes a part's picture instead of judging it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ast_edge.cameras.base import Frame
from ast_edge.errors import FrameError
from ast_edge.frames.pixel_formats import check_pixels, frame_size
from ast_edge.inspector import Inspection
from ast_edge.model.manifest import Mode


class Taker:
    """Judge and judges of a station without recipes: a part with a whole picture passes, and no output hears
    of it. `wait` is called before each part, and returns when one can be taken.
    """

    name = "collect"
    mode: Mode = "rgbd"  # both inputs must be new, where there are both
    threshold = math.nan
    spec = None

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait = wait

    @property
    def current(self) -> Taker:
        """The only one."""
        return self

    def take(self) -> Taker:
        """Return it, when a part can be taken."""
        self._wait()
        return self

    def inspect(self, frame: Frame) -> Inspection:
        """Pass a frame from which `ast-edge train` could learn. Raises FrameError for any other."""
        if frame.pixels is None or frame.colour is None:
            raise FrameError("the camera gives depth maps without pictures; training needs both.")
        check_pixels(frame.pixels, frame.colour)
        width, height = frame_size(frame.pixels, frame.colour)
        if frame.depth_m is not None and frame.depth_m.shape != (height, width):
            raise FrameError(
                f"the depth map has the shape {list(frame.depth_m.shape)}, the picture {[height, width]}; "
                "register the depth map to the picture."
            )
        nothing = np.empty((0, 0), np.float32)
        return Inspection("pass", math.nan, math.nan, "", nothing, {})

    def close(self) -> None:
        """Nothing is open."""
