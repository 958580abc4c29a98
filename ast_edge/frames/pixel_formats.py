"""Pixel formats of frames, and the conversion of each to RGB.

All arithmetic is in integers, so a frame decodes to the same picture on every machine; parity tests compare
the CUDA kernels with it. Bayer colours are interpolated linearly from the nearest pixels of the missing
colour; YUV is BT.601 in limited range with the nearest chroma sample.
"""

from __future__ import annotations

from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import FrameError
from ast_edge.model.manifest import Crop

Colour = Literal["rgb", "bgr", "mono", "bayer_rggb", "bayer_bggr", "bayer_grbg", "bayer_gbrg", "nv12", "yuyv"]
COLOURS = cast("tuple[Colour, ...]", get_args(Colour))

_BAYER_SHAPE = "[height,width] of at least 2x2 pixels"
_SHAPES: dict[Colour, str] = {
    "rgb": "[height,width,3]",
    "bgr": "[height,width,3]",
    "mono": "[height,width]",
    "bayer_rggb": _BAYER_SHAPE,
    "bayer_bggr": _BAYER_SHAPE,
    "bayer_grbg": _BAYER_SHAPE,
    "bayer_gbrg": _BAYER_SHAPE,
    "nv12": "[height*3/2,width] with an even height and width",
    "yuyv": "[height,width,2] with an even width",
}
_CHANNELS: dict[Colour, int] = {"rgb": 3, "bgr": 3, "yuyv": 2}

# BT.601 with luma in 16..235 and chroma in 16..240 around 128, in 16-bit fixed point. Red weighs 0.299 and
# blue 0.114 in luma, so V is (red - luma) / 1.402 and U is (blue - luma) / 1.772.
_YUV_BITS = 16
_LUMA = round(255 / 219 * (1 << _YUV_BITS))
_RED_OF_V = round(1.402 * 255 / 224 * (1 << _YUV_BITS))
_BLUE_OF_U = round(1.772 * 255 / 224 * (1 << _YUV_BITS))
_GREEN_OF_U = -round(1.772 * 0.114 / 0.587 * 255 / 224 * (1 << _YUV_BITS))
_GREEN_OF_V = -round(1.402 * 0.299 / 0.587 * 255 / 224 * (1 << _YUV_BITS))


def check_pixels(frame: NDArray[np.uint8], colour: Colour) -> None:
    """Refuse a frame that is not uint8 of the shape of the colour order. Raises FrameError."""
    if colour not in _SHAPES:
        raise FrameError(f"Unknown colour order {colour!r}: expected one of {', '.join(_SHAPES)}.")
    found = frame.dtype if isinstance(frame, np.ndarray) else type(frame).__name__
    if found != np.uint8:
        raise FrameError(f"The frame must be a NumPy array of uint8, found {found}; set the camera to 8 bit.")
    if not _has_shape(frame, colour):
        raise FrameError(
            f"A frame with the colour order {colour} must have the shape {_SHAPES[colour]}, "
            f"found {list(frame.shape)}; check the camera's pixel format."
        )


def _has_shape(frame: NDArray[np.uint8], colour: Colour) -> bool:
    if frame.shape[2:] != ((_CHANNELS[colour],) if colour in _CHANNELS else ()) or not frame.size:
        return False
    if frame.ndim < 2:
        return False
    rows, width = frame.shape[0], frame.shape[1]
    if colour.startswith("bayer_"):
        return bool(min(rows, width) >= 2)
    if colour == "nv12":
        return bool(rows % 3 == 0 and width % 2 == 0)
    return colour != "yuyv" or bool(width % 2 == 0)


def frame_size(frame: NDArray[np.uint8], colour: Colour) -> tuple[int, int]:
    """Return width and height in pixels of a frame that `check_pixels` accepts."""
    rows, width = frame.shape[0], frame.shape[1]
    return width, rows * 2 // 3 if colour == "nv12" else rows


