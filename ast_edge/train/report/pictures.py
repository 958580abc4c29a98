"""The report's pictures: of each part one, and the models' maps as transparent layers over it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ast_edge.data import Sample, load, load_mask
from ast_edge.errors import DataError
from ast_edge.inspector import Inspection
from ast_edge.model.manifest import Crop, ModelSpec
from ast_edge.overlay import Picture, depth_picture, draw_heat
from ast_edge.train.evaluate import Judged

# The longest side of a picture in pixels by the number of parts, so that the page stays below some 20 MB.
_SIDES = ((60, 640), (250, 420), (1000, 280))
_SMALLEST_SIDE = 120
_MAP_SIDE = 400  # a map is not made smaller than this: its lines would fade
_JPEG = {"quality": 80}
_WEBP = {"quality": 50, "alpha_quality": 60}  # maps are smooth
_OUTLINE = (64, 224, 255)  # of a marked defect


@dataclass(frozen=True)
class Pictures:
    """A part's picture and the maps over it as data URIs, empty where there is none; sizes in pixels."""

    photo: str = ""
    maps: tuple[str, ...] = ()
    width: int = 0
    height: int = 0


def side_for(parts: int) -> int:
    """Return the longest side of a picture in a report of that many parts."""
    return next((side for most, side in _SIDES if parts <= most), _SMALLEST_SIDE)


def pictures_of(judged: Sequence[Judged], specs: Sequence[ModelSpec], side: int) -> Pictures:
    """Return the pictures of a part as each of the models with `specs` judged it; its file is read again."""
    sample = judged[0].sample
    picture = _picture(sample, specs[0])
    if picture is None:
        return Pictures()
    photo = Image.fromarray(picture)
    photo.thumbnail((side, side))
    small = np.asarray(photo, np.uint8)
    mask = None
    if sample.mask is not None:
        mask = load_mask(sample, picture.shape[:2])
    maps = tuple(
        _map(part.inspection, _scaled(spec, part.shape, small.shape[:2]), small.shape, mask)
        for part, spec in zip(judged, specs, strict=True)
    )
    return Pictures(_uri(photo, "jpeg", **_JPEG), maps, photo.width, photo.height)


def _picture(sample: Sample, spec: ModelSpec) -> Picture | None:
    """Return the inspected picture, the rendered depth map in mode depth; None for an unreadable file."""
    try:
        loaded = load(sample, spec.mode)
    except DataError:
        return None
    if loaded.image is not None:
        return loaded.image
    assert loaded.depth_m is not None  # noqa: S101  # a loaded sample has one or the other
    return depth_picture(loaded.depth_m)


def _map(
    inspection: Inspection, spec: ModelSpec, shape: tuple[int, ...], mask: NDArray[np.bool_] | None
) -> str:
    if inspection.verdict == "fault":
        return ""
    layer = heat_layer(shape, inspection, spec, mask)
    if not layer[..., 3].any():
        return ""
    image = Image.fromarray(layer)
    image.thumbnail((max(_MAP_SIDE, *shape[:2]),) * 2)
    return _uri(image, "webp", **_WEBP)


def heat_layer(
    shape: tuple[int, ...], inspection: Inspection, spec: ModelSpec, mask: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Return what `draw_heat` adds to a picture of `shape` [H,W,3] as uint8 RGBA, with the outline of `mask`.

    What it makes of a black and of a white picture tells both colour and opacity.
    """
    black, white = (
        _outlined(draw_heat(np.full(shape, level, np.uint8), inspection, spec), mask) for level in (0, 255)
    )
    through = np.clip(white.astype(np.float32) - black, 0, 255).mean(axis=2, keepdims=True)
    opacity = 255 - through
    colour = np.divide(255.0 * black, opacity, out=np.zeros(black.shape, np.float32), where=opacity >= 1)
    layer = np.concatenate([colour, opacity], axis=2).round().clip(0, 255)
    return np.asarray(layer, np.uint8)


def _outlined(picture: Picture, mask: NDArray[np.bool_] | None) -> Picture:
    if mask is None:
        return picture
    size = (picture.shape[1], picture.shape[0])
    enlarged = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(enlarged, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, _OUTLINE, max(1, round(max(size) / 400)))
    return picture


def _scaled(spec: ModelSpec, shape: tuple[int, int], small: tuple[int, ...]) -> ModelSpec:
    """Return `spec` with its crop in pixels of a reduced picture."""
    crop = spec.preprocessing.crop
    if crop is None:
        return spec
    down, across = small[0] / shape[0], small[1] / shape[1]
    left, top = round(crop.x * across), round(crop.y * down)
    right = min(max(left + 1, round((crop.x + crop.width) * across)), small[1])
    bottom = min(max(top + 1, round((crop.y + crop.height) * down)), small[0])
    reduced = Crop(x=left, y=top, width=right - left, height=bottom - top)
    preprocessing = spec.preprocessing.model_copy(update={"crop": reduced})
    return spec.model_copy(update={"preprocessing": preprocessing})


def _uri(image: Image.Image, kind: str, **quality: int) -> str:
    stream = io.BytesIO()
    image.save(stream, format=kind.upper(), **quality)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
