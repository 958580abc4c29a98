"""Four kinds of defect. The mask is computed from the changed surface, so masks are exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ast_edge.synthetic.shape import (
    BOLTS,
    COUNTERBORE_RADIUS_MM,
    FLANGE_MM,
    FLANGE_RADIUS_MM,
    GROOVE_MM,
    HUB_RADIUS_MM,
    Field,
    Grid,
    Pose,
    View,
    drill,
    window,
)

_SUBPIXEL_BITS = 4  # fixed-point coordinates of OpenCV's drawing functions
_FACE_MM = FLANGE_MM / 2  # minimum height of a face: defects stay out of holes and off the belt
_VISIBLE_MM, _VISIBLE_OIL = 0.03, 0.25  # smaller changes are not a defect


@dataclass
class Surface:
    """The part on the belt, every field [n,n]: `height` in mm, the rest shares from 0 to 1.

    `torn` has lost its tool marks and glitters in all directions, `chip` is loose swarf, `oil` is wet.
    """

    height: Field
    torn: Field
    chip: Field
    oil: Field


Damage = Callable[[Surface, Grid, Pose, np.random.Generator], None]


def damaged(
    blank: Field, kind: str | None, grid: Grid, pose: Pose, rng: np.random.Generator
) -> tuple[Surface, NDArray[np.bool_]]:
    """Drill the turned `blank`, damage it, and return which pixels [n,n] differ from the good part."""
    forgotten = int(rng.integers(BOLTS)) if kind == "missing_hole" else None
    undamaged = blank.copy()
    for hole in range(BOLTS + 1):
        if hole != forgotten:
            drill(undamaged, grid, pose, hole)
    surface = Surface(undamaged, *(np.zeros_like(blank) for _ in range(3)))
    if kind is None:
        return surface, np.zeros(blank.shape, dtype=np.bool_)
    good = surface.height.copy()
    if forgotten is not None:
        drill(good, grid, pose, forgotten)
    DAMAGES[kind](surface, grid, pose, rng)
    return surface, (np.abs(surface.height - good) > _VISIBLE_MM) | (surface.oil > _VISIBLE_OIL)


@dataclass(frozen=True)
class _Gouge:
    """A groove half as wide as `width` with a burr on either side, deepest half way; mm and rad."""

    x: float
    y: float
    heading: float
    bend: float  # 1/mm
    length: float
    width: float
    depth: float


def _scratch(surface: Surface, grid: Grid, pose: Pose, rng: np.random.Generator) -> None:
    """A tool dragged across a face: a gouge and a lighter one beside it."""
    x, y = _spot(pose, rng)
    heading, bend = rng.uniform(0, np.pi), rng.normal(0, 0.012)
    beside = rng.choice([-1.0, 1.0]) * rng.uniform(1.6, 2.6)
    for length, width, depth, offset in ((27.0, 1.2, 0.34, 0.0), (16.0, 0.9, 0.20, beside)):
        middle = x - offset * np.sin(heading), y + offset * np.cos(heading)
        _plough(surface, grid, _Gouge(*middle, heading, bend, length * rng.uniform(0.9, 1.2), width, depth))


def _dent(surface: Surface, grid: Grid, pose: Pose, rng: np.random.Generator) -> None:
    """A blow: an oval hollow about a millimetre deep, with a raised rim."""
    x, y = _spot(pose, rng)
    length, width = rng.uniform(3.6, 4.6), rng.uniform(2.8, 3.4)
    turn, depth = rng.uniform(0, np.pi), rng.uniform(0.9, 1.5)
    view = window(grid, x, y, 3 * length)
    dx, dy = grid.x[view] - x, grid.y[view] - y
    along = (dx * np.cos(turn) + dy * np.sin(turn)) / length
    across = (dy * np.cos(turn) - dx * np.sin(turn)) / width
    square = along * along + across * across
    face = surface.height[view] > _FACE_MM
    hollow = depth * (0.35 * square * np.exp(-0.9 * square) - np.exp(-square))
    surface.height[view] += np.where(face, hollow, 0)
    surface.torn[view] = np.where(face, 0.5 * np.exp(-square * square), 0)


def _contamination(surface: Surface, grid: Grid, pose: Pose, rng: np.random.Generator) -> None:
    """A curled chip of swarf that stands up from the face, in a smear of cutting oil."""
    x, y = _spot(pose, rng)
    view = window(grid, x, y, 13)
    _smear(surface, grid, view, (x, y), rng)
    line, rise = _helix((x, y), rng)
    width = rng.uniform(0.9, 1.2)
    ribbon = np.clip(1 - (_distance(grid, view, line) / (0.5 * width)) ** 2, 0, 1)
    lift = _strands(grid, view, line, rise, 1.4 * width)
    covered = (ribbon > 0) & (surface.height[view] > _FACE_MM)
    top = surface.height[view] + lift + 0.5 * width * np.sqrt(ribbon)
    surface.height[view] = np.where(covered, top, surface.height[view])
    surface.chip[view] = surface.torn[view] = covered


def _leave_as_it_is(surface: Surface, grid: Grid, pose: Pose, rng: np.random.Generator) -> None:
    """Do nothing: `damaged` has not drilled the missing hole."""


DAMAGES: dict[str, Damage] = {
    "scratch": _scratch,
    "dent": _dent,
    "missing_hole": _leave_as_it_is,
    "contamination": _contamination,
}


def _spot(pose: Pose, rng: np.random.Generator) -> tuple[float, float]:
    """Return a place between two bolt holes on the flange's face or, one time in four, on the hub's."""
    on_hub = rng.uniform() < 0.25
    inner, outer = (COUNTERBORE_RADIUS_MM, HUB_RADIUS_MM) if on_hub else (GROOVE_MM[1], FLANGE_RADIUS_MM)
    angle = 2 * np.pi / BOLTS * (rng.integers(BOLTS) + rng.uniform(0.3, 0.7))
    return pose.to_picture(inner + rng.uniform(0.4, 0.6) * (outer - inner), angle)


def _helix(
    middle: tuple[float, float], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points [80,2] of a chip seen from above and their distances from the face, both in mm."""
    along = np.linspace(-0.5, 0.5, 80)
    heading, length = rng.uniform(0, 2 * np.pi), rng.uniform(6.5, 9.0)
    phase = rng.uniform(0, 2 * np.pi) + 2 * np.pi * rng.uniform(2.4, 3.2) * along
    loop = rng.uniform(1.5, 2.0) * (1 - 0.5 * along)
    forward = length * along + 0.6 * loop * np.cos(phase)
    aside = loop * np.sin(phase) + 4 * rng.uniform(-1, 1) * along**2
    x = middle[0] + forward * np.cos(heading) - aside * np.sin(heading)
    y = middle[1] + forward * np.sin(heading) + aside * np.cos(heading)
    return np.stack([x, y], axis=1), 0.3 + loop * (1 + np.cos(phase))


