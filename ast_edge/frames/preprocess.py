"""How a frame and a depth map become the network's inputs: the one definition.

Training, evaluation, the command line and every engine go through this arithmetic; copies of it in other
languages are held to it by parity tests. Pictures are computed in integers and come out the same on every
machine, depth maps in float64. Sizes and constants follow AST (WACV 2023, implementation details).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import FrameError, UsageError
from ast_edge.frames import resize
from ast_edge.frames.pixel_formats import Colour as Colour  # noqa: PLC0414 - callers of image_input name it
from ast_edge.frames.pixel_formats import check_pixels, decode, frame_size
from ast_edge.model.manifest import Crop, MaskWeights, Preprocessing

_Pixel = TypeVar("_Pixel", bound=np.generic)
_Number = TypeVar("_Number", np.float64, np.uint8)

MAX_DEPTH_M = 100.0  # beyond this the unit is wrong
UNSHUFFLE = 8  # the depth map is 8 times the anomaly map on each side, so that 8x8 blocks become channels
NOT_FINITE = "The depth map holds NaN or infinity; set pixels without a measurement to 0."
NEGATIVE = "The depth map holds a negative distance{found}; measure from the camera away."
TOO_FAR = (
    "The depth map reaches {found} m, expected at most "
    f"{MAX_DEPTH_M:g} m; give it in metres, not in millimetres."
)
NO_CORNER = (
    "The background cannot be found: no corner of the depth map holds a measurement; "
    "move the camera or the crop so that at least one corner sees the plane the part lies on."
)
FIXED_POINT_BITS = 22  # what is left of int32 after 8 bits of grey level, a sign and a carry
GAP_PASSES = 3
_LARGEST_PREPARED = 10_000
_PILLOWS = (1, 3)  # channels of the pictures that Pillow resizes
_ROWS_AT_ONCE = 32  # output rows summed together, few enough that they stay in the processor's cache


@dataclass(frozen=True, eq=False)
class FilterTable:
    """Weights of one resampled line: output `i` is the sum over `t` of `weights[i,t] * line[first[i]+t]`.

    `first` int32 [n_out] and `weights` float64 [n_out, taps]. Unused taps weigh zero, and every window lies
    inside the line, so `first[i] + taps <= n_in`. The weights of an output add up to one.
    """

    first: NDArray[np.int32]
    weights: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DepthInput:
    """The network's view of a depth map with h = `map_size`.

    `depth` float32 [1,8h,8h]: distance in centimetres beyond the part's mean, 0 on the background.
    `foreground` float32 [1,h,h]: weights in 0..1 of the anomaly map's pixels.
    """

    depth: NDArray[np.float32]
    foreground: NDArray[np.float32]

    @property
    def empty(self) -> bool:
        """True when no pixel of the anomaly map belongs to a part: there is nothing to judge."""
        return not bool(self.foreground.any())


@lru_cache(maxsize=32)
def filter_table(n_in: int, n_out: int, *, antialias: bool) -> FilterTable:
    """Bilinear weights from `n_in` to `n_out` pixels, pixel centres at half integers.

    With `antialias` the triangle widens with the reduction, as Pillow's BILINEAR does; without it two
    neighbours are blended and the edges are clamped, as `torch.nn.functional.interpolate` does.
    """
    if n_in < 1 or n_out < 1:
        raise FrameError(f"Cannot resample {n_in} pixels to {n_out}: both must be at least 1.")
    table = _triangle(n_in, n_out) if antialias else _two_taps(n_in, n_out)
    table.first.flags.writeable = False  # shared by every caller through the cache
    table.weights.flags.writeable = False
    return table


def _triangle(n_in: int, n_out: int) -> FilterTable:
    scale = n_in / n_out
    support = max(scale, 1.0)
    centre = (np.arange(n_out) + 0.5) * scale
    low = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    high = np.minimum((centre + support + 0.5).astype(np.int64), n_in)
    taps = int((high - low).max())
    first = np.minimum(low, n_in - taps)
    position = first[:, None] + np.arange(taps)
    weights = np.maximum(0.0, 1.0 - np.abs((position - centre[:, None] + 0.5) * (1.0 / support)))
    weights[(position < low[:, None]) | (position >= high[:, None])] = 0.0
    return FilterTable(first.astype(np.int32), weights / weights.sum(axis=1, keepdims=True))


def _two_taps(n_in: int, n_out: int) -> FilterTable:
    if n_in == 1:
        return FilterTable(np.zeros(n_out, np.int32), np.ones((n_out, 1)))
    # In units of 1 / (2 n_out) pixel everything is an integer, so a weight that is zero is exactly zero:
    # the foreground is cut at "> 0" and must not depend on how a fraction was rounded.
    unit = 2 * n_out
    position = np.clip((2 * np.arange(n_out) + 1) * n_in - n_out, 0, (n_in - 1) * unit)
    first = np.minimum(position // unit, n_in - 2)
    second_weight = (position - first * unit) / unit
    return FilterTable(first.astype(np.int32), np.stack([1.0 - second_weight, second_weight], axis=1))


def resize_image(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize uint8 [H,W,C] to a new [size,size,C], ignoring the aspect: bilinear with antialiasing.

    Horizontal pass, rounding to grey levels, vertical pass; weights in 22-bit fixed point; a pass that would
    not change the size is left out. Each pass equals Pillow's BILINEAR bit for bit; a Pillow that prefers
    to start with the vertical pass differs by one grey level at most. Raises FrameError for another dtype
    or shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3:
        raise FrameError(
            f"Expected a uint8 picture [height,width,channels], found {image.dtype} {image.shape}."
        )
    height, width, channels = image.shape
    if channels in _PILLOWS and all(resize.same_bits(n, size, _resample_rows) for n in (height, width)):
        return resize.resized(image, size)
    return _resize_by_numpy(image, size)


def prepare_resize(height: int, width: int, size: int) -> None:
    """Do now what the first `resize_image` of such a picture would do: tables, and the trial of Pillow.

    Nothing for a size that no camera has: the first frame will tell that it does not fit.
    """
    if max(height, width) <= _LARGEST_PREPARED:
        for length in (height, width):
            resize.same_bits(length, size, _resample_rows)


def _resize_by_numpy(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    height, width, _ = image.shape
    if width != size:
        image = _resample_rows(image.transpose(1, 0, 2), size).transpose(1, 0, 2)
    if height != size:
        image = _resample_rows(image, size)
    return np.array(image, order="C")


def _resample_rows(image: NDArray[np.uint8], n_out: int) -> NDArray[np.uint8]:
    """Resample the first axis, because whole rows are the unit that NumPy moves fastest."""
    first, weights = fixed_point_table(len(image), n_out)
    rows = np.ascontiguousarray(image).reshape(len(image), -1)
    out = np.empty((n_out, rows.shape[1]), np.uint8)
    for start in range(0, n_out, _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        total = np.full(out[block].shape, 1 << (FIXED_POINT_BITS - 1), np.int32)  # one half: rounds, not cuts
        for tap in range(weights.shape[1]):
            total += rows[first[block] + tap] * weights[block, tap, None]
        total >>= FIXED_POINT_BITS
        out[block] = np.minimum(total, 255)
    return out.reshape(n_out, *image.shape[1:])


@lru_cache(maxsize=32)
def fixed_point_table(n_in: int, n_out: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The antialiased `filter_table` as `first` int32 [n_out] and `weights` int32 [n_out,taps] in
    `FIXED_POINT_BITS` bits; read only.
    """
    table = filter_table(n_in, n_out, antialias=True)
    return table.first, (table.weights * (1 << FIXED_POINT_BITS) + 0.5).astype(np.int32)


