"""A part's picture, and the maps of models as transparent layers over it, for a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ast_edge.inspector import Inspection
from ast_edge.model.manifest import Crop, ModelSpec
from ast_edge.overlay import Picture, draw_heat

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


class Judgement(NamedTuple):
    """How a model judged a part; `shape` is (height, width) of its frame in pixels."""

    inspection: Inspection
    spec: ModelSpec
    shape: tuple[int, int]


def layered(
    picture: Picture, judgements: Sequence[Judgement], side: int, mask: NDArray[np.bool_] | None = None
) -> Pictures:
    """Return `picture`, uint8 [H,W,3] RGB, reduced to `side` pixels, with a map for each judgement.

    `mask` bool [H,W] outlines a marked defect in the maps. A fault has no map.
    """
    photo = Image.fromarray(picture)
    photo.thumbnail((side, side))
    small = np.asarray(photo, np.uint8)
    maps = tuple(_map(judged, small.shape, mask) for judged in judgements)
    return Pictures(_uri(photo, "jpeg", **_JPEG), maps, photo.width, photo.height)


def _map(judged: Judgement, shape: tuple[int, ...], mask: NDArray[np.bool_] | None) -> str:
    if judged.inspection.verdict == "fault":
        return ""
    layer = heat_layer(shape, judged.inspection, scaled(judged.spec, judged.shape, shape[:2]), mask)
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


def scaled(spec: ModelSpec, shape: tuple[int, int], small: tuple[int, ...]) -> ModelSpec:
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
