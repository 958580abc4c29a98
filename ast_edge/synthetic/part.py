"""One part as seen by a fixed camera over a belt: picture, registered xyz, and the mask of its defect."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import UsageError
from ast_edge.synthetic.defects import DAMAGES, damaged
from ast_edge.synthetic.light import shade
from ast_edge.synthetic.shape import (
    CAMERA_MM,
    FLANGE_RADIUS_MM,
    VIEW_MM,
    Field,
    Grid,
    Pose,
    make_grid,
    turned_blank,
)

DEFECTS = tuple(DAMAGES)
SMALLEST, LARGEST = 64, 2048
_OVERSAMPLING = 2
_TILT = (0.006, -0.004)  # slopes of the belt under the camera
_DEPTH_NOISE_MM = 0.1
_LOST_STEP_MM = 4.0  # a depth camera sees nothing where neighbours differ by more


@dataclass(frozen=True)
class SyntheticPart:
    """`image` uint8 [H,W,3] RGB; `xyz` float32 [H,W,3] metres, 0 = not measured; `mask` bool [H,W]."""

    image: NDArray[np.uint8]
    xyz: NDArray[np.float32]
    mask: NDArray[np.bool_]


def render(seed: int | np.random.Generator, defect: str | None = None, *, size: int = 256) -> SyntheticPart:
    """Render one part, `size` x `size` pixels; good, or with one of `DEFECTS`.

    The same integer gives the same bytes (with one version of NumPy and OpenCV), and with a defect the same
    part in the same place; a generator gives the next part. Raises UsageError for an unknown defect or a size
    out of range.
    """
    if defect is not None and defect not in DAMAGES:
        raise UsageError(f"defect '{defect}' does not exist; choose one of {', '.join(DEFECTS)}.")
    if not SMALLEST <= size <= LARGEST:
        raise UsageError(f"a part cannot be rendered at {size} pixels; choose {SMALLEST} to {LARGEST}.")
    root = int(seed.integers(2**63)) if isinstance(seed, np.random.Generator) else seed
    place, finish, damage, sensor = (np.random.default_rng([root, stream]) for stream in range(4))
    pose = Pose(place.normal(0, 0.05), place.normal(0, 0.7), place.normal(0, 0.7))
    grid = make_grid(size * _OVERSAMPLING, pose)
    surface, changed = damaged(turned_blank(grid), defect, grid, pose, damage)
    radiance = shade(surface, grid, _tool_marks(grid, finish), _belt(size, finish))
    share = cv2.resize(changed.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    return SyntheticPart(
        image=_expose(radiance, place.normal(1, 0.025), sensor),
        xyz=_measure(surface.height, sensor),
        mask=share >= 0.25,
    )


def _tool_marks(grid: Grid, rng: np.random.Generator) -> Field:
    """Slopes left by the tool: fine rings, a little different from place to place along each ring."""
    rings, sectors = 700, 64
    marks = 0.7 * rng.standard_normal((rings, 1)) + 0.7 * rng.standard_normal((rings, sectors))
    marks = np.concatenate([marks, marks[:, :1]], axis=1).astype(np.float32)
    to_sector = grid.angle * np.float32(sectors / (2 * np.pi))
    to_ring = grid.radius * np.float32(rings / (1.1 * FLANGE_RADIUS_MM))
    slopes = cv2.remap(marks, to_sector, to_ring, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(0.055 * slopes, dtype=np.float32)


def _belt(size: int, rng: np.random.Generator) -> Field:
    """Relative brightness [size,size] of a woven belt: weave, grain, streaks worn along its run."""
    axis = np.linspace(-VIEW_MM / 2, VIEW_MM / 2, size)
    across, run = (np.cos(2 * np.pi / 1.7 * (axis + offset)) for offset in rng.uniform(0, 1.7, 2))
    grain, streaks = (
        cv2.resize(rng.standard_normal(cells).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
        for cells in ((240, 240), (90, 3))
    )
    weave = across[None, :] - run[:, None]
    lamplight = 1 - 0.004 * axis[None, :] - 0.0025 * axis[:, None]
    return np.asarray(lamplight * (1 + 0.10 * weave + 0.14 * grain + 0.05 * streaks), dtype=np.float32)


def _expose(radiance: Field, gain: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Lens, sensor and tone curve: slight blur, vignetting, shot noise, a shoulder and a gamma of 2.2."""
    size = radiance.shape[0]
    blurred = cv2.GaussianBlur(radiance, (0, 0), 0.6)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    falloff = 1 - 0.10 * (axis[:, None] ** 2 + axis[None, :] ** 2)
    light = blurred * (falloff * np.float32(gain))[..., None]
    light += np.sqrt(light * 0.0003 + 2e-6) * rng.standard_normal(light.shape, dtype=np.float32)
    light = np.maximum(light, 0)
    tone = cv2.pow(light / (1 + 0.22 * light * light), 0.45)
    return np.asarray(np.rint(np.minimum(tone, 1) * 255), dtype=np.uint8)


def _measure(height: Field, rng: np.random.Generator) -> NDArray[np.float32]:
    """Simulate a depth camera: x, y, z in metres, 0.1 mm of noise, no measurement at steep edges."""
    level = height[::_OVERSAMPLING, ::_OVERSAMPLING]
    axis = np.linspace(-VIEW_MM / 2, VIEW_MM / 2, level.shape[0], dtype=np.float32)
    belt = CAMERA_MM + _TILT[0] * axis[None, :] + _TILT[1] * axis[:, None]
    z = belt - level + _DEPTH_NOISE_MM * rng.standard_normal(level.shape, dtype=np.float32)
    edge = cv2.morphologyEx(level, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > _LOST_STEP_MM
    chance = np.where(edge, 0.6, 0.0004)
    z = np.where(rng.random(z.shape, dtype=np.float32) < chance, 0, z / 1000)
    ray = axis / CAMERA_MM
    return np.stack([z * ray[None, :], z * ray[:, None], z], axis=2).astype(np.float32)
