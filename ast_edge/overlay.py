"""Overlays for people: where the model found an anomaly, and the verdict. Nothing here affects verdicts."""

from __future__ import annotations

import bisect
import math

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ast_edge.errors import FrameError
from ast_edge.frames.preprocess import check_frame
from ast_edge.inspector import Inspection
from ast_edge.model.manifest import Crop, ModelSpec
from ast_edge.verdict.scoring import Verdict

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

# The heat map in units of the pixel threshold: invisible up to the first, fully coloured from the second.
_COLD, _HOT = 0.5, 2.0
_HEAT_STOPS = ((0.0, (255, 226, 112)), (0.35, (255, 140, 28)), (1.0, (222, 12, 62)))
_HEAT_OPACITY = 0.62
_OUTLINE: Colour = (255, 255, 255)
_OUTLINE_SHADOW: Colour = (70, 0, 24)
_CROP_LINE: Colour = (150, 156, 168)
_STRIP: Colour = (22, 24, 29)
_TRACK: Colour = (62, 66, 76)
_TEXT: Colour = (236, 238, 242)
_VERDICT_COLOURS: dict[Verdict, Colour] = {
    "pass": (46, 160, 84),
    "reject": (222, 44, 62),
    "fault": (236, 160, 24),
}
_READABLE_SIDE = 512
_CLOSED_GAP, _RELIEF = 2, 0.5
_SQUARE = np.ones((3, 3), np.uint8)
_DARKEST, _NO_MEASUREMENT = 24, (10, 12, 30)


def draw_overlay(image: Picture, inspection: Inspection, spec: ModelSpec) -> Picture:
    """Draw `draw_heat`, and a strip below it with verdict, score and threshold.

    A small picture is enlarged so that the strip is readable.
    """
    canvas = draw_heat(image, inspection, spec)
    return np.vstack([canvas, _caption(inspection, canvas.shape[1])])


def draw_heat(image: Picture, inspection: Inspection, spec: ModelSpec) -> Picture:
    """Draw heat map and outline on the picture; a small one is enlarged.

    `image` is the inspected picture, uint8 [H,W,3] RGB, whole and not cropped. The colour starts at half the
    pixel threshold of the model and is full at twice; the outline surrounds every pixel above it. Non-finite
    values are not coloured. What a mask or the crop excludes is dimmed. Returns uint8 RGB. Raises FrameError
    for another kind of picture or a crop outside it.
    """
    crop = spec.preprocessing.crop
    check_frame(image, "rgb", crop)
    height, width = image.shape[:2]
    zoom = max(1, math.ceil(_READABLE_SIDE / max(height, width)))
    enlarged = cv2.resize(image, (width * zoom, height * zoom), interpolation=cv2.INTER_CUBIC)
    canvas: Picture = np.array(enlarged, np.uint8)
    rows, columns = _window(crop, height, width, zoom)
    view = canvas[rows, columns]
    heat = _relative_heat(inspection.anomaly_map, spec.threshold.pixel_value, view.shape[:2])
    line = max(1, round(max(canvas.shape[:2]) / 400))
    if crop is not None:
        _draw_crop(canvas, rows, columns, line)
    if spec.preprocessing.looked_at is not None:
        _draw_roi(view, spec.preprocessing.looked_at, line)
    _draw_heat(view, heat)
    _draw_outline(view, heat, line)
    return canvas


def depth_picture(z_m: NDArray[np.floating]) -> Picture:
    """Render a depth map [H,W] in metres as a grey picture uint8 [H,W,3], for people.

    Near is bright, the scale spans the middle 98 % of the measured distances, slopes are shaded as if lit
    from above; gaps of a few pixels are closed, larger ones stay dark blue. Raises FrameError for any other
    shape.
    """
    if z_m.ndim != 2 or not z_m.size:
        raise FrameError(f"expected a depth map [H,W], found an array of shape {list(z_m.shape)}.")
    measured = np.isfinite(z_m) & (z_m > 0)
    picture = np.full((*z_m.shape, 3), _NO_MEASUREMENT, np.uint8)
    if not measured.any():
        return picture
    near, far = (float(limit) for limit in np.percentile(z_m[measured], [1, 99]))
    # At least half a millimetre, so that the noise of a flat surface does not look like relief.
    height = np.clip((far - np.where(measured, z_m, far)) / max(far - near, 5e-4), 0, 1).astype(np.float32)
    known = measured.astype(np.uint8)
    for _ in range(_CLOSED_GAP):
        height = np.where(known > 0, height, cv2.dilate(height, _SQUARE))
        known = cv2.dilate(known, _SQUARE)
    slope = cv2.Sobel(cv2.GaussianBlur(height, (0, 0), 1.5), cv2.CV_32F, 0, 1)
    grey = _DARKEST + (255 - _DARKEST) * np.clip(0.85 * height + 0.1 + _RELIEF * np.tanh(slope), 0, 1)
    picture[known > 0] = grey[known > 0, None].round().astype(np.uint8)
    return picture


def _window(crop: Crop | None, height: int, width: int, zoom: int) -> tuple[slice, slice]:
    if crop is None:
        return slice(0, height * zoom), slice(0, width * zoom)
    bottom, right = (crop.y + crop.height) * zoom, (crop.x + crop.width) * zoom
    return slice(crop.y * zoom, bottom), slice(crop.x * zoom, right)