def check_frame(frame: NDArray[np.uint8], colour: Colour, crop: Crop | None) -> None:
    """Refuse a frame that is not uint8 of its pixel format's shape, or does not hold the crop.

    The shape is [H,W,3] for rgb and bgr, [H,W] for mono and Bayer, [H*3/2,W] for nv12, [H,W,2] for yuyv.
    Raises FrameError.
    """
    check_pixels(frame, colour)
    check_crop(frame_size(frame, colour), crop, "frame")


def check_crop(size: tuple[int, int], crop: Crop | None, what: str) -> None:
    """Refuse `what` of `size` (width, height) in pixels if it does not hold the crop. Raises FrameError."""
    width, height = size
    if crop is not None and (crop.x + crop.width > width or crop.y + crop.height > height):
        raise FrameError(
            f"The {what} is {width}x{height} pixels, too small for the model's crop of "
            f"{crop.width}x{crop.height} at ({crop.x},{crop.y}); "
            "set the camera to the resolution the model was trained with."
        )


def image_input(frame: NDArray[np.uint8], colour: Colour, spec: Preprocessing) -> NDArray[np.uint8]:
    """The input `image`: a new uint8 RGB [S,S,3] with S = `image_size`, from a frame as the camera gave it.

    Crops, decodes, resizes and puts the channels in order; mono is repeated in three channels. Mean and scale
    belong to the graph. Raises FrameError for what `check_frame` refuses.
    """
    check_frame(frame, colour, spec.crop)
    # Every channel is resized alone, so their order and number can wait for the smaller picture.
    if colour == "mono":
        return np.repeat(resize_image(_cropped(frame, spec.crop)[..., None], spec.image_size), 3, axis=2)
    if colour == "bgr":
        return np.ascontiguousarray(resize_image(_cropped(frame, spec.crop), spec.image_size)[..., ::-1])
    return resize_image(decode(frame, colour, spec.crop), spec.image_size)


