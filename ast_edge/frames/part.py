"""One part as seen by the camera: frame, colour and depth map, checked once and passed on as one value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import FrameError
from ast_edge.frames.depth import check_depth, prepared_depth
from ast_edge.frames.pixel_formats import Colour, frame_size
from ast_edge.frames.preprocess import check_frame, prepared_image
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import ModelSpec, Preprocessing


@dataclass(frozen=True, eq=False)
class Part:
    """The inputs of one part; create it with `Part.checked`.

    `frame` is uint8 in the pixel format `colour` (see `ast_edge.frames.pixel_formats`), both None in mode
    depth. `depth_m` is float32 or float64 [H,W], distances in metres, None in mode rgb. `width` and `height`
    are the size in pixels.
    """

    frame: NDArray[np.uint8] | None = field(repr=False)
    colour: Colour | None
    depth_m: NDArray[np.floating[Any]] | None = field(repr=False)
    width: int
    height: int

    @classmethod
    def checked(
        cls,
        spec: ModelSpec,
        frame: NDArray[np.uint8] | None = None,
        colour: Colour | None = None,
        depth_m: NDArray[np.floating[Any]] | None = None,
    ) -> Part:
        """Check and create a part for the model `spec`. The values of a depth map are not checked yet.

        Raises FrameError when an input is missing, not of the model's mode, or has the wrong dtype or shape.
        """
        _check_presence(spec, frame, colour, depth_m)
        crop = spec.preprocessing.crop
        width = height = 0
        if depth_m is not None:
            check_depth(depth_m, crop)
            height, width = depth_m.shape
        if frame is not None and colour is not None:
            check_frame(frame, colour, crop)
            size = frame_size(frame, colour)
            if depth_m is not None and size != (width, height):
                raise FrameError(
                    f"frame and depth map must show the same pixels, found {[size[1], size[0]]} and "
                    f"{[height, width]} (height, width); register the depth map to the frame."
                )
            width, height = size
        return cls(frame, colour, depth_m, width, height)

    def copy(self) -> Part:
        """Return a copy of the part that owns its memory."""
        frame = None if self.frame is None else self.frame.copy()
        return replace(self, frame=frame, depth_m=None if self.depth_m is None else self.depth_m.copy())

    def inputs(self, spec: Preprocessing) -> dict[str, Array]:
        """Return the network's inputs for this part, shaped as in `input_specs` with a batch of 1.

        Raises FrameError for a depth map with unusable values.
        """
        found: dict[str, Array] = {}
        if self.frame is not None and self.colour is not None:
            found["image"] = prepared_image(self.frame, self.colour, spec)[None]
        if self.depth_m is not None:
            depth = prepared_depth(self.depth_m, spec)
            found["depth"], found["foreground"] = depth.depth[None], depth.foreground[None]
        return found


def _check_presence(spec: ModelSpec, frame: object, colour: object, depth_m: object) -> None:
    mode = spec.mode
    for name, value, wanted in (
        ("frame", frame, mode != "depth"),
        ("colour", colour, mode != "depth"),
        ("depth_m", depth_m, mode != "rgb"),
    ):
        if wanted and value is None:
            raise FrameError(f"mode {mode} of this model needs `{name}`, found none; give it to inspect().")
        if not wanted and value is not None:
            raise FrameError(f"mode {mode} of this model does not use `{name}`; leave it out.")