def decode(frame: NDArray[np.uint8], colour: Colour, crop: Crop | None = None) -> NDArray[np.uint8]:
    """Return the pixels of `crop` (None: all) as uint8 RGB [h,w,3], possibly a view of the frame.

    Identical to decoding the whole frame and then cropping: a Bayer pixel at the crop's edge uses its
    neighbours outside. The frame may be a view at any pitch; it and the crop must have been checked.
    """
    width, height = frame_size(frame, colour)
    crop = crop or Crop(x=0, y=0, width=width, height=height)
    if colour.startswith("bayer_"):
        return _from_bayer(frame, colour.removeprefix("bayer_"), crop)
    if colour == "nv12":
        return _from_nv12(frame, height, crop)
    pixels = frame[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
    if colour == "yuyv":
        return _from_yuyv(frame, pixels[..., 0], crop)
    if colour == "mono":
        return np.repeat(pixels[..., None], 3, axis=2)
    return pixels[..., ::-1] if colour == "bgr" else pixels


def _from_bayer(frame: NDArray[np.uint8], tile: str, crop: Crop) -> NDArray[np.uint8]:
    """Interpolate each missing colour from the two or four nearest pixels that have it."""
    rows = _mirrored(crop.y, crop.height, frame.shape[0])
    columns = _mirrored(crop.x, crop.width, frame.shape[1])
    around = frame[rows][:, columns].astype(np.uint16)  # one more pixel on each side
    out = np.empty((crop.height, crop.width, 3), np.uint8)
    for row in range(min(2, crop.height)):
        for column in range(min(2, crop.width)):
            # The pattern starts at the frame's corner, not at the crop's.
            tile_row, tile_column = (crop.y + row) % 2, (crop.x + column) % 2
            here, beside = tile[2 * tile_row + tile_column], tile[2 * tile_row + 1 - tile_column]
            out[row::2, column::2] = _blended(around[row:, column:], here, beside)
    return out


def _mirrored(start: int, length: int, size: int) -> NDArray[np.int64]:
    """Return indices start-1 .. start+length, mirrored at the edges without repetition: keeps the phase."""
    index = np.abs(np.arange(start - 1, start + length + 1))
    return np.where(index < size, index, 2 * (size - 1) - index)


def _blended(around: NDArray[np.uint16], here: str, beside: str) -> NDArray[np.uint8]:
    """Return RGB of every second pixel of every second row, the first at [1,1] of `around`.

    `here` is the colour (r, g or b) of these pixels in the pattern, `beside` that of their row neighbours.
    """
    up, middle, down = (slice(start, len(around) - 2 + start, 2) for start in range(3))
    left, centre, right = (slice(start, around.shape[1] - 2 + start, 2) for start in range(3))
    own: NDArray[np.uint16] = around[middle, centre]
    beside_sum: NDArray[np.uint16] = around[middle, left] + around[middle, right]
    above_sum: NDArray[np.uint16] = around[up, centre] + around[down, centre]
    if here == "g":
        horizontal, vertical = (beside_sum + 1) >> 1, (above_sum + 1) >> 1
        colours = [horizontal, own, vertical] if beside == "r" else [vertical, own, horizontal]
    else:
        green = (beside_sum + above_sum + 2) >> 2
        corners = around[up, left] + around[up, right] + around[down, left] + around[down, right]
        other = (corners + 2) >> 2
        colours = [own, green, other] if here == "r" else [other, green, own]
    return np.stack(colours, axis=2).astype(np.uint8)


def _from_nv12(frame: NDArray[np.uint8], height: int, crop: Crop) -> NDArray[np.uint8]:
    """Convert luma [H,W], followed by rows of alternating U and V, one pair per 2x2 pixels."""
    luma = frame[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
    pairs = frame[height:].reshape(height // 2, -1, 2)
    rows = np.arange(crop.y, crop.y + crop.height) // 2
    return _from_yuv(luma, pairs[rows][:, _pair_of_column(crop)])


def _from_yuyv(frame: NDArray[np.uint8], luma: NDArray[np.uint8], crop: Crop) -> NDArray[np.uint8]:
    """Convert yuyv: U follows an even pixel's luma and V the next one's, for both pixels."""
    chroma = frame[crop.y : crop.y + crop.height, :, 1]
    pairs = chroma.reshape(crop.height, -1, 2)
    return _from_yuv(luma, pairs[:, _pair_of_column(crop)])


def _pair_of_column(crop: Crop) -> NDArray[np.int64]:
    return np.arange(crop.x, crop.x + crop.width) // 2


def _from_yuv(luma: NDArray[np.uint8], chroma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert luma [h,w] and chroma (U, V) [h,w,2] to RGB [h,w,3]; luma below 16 counts as black."""
    half = 1 << (_YUV_BITS - 1)
    y = np.maximum(luma.astype(np.int32) - 16, 0) * np.int32(_LUMA) + np.int32(half)
    u, v = (chroma[..., i].astype(np.int32) - 128 for i in range(2))
    red = y + np.int32(_RED_OF_V) * v
    green = y + np.int32(_GREEN_OF_U) * u + np.int32(_GREEN_OF_V) * v
    blue = y + np.int32(_BLUE_OF_U) * u
    return np.stack([np.clip(c >> _YUV_BITS, 0, 255) for c in (red, green, blue)], axis=2).astype(np.uint8)