def _plough(surface: Surface, grid: Grid, gouge: _Gouge) -> None:
    view = window(grid, gouge.x, gouge.y, gouge.length / 2 + 2)
    dx, dy = grid.x[view] - gouge.x, grid.y[view] - gouge.y
    along = dx * np.cos(gouge.heading) + dy * np.sin(gouge.heading)
    aside = dy * np.cos(gouge.heading) - dx * np.sin(gouge.heading) - 0.5 * gouge.bend * along * along
    pressure = np.sqrt(np.clip(1 - (2 * along / gouge.length) ** 2, 0, 1))
    pressure *= surface.height[view] > _FACE_MM
    across = np.abs(aside) / (0.5 * gouge.width)
    groove = 0.4 * np.exp(-(((across - 0.9) / 0.35) ** 2)) - np.exp(-((across / 0.55) ** 2))
    surface.height[view] += gouge.depth * pressure * groove
    torn = 0.8 * pressure * np.exp(-((across / 0.8) ** 4))
    surface.torn[view] = np.maximum(surface.torn[view], torn)


def _pixels(grid: Grid, view: View, line: NDArray[np.float64]) -> NDArray[np.int32]:
    origin = grid.x[view][0, 0], grid.y[view][0, 0]
    fixed_point = (line - np.asarray(origin)) / grid.pitch_mm * 2**_SUBPIXEL_BITS
    return np.asarray(np.rint(fixed_point), dtype=np.int32)


def _distance(grid: Grid, view: View, line: NDArray[np.float64]) -> Field:
    """Return the distance in mm of every pixel of `view` from the drawn `line`."""
    canvas = np.full(grid.x[view].shape, 255, dtype=np.uint8)
    cv2.polylines(
        canvas,
        [_pixels(grid, view, line)],
        isClosed=False,
        color=0,
        lineType=cv2.LINE_8,
        shift=_SUBPIXEL_BITS,
    )
    distance = cv2.distanceTransform(canvas, cv2.DIST_L2, 5) * np.float32(grid.pitch_mm)
    return np.asarray(distance, dtype=np.float32)


def _strands(
    grid: Grid, view: View, line: NDArray[np.float64], rise: NDArray[np.float64], width: float
) -> Field:
    """Return the distance of the topmost strand from the face, in mm: low strands are drawn first."""
    canvas = np.zeros(grid.x[view].shape, dtype=np.float32)
    pixels = _pixels(grid, view, line)
    thickness = max(1, round(width / grid.pitch_mm))
    for index in np.argsort(rise[:-1]):
        start, end = pixels[index].tolist(), pixels[index + 1].tolist()
        cv2.line(canvas, start, end, float(rise[index]), thickness, cv2.LINE_8, _SUBPIXEL_BITS)
    return canvas


def _smear(
    surface: Surface, grid: Grid, view: View, middle: tuple[float, float], rng: np.random.Generator
) -> None:
    dx, dy = grid.x[view] - middle[0], grid.y[view] - middle[1]
    coarse = rng.standard_normal((7, 7)).astype(np.float32)
    ragged = cv2.resize(coarse, dx.shape[::-1], interpolation=cv2.INTER_CUBIC)
    share = np.clip(2 * (1 + 0.22 * ragged - np.hypot(dx, dy) / rng.uniform(5.0, 6.5)), 0, 1)
    surface.oil[view] = np.where(surface.height[view] > _FACE_MM, share, 0)
