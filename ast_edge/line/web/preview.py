"""A part's picture at screen size: small JPEG files, with and without heat map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import FrameError
from ast_edge.frames.pixel_formats import check_pixels, decode
from ast_edge.line.part import PartResult
from ast_edge.model.manifest import Crop, ModelSpec

if TYPE_CHECKING:
    from ast_edge.cameras.base import Frame

SIDE = 800
THUMBNAIL_SIDE = 160
MOST_BYTES = 200_000
_QUALITIES = (80, 50, 20, 5)

Picture = NDArray[np.uint8]


def previews(result: PartResult) -> dict[str, bytes]:
    """Return JPEG files by kind: `plain`, `heat` and the thumbnail `small`, each at most `MOST_BYTES`.

    Empty if the part has no frame. Raises FrameError if the frame does not match its description.
    """
    from ast_edge.overlay import depth_picture  # noqa: PLC0415 (loads OpenCV)

    frame = result.frame
    if frame is None:
        return {}
    if frame.pixels is not None and frame.colour is not None:
        size, plain = _reduced(frame)
    elif frame.depth_m is not None:
        size = frame.depth_m.shape[1], frame.depth_m.shape[0]
        plain = depth_picture(_strided(np.asarray(frame.depth_m, np.float32)))
    else:
        return {}
    heat = _heated(plain, size, result)
    return {
        "plain": _jpeg(plain),
        "heat": _jpeg(heat),
        "small": _jpeg(_resized(heat, _fitting((heat.shape[1], heat.shape[0]), THUMBNAIL_SIDE))),
    }


def _reduced(frame: Frame) -> tuple[tuple[int, int], Picture]:
    """Return width and height of the frame, and its picture as RGB of at most `SIDE` pixels.

    Large pictures are reduced before decoding: decoding 20 megapixels blocks the interpreter for longer than
    a part may take.
    """
    pixels, colour = frame.pixels, frame.colour
    assert pixels is not None  # noqa: S101 (the caller looked)
    assert colour is not None  # noqa: S101
    check_pixels(pixels, colour)
    if colour in ("rgb", "bgr", "mono"):
        size = pixels.shape[1], pixels.shape[0]
        return size, np.ascontiguousarray(decode(_resized(pixels, _fitting(size, SIDE)), colour))
    if colour.startswith("bayer_"):
        size = pixels.shape[1], pixels.shape[0]
        picture = decode(_cells(pixels), colour)
    else:
        picture = decode(pixels, colour)
        size = picture.shape[1], picture.shape[0]
    return size, _resized(picture, _fitting(size, SIDE))


def _cells(pixels: Picture) -> Picture:
    """Return every k-th 2x2 cell of a Bayer pattern, which leaves about twice `SIDE` pixels."""
    step = max(pixels.shape) // (2 * SIDE)
    if step < 2:
        return pixels
    height, width = (length // (2 * step) for length in pixels.shape)
    blocks = pixels[: height * 2 * step, : width * 2 * step].reshape(height, 2 * step, width, 2 * step)
    return np.ascontiguousarray(blocks[:, :2, :, :2]).reshape(height * 2, width * 2)


def _strided(depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
    step = -(-max(depth_m.shape) // SIDE)
    return depth_m[::step, ::step]


def _fitting(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _resized(picture: Picture, size: tuple[int, int]) -> Picture:
    import cv2  # noqa: PLC0415 (OpenCV is loaded with the first picture; it lets other threads run)

    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    found = cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)
    return np.asarray(found, np.uint8)


def _heated(plain: Picture, size: tuple[int, int], result: PartResult) -> Picture:
    """Return the picture with heat map and outline; unchanged if there is no map that fits."""
    from ast_edge.overlay import draw_heat  # noqa: PLC0415 (loads OpenCV)

    if result.inspection is None or result.spec is None:
        return plain
    try:
        return draw_heat(plain, result.inspection, _scaled(result.spec, size, plain))
    except FrameError:
        return plain  # the frame is smaller than the model's crop: a fault, without a map


def _scaled(spec: ModelSpec, size: tuple[int, int], picture: Picture) -> ModelSpec:
    """Return the model's settings with the crop in pixels of the reduced picture."""
    crop = spec.preprocessing.crop
    if crop is None:
        return spec
    height, width = picture.shape[:2]
    across, down = width / size[0], height / size[1]
    left, top = int(crop.x * across), int(crop.y * down)
    right, bottom = round((crop.x + crop.width) * across), round((crop.y + crop.height) * down)
    small = Crop(x=left, y=top, width=max(1, right - left), height=max(1, bottom - top))
    update: Mapping[str, object] = {"preprocessing": spec.preprocessing.model_copy(update={"crop": small})}
    return spec.model_copy(update=update)


def _jpeg(picture: Picture) -> bytes:
    import cv2  # noqa: PLC0415

    bgr = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR)
    data = b""
    for quality in _QUALITIES:
        done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not done:
            raise FrameError(f"the picture of shape {list(picture.shape)} cannot be encoded.")
        data = encoded.tobytes()
        if len(data) <= MOST_BYTES:
            break
    return data
