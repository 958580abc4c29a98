"""Conversion of a frame to the network's input `image`: the reference; for depth maps see `depth`.

Training, evaluation, the command line and every engine use this arithmetic; parity tests compare its copies
in other languages with it. Pictures are computed in integers and are identical on every machine, depth maps
in float64. Sizes and constants follow AST (WACV 2023, implementation details).
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import FrameError
from ast_edge.frames.pixel_formats import Colour as Colour  # noqa: PLC0414 - callers of image_input name it
from ast_edge.frames.pixel_formats import check_pixels, decode, frame_size
from ast_edge.frames.resize import resize_image
from ast_edge.model.manifest import Crop, Preprocessing

_Pixel = TypeVar("_Pixel", bound=np.generic)


def check_frame(frame: NDArray[np.uint8], colour: Colour, crop: Crop | None) -> None:
    """Refuse a frame that is not uint8 of its pixel format's shape, or does not contain the crop.

    The shape is [H,W,3] for rgb and bgr, [H,W] for mono and Bayer, [H*3/2,W] for nv12, [H,W,2] for yuyv.
    Raises FrameError.
    """
    check_pixels(frame, colour)
    check_crop(frame_size(frame, colour), crop, "frame")


def check_crop(size: tuple[int, int], crop: Crop | None, what: str) -> None:
    """Refuse `what` of `size` (width, height) in pixels if the crop is not inside. Raises FrameError."""
    width, height = size
    if crop is not None and (crop.x + crop.width > width or crop.y + crop.height > height):
        raise FrameError(
            f"The {what} is {width}x{height} pixels, too small for the model's crop of "
            f"{crop.width}x{crop.height} at ({crop.x},{crop.y}); "
            "set the camera to the resolution the model was trained with."
        )


def image_input(frame: NDArray[np.uint8], colour: Colour, spec: Preprocessing) -> NDArray[np.uint8]:
    """Return the input `image`, a new uint8 RGB [S,S,3] with S = `image_size`, from a camera's frame.

    Crops, decodes, resizes and orders the channels; mono is repeated in three channels. Mean and scale are
    applied in the graph. Raises FrameError for frames that `check_frame` refuses.
    """
    check_frame(frame, colour, spec.crop)
    return prepared_image(frame, colour, spec)


def prepared_image(frame: NDArray[np.uint8], colour: Colour, spec: Preprocessing) -> NDArray[np.uint8]:
    """As `image_input`, for a frame that `check_frame` accepted."""
    # Every channel is resized separately, so their order and number can be handled on the smaller picture.
    if colour == "mono":
        return np.repeat(resize_image(cropped(frame, spec.crop)[..., None], spec.image_size), 3, axis=2)
    if colour == "bgr":
        return np.ascontiguousarray(resize_image(cropped(frame, spec.crop), spec.image_size)[..., ::-1])
    return resize_image(decode(frame, colour, spec.crop), spec.image_size)


def cropped(array: NDArray[_Pixel], crop: Crop | None) -> NDArray[_Pixel]:
    """Return a view of [H,W,...] inside the crop; the whole array without one."""
    if crop is None:
        return array
    return array[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