def _cropped(array: NDArray[_Pixel], crop: Crop | None) -> NDArray[_Pixel]:
    if crop is None:
        return array
    return array[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]


def depth_input(z_m: NDArray[np.float32] | NDArray[np.float64], spec: Preprocessing) -> DepthInput:
    """The inputs `depth` and `foreground` from distances in metres, float32 or float64 [H,W], 0 = unmeasured.

    Gaps are filled, the background is the bilinear surface through the four corners, the part is what
    stands off it by more than `foreground_min_m`, and its depth is taken about its mean (AST, WACV 2023,
    implementation details). Nothing outside the crop is looked at. Raises FrameError for a map that cannot
    be used, UsageError for a model without depth.
    """
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
    """Where the part is in a whole depth map [H,W] in metres: bool [H,W]; see `depth_input`."""
    return _part(z_m, None, foreground_min_m)[1]


def _part(
    z_m: NDArray[np.floating], crop: Crop | None, foreground_min_m: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Depth without gaps and where the part stands off its background, both [H,W] of the crop."""
    z = _fill_gaps(_checked_depth(z_m, crop))
    return z, (np.abs(_background(z) - z) > foreground_min_m) & (z != 0)


def _checked_depth(z_m: NDArray[np.floating], crop: Crop | None) -> NDArray[np.float64]:
    check_depth(z_m, crop)
    z = _cropped(z_m, crop).astype(np.float64)
    if not np.isfinite(z).all():
        raise FrameError(NOT_FINITE)
    if z.min() < 0:
        raise FrameError(NEGATIVE.format(found=f", {z.min():g} m"))
    if z.max() > MAX_DEPTH_M:
        raise FrameError(TOO_FAR.format(found=f"{z.max():g}"))
    return z


def check_depth(z_m: NDArray[np.floating], crop: Crop | None) -> None:
    """Refuse a depth map by its dtype and shape; its values are not looked at. Raises FrameError."""
    found = z_m.dtype if isinstance(z_m, np.ndarray) else type(z_m).__name__
    if found not in (np.float32, np.float64):
        raise FrameError(f"The depth map must be float32 or float64 in metres, found {found}.")
    if z_m.ndim != 2:
        raise FrameError(f"The depth map must have the shape [height,width], found {list(z_m.shape)}.")
    check_depth_size(z_m.shape[0], z_m.shape[1], crop)


def check_depth_size(height: int, width: int, crop: Crop | None) -> None:
    """Refuse a depth map that does not hold the crop or leaves less than 2x2 pixels. Raises FrameError."""
    check_crop((width, height), crop, "depth map")
    if crop is not None:
        height, width = crop.height, crop.width
    if min(height, width) < 2:
        raise FrameError(f"The depth map must have at least 2x2 pixels, found {width}x{height}.")


def _fill_gaps(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Three times, replace each zero by the mean of the measured pixels around it, as they were before."""
    padded = np.pad(z, 1)  # zeros count as not measured, so the border needs no case of its own
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
    """The bilinear surface through the four corners, [H,W] in metres, exact in the corners themselves."""
    (top_left, top_right), (bottom_left, bottom_right) = _corners(z)
    down, right = np.linspace(0.0, 1.0, z.shape[0])[:, None], np.linspace(0.0, 1.0, z.shape[1])
    left_edge = (1 - down) * top_left + down * bottom_left
    right_edge = (1 - down) * top_right + down * bottom_right
    surface: NDArray[np.float64] = (1 - right) * left_edge + right * right_edge
    return surface


def _corners(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean distance of the measured pixels in each 2x2 corner, [2,2]; a corner without any is completed."""
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
    """From bool [8h,8h] to weights [h,h]: dilation by an 8x8 square, then bilinear reduction by 8.

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
