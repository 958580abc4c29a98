"""Conversion of a depth map to the network's inputs `depth` and `foreground`: the reference, in float64.

Sizes and constants follow AST (WACV 2023, implementation details).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import FrameError, UsageError
from ast_edge.frames.preprocess import check_crop, cropped
from ast_edge.frames.resize import filter_table
from ast_edge.model.manifest import Crop, MaskWeights, Preprocessing

_Number = TypeVar("_Number", np.float64, np.uint8)
MAX_DEPTH_M = 100.0  # a larger value means a wrong unit
UNSHUFFLE = 8  # the depth map is 8 times as large as the anomaly map per side; 8x8 blocks become channels
NOT_FINITE = "The depth map holds NaN or infinity; set pixels without a measurement to 0."
NEGATIVE = "The depth map holds a negative distance{found}; distances must be measured from the camera."
TOO_FAR = (
    "The depth map reaches {found} m, expected at most "
    f"{MAX_DEPTH_M:g} m; give it in metres, not in millimetres."
)
NO_CORNER = (
    "The background cannot be found: no corner of the depth map holds a measurement; "
    "move the camera or the crop so that at least one corner sees the plane the part lies on."
)
GAP_PASSES = 3


@dataclass(frozen=True, eq=False)
class DepthInput:
    """The network's inputs from a depth map, with h = `map_size`.

    `depth` float32 [1,8h,8h]: distance in centimetres beyond the part's mean, 0 on the background.
    `foreground` float32 [1,h,h]: weights in 0..1 of the anomaly map's pixels.
    """

    depth: NDArray[np.float32]
    foreground: NDArray[np.float32]

    @property
    def empty(self) -> bool:
        """Whether no pixel of the anomaly map belongs to a part, so that there is nothing to judge."""
        return not bool(self.foreground.any())


def depth_unit(value: str | float) -> float:
    """Return the metres of one unit of an integer depth map. ValueError unless above 0 and at most 1."""
    try:
        metres = float(value)
    except ValueError:
        metres = math.nan
    if not 0 < metres <= 1:
        raise ValueError("expected the metres of one unit, above 0 and at most 1; millimetres are 0.001")
    return metres


def depth_input(z_m: NDArray[np.float32] | NDArray[np.float64], spec: Preprocessing) -> DepthInput:
    """Return `depth` and `foreground` from distances in metres, float32 or float64 [H,W], 0 = unmeasured.

    Gaps are filled, the background is the bilinear surface through the four corners, the part is what stands
    out from it by more than `foreground_min_m`, and its depth is relative to its mean (AST, WACV 2023,
    implementation details). Pixels outside the crop are ignored. Raises FrameError for an unusable map,
    UsageError for a model without depth.
    """
    check_depth(z_m, spec.crop)
    return prepared_depth(z_m, spec)


def prepared_depth(z_m: NDArray[np.floating], spec: Preprocessing) -> DepthInput:
    """As `depth_input`, for a map whose dtype and shape `check_depth` accepted."""
    if spec.depth is None:
        raise UsageError("This model takes no depth map: its preprocessing has no depth settings.")
    z, part = _part(z_m, spec.crop, spec.depth.foreground_min_m)
    mean_z = z[part].mean() if part.any() else 0.0
    size = UNSHUFFLE * spec.map_size
    depth = _bilinear(np.where(part, 100.0 * (z - mean_z), 0.0), size)
    foreground = _mask_weights(_bilinear(part.astype(np.float64), size) > 0, spec.depth.mask)
    return DepthInput(depth.astype(np.float32)[None], foreground.astype(np.float32)[None])


def part_in_depth(
    z_m: NDArray[np.float32] | NDArray[np.float64], foreground_min_m: float
) -> NDArray[np.bool_]:
    """Return where the part is in a whole depth map [H,W] in metres: bool [H,W]; see `depth_input`."""
    check_depth(z_m, None)
    return _part(z_m, None, foreground_min_m)[1]


def _part(
    z_m: NDArray[np.floating], crop: Crop | None, foreground_min_m: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return depth without gaps and where the part stands out from its background, both [H,W] of the crop."""
    z = _fill_gaps(_checked_values(z_m, crop))
    return z, (np.abs(_background(z) - z) > foreground_min_m) & (z != 0)


def _checked_values(z_m: NDArray[np.floating], crop: Crop | None) -> NDArray[np.float64]:
    z = cropped(z_m, crop).astype(np.float64)
    if not np.isfinite(z).all():
        raise FrameError(NOT_FINITE)
    if z.min() < 0:
        raise FrameError(NEGATIVE.format(found=f", {z.min():g} m"))
    if z.max() > MAX_DEPTH_M:
        raise FrameError(TOO_FAR.format(found=f"{z.max():g}"))
    return z