def _relative_heat(
    anomaly_map: NDArray[np.float32], pixel_value: float, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return the map in units of the pixel threshold, enlarged to `shape`."""
    unit = max(pixel_value, float(np.finfo(np.float32).tiny))
    finite = np.nan_to_num(anomaly_map.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    relative = np.clip(finite / unit, 0, 1e6).astype(np.float32)
    return np.asarray(cv2.resize(relative, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def _draw_heat(view: Picture, heat: NDArray[np.float32]) -> None:
    level = np.clip((heat - _COLD) / (_HOT - _COLD), 0, 1)
    warm_rows, warm_columns = np.flatnonzero(level.any(axis=1)), np.flatnonzero(level.any(axis=0))
    if not warm_rows.size:
        return
    # Colours are computed only where needed: most pictures show good parts.
    box = slice(warm_rows[0], warm_rows[-1] + 1), slice(warm_columns[0], warm_columns[-1] + 1)
    level = level[box]
    places = [place for place, _ in _HEAT_STOPS]
    colour = np.stack(
        [np.interp(level, places, [stop[c] for _, stop in _HEAT_STOPS]) for c in range(3)], axis=-1
    )
    # Rises steeply but smoothly, so that the picture stays visible where nothing was found.
    opacity = (_HEAT_OPACITY * np.sqrt(level) * np.clip(level * 6, 0, 1))[..., None]
    view[box] = np.rint(view[box] * (1 - opacity) + colour * opacity).astype(np.uint8)


def _draw_outline(view: Picture, heat: NDArray[np.float32], line: int) -> None:
    above = (heat > 1).astype(np.uint8)
    _draw_lines(view, above, (_OUTLINE_SHADOW, line + 2), (_OUTLINE, line))


def _draw_lines(view: Picture, area: NDArray[np.uint8], *lines: tuple[Colour, int]) -> None:
    """Draw lines, a colour and a width each, around the pixels of `area` that are not zero."""
    contours, _ = cv2.findContours(area, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    # cv2 needs contiguous memory, and `view` may be a part of the picture.
    drawn = view.copy()
    for colour, width in lines:
        cv2.drawContours(drawn, contours, -1, colour, width, cv2.LINE_AA)
    view[:] = drawn


def _draw_crop(canvas: Picture, rows: slice, columns: slice, line: int) -> None:
    """Dim the area outside the crop and draw a line around the crop."""
    inside = canvas[rows, columns].copy()
    canvas[:] = canvas // 2
    canvas[rows, columns] = inside
    corners = (columns.start - line, rows.start - line), (columns.stop, rows.stop)
    cv2.rectangle(canvas, *corners, _CROP_LINE, line)
    canvas[rows, columns] = inside


def _draw_roi(view: Picture, pixels: NDArray[np.bool_], line: int) -> None:
    """Dim what the mask [S,S] of the picture excludes and draw a line around what is looked at."""
    size = (view.shape[1], view.shape[0])
    inside = np.asarray(cv2.resize(pixels.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST), np.uint8)
    view[inside == 0] //= 2
    _draw_lines(view, inside, (_CROP_LINE, line))


def _caption(inspection: Inspection, width: int) -> Picture:
    """Draw the strip: verdict, score and threshold as text, and a gauge with the threshold in its middle."""
    height = max(36, round(0.08 * width))
    strip = Image.new("RGB", (width, height), _STRIP)
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size=round(0.4 * height))
    margin, middle = round(0.24 * height), height / 2
    colour = _VERDICT_COLOURS[inspection.verdict]
    word = inspection.verdict.upper()
    badge = round(draw.textlength(word, font) + 2 * margin)
    draw.rounded_rectangle(
        (margin, margin, margin + badge, height - margin), round(0.14 * height), fill=colour
    )
    draw.text((margin + badge / 2, middle), word, (255, 255, 255), font, anchor="mm")
    left, right = 2 * margin + badge, width - margin
    if math.isfinite(inspection.score):
        gauge = round(0.22 * width)
        _draw_gauge(draw, (right - gauge, right, middle, height / 9), inspection, colour)
        right -= gauge + margin
        text = f"score {inspection.score:.4g} / threshold {inspection.threshold:.4g}"
    else:
        text = inspection.reason
    draw.text((left, middle), _shortened(draw, text, font, right - left), _TEXT, font, anchor="lm")
    return np.asarray(strip, np.uint8)


def _draw_gauge(
    draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], inspection: Inspection, colour: Colour
) -> None:
    """Draw a bar from zero to twice the threshold in `box` (left, right, middle, half its height)."""
    left, right, middle, half = box
    ratio = inspection.score / inspection.threshold if inspection.threshold > 0 else 2.0
    end = left + (right - left) * min(max(ratio / 2, 0.0), 1.0)
    draw.rectangle((left, middle - half, right, middle + half), fill=_TRACK)
    if end > left:
        draw.rectangle((left, middle - half, end, middle + half), fill=colour)
    tick = (left + right) / 2
    draw.line(
        (tick, middle - 2.2 * half, tick, middle + 2.2 * half), fill=_TEXT, width=max(2, round(half / 3))
    )


def _shortened(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float
) -> str:
    """Return `text` on one line, truncated with dots beyond `room` pixels."""
    line = " ".join(text.split())
    if draw.textlength(line, font) <= room:
        return line
    kept = bisect.bisect_right(range(len(line)), room, key=lambda n: draw.textlength(f"{line[:n]}...", font))
    return f"{line[: kept - 1]}..." if kept else ""
