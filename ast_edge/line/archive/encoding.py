"""Pictures and depth maps of frames as bytes of files. OpenCV encodes, and releases the interpreter lock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ast_edge.frames.pixel_formats import Colour, check_pixels, decode

_LZW = 5

Picture = NDArray[np.uint8]


def decoded(pixels: NDArray[np.uint8], colour: Colour) -> Picture:
    """Return a frame as RGB [H,W,3], as the network sees it. Raises FrameError for a malformed one."""
    check_pixels(pixels, colour)
    return decode(pixels, colour)


def encode_picture(
    picture: Picture, suffix: str, settings: Sequence[int], *, grey: bool = False
) -> memoryview:
    """Encode RGB [H,W,3] as a file with this suffix; with `grey`, whose channels are equal, as grey levels.

    `settings` are pairs of OpenCV's `imwrite` flags and values.
    """
    import cv2  # noqa: PLC0415 (OpenCV is loaded with the first picture)

    if grey:
        return _encode(suffix, picture[..., 0], settings)
    return _encode(suffix, cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR), settings)


def encode_xyz(depth_m: NDArray[np.floating[Any]]) -> memoryview:
    """A float32 TIFF [H,W,3] of x, y and z as `ast_edge.frames.reading.read_xyz` reads it; x and y are 0."""
    import cv2  # noqa: PLC0415

    xyz = np.zeros((*depth_m.shape, 3), np.float32)
    xyz[..., 0] = depth_m  # OpenCV writes the channels in reverse order
    return _encode(".tiff", xyz, (cv2.IMWRITE_TIFF_COMPRESSION, _LZW))


def _encode(suffix: str, pixels: NDArray[Any], settings: Sequence[int]) -> memoryview:
    import cv2  # noqa: PLC0415

    done, data = cv2.imencode(suffix, np.ascontiguousarray(pixels), list(settings))
    if not done:
        raise ValueError(f"OpenCV cannot encode {suffix} of shape {list(pixels.shape)}")
    return data.data
