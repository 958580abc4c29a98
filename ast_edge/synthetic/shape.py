"""The shape of the product: a turned flange with hub, bore and bolt circle, as a height map over the belt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
View = tuple[slice, slice]  # rows and columns of a part of the picture

VIEW_MM = 108.0  # width of the camera's picture on the belt
CAMERA_MM = 500.0  # from the belt up to the lens
FLANGE_RADIUS_MM = 41.0
FLANGE_MM = 11.0  # height of the flange's face
HUB_MM = 24.0  # height of the hub's face
GROOVE_MM = (24.9, 27.3)  # inner and outer radius of the face groove
HUB_RADIUS_MM = 21.5
COUNTERBORE_RADIUS_MM = 15.0
BORE_RADIUS_MM = 10.5
BOLT_CIRCLE_MM = 33.6
BOLTS = 6
BOLT_RADIUS_MM = 2.7
COUNTERSINK_RADIUS_MM = 4.0
DOWEL_RADIUS_MM = 1.3  # one small hole off the bolt pattern: it shows which way the part lies
DOWEL_ANGLE = np.pi / BOLTS
_LEDGE_MM = 18.5  # height of the counterbore's floor
_LUT_STEP_MM = 0.01
_LUT_END_MM = 90.0


@dataclass(frozen=True)
class Pose:
    """How the part lies: turned by `angle` rad, its axis at (x, y) mm from the picture's centre."""

    angle: float
    x: float
    y: float

    def to_picture(self, radius: float, angle: float) -> tuple[float, float]:
        """Picture coordinates in mm of a point given in polar coordinates on the part."""
        turned = angle + self.angle
        return self.x + radius * float(np.cos(turned)), self.y + radius * float(np.sin(turned))


@dataclass(frozen=True)
class Grid:
    """Pixel centres in mm from the picture's centre, and around the part's axis; every field [n,n]."""

    x: Field
    y: Field
    radius: Field
    cos: Field
    sin: Field
    angle: Field
    pitch_mm: float


def make_grid(pixels: int, pose: Pose) -> Grid:
    """A grid of `pixels` x `pixels` over the whole view."""
    pitch = VIEW_MM / pixels
    axis = (np.arange(pixels, dtype=np.float32) - (pixels - 1) / 2) * np.float32(pitch)
    x, y = np.meshgrid(axis, axis)
    dx, dy = x - np.float32(pose.x), y - np.float32(pose.y)
    radius, angle = cv2.cartToPolar(dx, dy)
    inverse = 1 / np.maximum(radius, 1e-3)
    return Grid(x, y, radius, dx * inverse, dy * inverse, angle, pitch)


def window(grid: Grid, x: float, y: float, reach: float) -> View:
    """Rows and columns of the square of half width `reach` around (x, y), all in mm."""
    pixels = grid.x.shape[0]
    middle = (pixels - 1) / 2

    def span(centre: float) -> slice:
        low = int(np.floor((centre - reach) / grid.pitch_mm + middle))
        high = int(np.ceil((centre + reach) / grid.pitch_mm + middle)) + 1
        return slice(max(low, 0), min(high, pixels))

    return span(y), span(x)


def turned_blank(grid: Grid) -> Field:
    """Height in mm of the part as it leaves the lathe, before the bolt holes are drilled."""
    index = np.minimum(grid.radius * np.float32(1 / _LUT_STEP_MM), _profile().size - 1).astype(np.int32)
    height: Field = _profile()[index]
    return height


def drill(height: Field, grid: Grid, pose: Pose, hole: int) -> None:
    """Cut hole `hole` (0 to BOLTS - 1: bolt holes, BOLTS: the dowel hole) into `height`, in place."""
    if hole < BOLTS:
        angle, radius, sink = 2 * np.pi * hole / BOLTS, BOLT_RADIUS_MM, COUNTERSINK_RADIUS_MM
    else:
        angle, radius, sink = DOWEL_ANGLE, DOWEL_RADIUS_MM, DOWEL_RADIUS_MM + 0.5
    x, y = pose.to_picture(BOLT_CIRCLE_MM, angle)
    view = window(grid, x, y, sink + 1)
    distance = np.hypot(grid.x[view] - x, grid.y[view] - y)
    cut = np.where(distance < sink, FLANGE_MM - (sink - distance), np.inf)
    # The lower rim is farther from the lens than the upper one, so it appears smaller and nearer to the
    # picture's centre: what lies between the two is the wall that the camera sees.
    shrink = 1 - FLANGE_MM / CAMERA_MM
    to_floor = np.hypot(grid.x[view] - x * shrink, grid.y[view] - y * shrink) - radius * shrink
    wall = np.clip(to_floor / 0.9, 0, 1) * (FLANGE_MM - 2)
    cut = np.where(distance < radius, wall, cut)
    height[view] = np.minimum(height[view], cut)


@lru_cache(maxsize=1)
def _profile() -> Field:
    """Height over radius in steps of _LUT_STEP_MM; the edges are broken by a tenth of a millimetre."""
    inner, outer = GROOVE_MM
    corners = [
        (BORE_RADIUS_MM - 0.6, 0.0),  # the bore's wall, as far as the perspective shows it
        (BORE_RADIUS_MM, _LEDGE_MM - 1.0),
        (BORE_RADIUS_MM + 0.8, _LEDGE_MM),
        (COUNTERBORE_RADIUS_MM - 0.2, _LEDGE_MM),
        (COUNTERBORE_RADIUS_MM, HUB_MM - 0.9),
        (COUNTERBORE_RADIUS_MM + 0.9, HUB_MM),
        (HUB_RADIUS_MM - 1.2, HUB_MM),
        (HUB_RADIUS_MM, HUB_MM - 1.1),
        (HUB_RADIUS_MM + 0.05, FLANGE_MM + 1.0),
        (HUB_RADIUS_MM + 1.0, FLANGE_MM),
        (inner, FLANGE_MM),
        (inner + 0.6, FLANGE_MM - 1.0),
        (outer - 0.6, FLANGE_MM - 1.0),
        (outer, FLANGE_MM),
        (FLANGE_RADIUS_MM - 1.3, FLANGE_MM),
        (FLANGE_RADIUS_MM, FLANGE_MM - 1.3),
        (FLANGE_RADIUS_MM + 0.05, 0.0),
    ]
    radius = np.arange(0, _LUT_END_MM, _LUT_STEP_MM)
    sharp = np.interp(radius, *np.transpose(corners)).astype(np.float32)
    profile: Field = cv2.GaussianBlur(sharp[None], (0, 0), sigmaX=0.18 / _LUT_STEP_MM, sigmaY=0.1)[0]
    return profile