def check_depth(z_m: NDArray[np.floating], crop: Crop | None) -> None:
    """Check dtype and shape of a depth map; its values are not checked. Raises FrameError."""
    found = z_m.dtype if isinstance(z_m, np.ndarray) else type(z_m).__name__
    if found not in (np.float32, np.float64):
        raise FrameError(f"The depth map must be float32 or float64 in metres, found {found}.")
    if z_m.ndim != 2:
        raise FrameError(f"The depth map must have the shape [height,width], found {list(z_m.shape)}.")
    check_depth_size(z_m.shape[0], z_m.shape[1], crop)


def check_depth_size(height: int, width: int, crop: Crop | None) -> None:
    """Refuse a depth map that does not contain the crop or leaves less than 2x2 pixels. Raises FrameError."""
    check_crop((width, height), crop, "depth map")
    if crop is not None:
        height, width = crop.height, crop.width
    if min(height, width) < 2:
        raise FrameError(f"The depth map must have at least 2x2 pixels, found {width}x{height}.")


def _fill_gaps(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Three times, replace each zero by the mean of the surrounding measured pixels of the previous pass."""
    padded = np.pad(z, 1)  # zeros count as not measured, so the border is no special case
    filled = padded[1:-1, 1:-1]
    for _ in range(GAP_PASSES):
        count = _sum_3x3((padded > 0).view(np.uint8))
        np.divide(_sum_3x3(padded), count, out=filled, where=(filled == 0) & (count > 0))
    return filled


def _sum_3x3(padded: NDArray[_Number]) -> NDArray[_Number]:
    tall = padded[:-2] + padded[1:-1] + padded[2:]
    total: NDArray[_Number] = tall[:, :-2] + tall[:, 1:-1] + tall[:, 2:]
    return total


def _background(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the bilinear surface through the four corners, [H,W] in metres, exact in the corners."""
    (top_left, top_right), (bottom_left, bottom_right) = _corners(z)
    down, right = np.linspace(0.0, 1.0, z.shape[0])[:, None], np.linspace(0.0, 1.0, z.shape[1])
    left_edge = (1 - down) * top_left + down * bottom_left
    right_edge = (1 - down) * top_right + down * bottom_right
    surface: NDArray[np.float64] = (1 - right) * left_edge + right * right_edge
    return surface


def _corners(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean distance of measured pixels in each 2x2 corner, [2,2]; one without any is completed."""
    patches = z[[0, 1, -2, -1]][:, [0, 1, -2, -1]].reshape(2, 2, 2, 2)
    count = (patches > 0).sum(axis=(1, 3))
    # One axis after the other, so that the order of the additions is the same for every memory layout.
    corners: NDArray[np.float64] = patches.sum(axis=1).sum(axis=2) / np.maximum(count, 1)
    missing = count == 0
    if missing.all():
        raise FrameError(NO_CORNER)
    if missing.sum() == 1:  # the plane through the other three
        row, column = np.argwhere(missing)[0]
        corners[row, column] = (
            corners[row, 1 - column] + corners[1 - row, column] - corners[1 - row, 1 - column]
        )
    else:
        corners[missing] = corners[~missing].mean()
    return corners


def _bilinear(image: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Resize float64 [H,W] to [size,size] without antialiasing."""
    resized: NDArray[np.float64] = _blend_rows(_blend_rows(image, size).T, size).T
    return resized


def _blend_rows(image: NDArray[np.float64], n_out: int) -> NDArray[np.float64]:
    table = filter_table(len(image), n_out, antialias=False)
    blended = np.zeros((n_out, image.shape[1]), np.float64)
    for tap, weights in enumerate(table.weights.T):
        blended += weights[:, None] * image[table.first + tap]
    return blended


def _mask_weights(part: NDArray[np.bool_], mask: MaskWeights) -> NDArray[np.float64]:
    """Reduce bool [8h,8h] to weights [h,h]: dilation by an 8x8 square, then bilinear reduction by 8.

    The square spreads a pixel p over p-4..p+3, and the reduction reads 8i+3 and 8i+4 of each axis with
    equal weight, so those two are maxima of the blocks that start at 8i and 8i+1.
    """
    cells = len(part) // UNSHUFFLE
    padded = np.pad(part, ((0, 1), (0, 1)))
    total = np.zeros((cells, cells))
    for y in (0, 1):
        for x in (0, 1):
            blocks = padded[y : y + len(part), x : x + len(part)]
            total += blocks.reshape(cells, UNSHUFFLE, cells, UNSHUFFLE).any(axis=(1, 3))
    return total / 4 if mask == "fractional" else (total > 0).astype(np.float64)
