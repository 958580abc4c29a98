"""Resampling: filter tables, and the resize of pictures, by NumPy or bit-identically by Pillow.

Pillow takes a third of the time. Both compute the weights in floating point and the sums in integers. A
compiler may round a weight differently (a fused multiply-add does), so each pair of sizes is tried once
against NumPy on noise. A single weight that is off by one unit in 2^22 is detected in about a third of the
trials, a compiler that rounds many differently practically always; what could be missed changes one pixel in
thousands by one grey level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import FrameError

Pixels = NDArray[np.uint8]
_COLUMNS = 4096
FIXED_POINT_BITS = 22  # the bits of int32 without 8 bits of grey level, a sign and a carry
_LARGEST_PREPARED = 10_000
_PILLOWS = (1, 3)  # numbers of channels that Pillow resizes
_ROWS_AT_ONCE = 32  # output rows summed together, few enough that they stay in the processor's cache


@dataclass(frozen=True, eq=False)
class FilterTable:
    """Weights of one resampled line: output `i` is the sum over `t` of `weights[i,t] * line[first[i]+t]`.

    `first` int32 [n_out] and `weights` float64 [n_out, taps]. Unused taps weigh zero, and every window lies
    inside the line, so `first[i] + taps <= n_in`. The weights of an output add up to one.
    """

    first: NDArray[np.int32]
    weights: NDArray[np.float64]


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
    # In units of 1 / (2 n_out) pixel all values are integers, so a weight that is zero is exactly zero: the
    # the foreground is cut at "> 0" and must not depend on how a fraction was rounded.
    unit = 2 * n_out
    position = np.clip((2 * np.arange(n_out) + 1) * n_in - n_out, 0, (n_in - 1) * unit)
    first = np.minimum(position // unit, n_in - 2)
    second_weight = (position - first * unit) / unit
    return FilterTable(first.astype(np.int32), np.stack([1.0 - second_weight, second_weight], axis=1))


def resize_image(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize uint8 [H,W,C] to a new [size,size,C], ignoring the aspect: bilinear with antialiasing.

    Horizontal pass, rounding to grey levels, vertical pass; weights in 22-bit fixed point; a pass that would
    not change the size is skipped. Each pass equals Pillow's BILINEAR bit for bit; a Pillow that starts with
    the vertical pass differs by at most one grey level. Raises FrameError for another dtype or shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3:
        raise FrameError(
            f"Expected a uint8 picture [height,width,channels], found {image.dtype} {image.shape}."
        )
    height, width, channels = image.shape
    if channels in _PILLOWS and all(same_bits(n, size, _resample_rows) for n in (height, width)):
        return _resized_by_pillow(image, size)
    return resize_by_numpy(image, size)


def prepare_resize(height: int, width: int, size: int) -> None:
    """Prepare the tables and the trial of Pillow that the first `resize_image` of this size would need.

    Does nothing for an impossible size: the first frame will be refused.
    """
    if max(height, width) <= _LARGEST_PREPARED:
        for length in (height, width):
            same_bits(length, size, _resample_rows)


def resize_by_numpy(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Do as `resize_image`, never by Pillow."""
    height, width, _ = image.shape
    if width != size:
        image = _resample_rows(image.transpose(1, 0, 2), size).transpose(1, 0, 2)
    if height != size:
        image = _resample_rows(image, size)
    return np.array(image, order="C")


def _resample_rows(image: NDArray[np.uint8], n_out: int) -> NDArray[np.uint8]:
    """Resample the first axis, since NumPy processes whole rows fastest."""
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
    """Return the antialiased `filter_table` as `first` int32 [n_out] and `weights` int32 [n_out,taps] with
    `FIXED_POINT_BITS` bits; read-only.
    """
    table = filter_table(n_in, n_out, antialias=True)
    return table.first, (table.weights * (1 << FIXED_POINT_BITS) + 0.5).astype(np.int32)


def _resized_by_pillow(image: Pixels, size: int) -> Pixels:
    """Resize uint8 [H,W,1] or [H,W,3] to [size,size,C]: all rows, then all columns, to fix the order."""
    from PIL import Image  # noqa: PLC0415 (some device has none)

    height, _, channels = image.shape
    flat = np.ascontiguousarray(image if channels == 3 else image[..., 0])
    rows = Image.fromarray(flat).resize((size, height), Image.Resampling.BILINEAR)
    both = rows.resize((size, size), Image.Resampling.BILINEAR)
    return np.array(both).reshape(size, size, channels)


@lru_cache(maxsize=64)
def same_bits(n_in: int, n_out: int, reference: Callable[[Pixels, int], Pixels]) -> bool:
    """Whether Pillow is available and its pass from `n_in` to `n_out` pixels equals that of `reference`."""
    try:
        from PIL import Image  # noqa: PLC0415
    except ImportError:
        return False
    noise = np.random.default_rng(n_in * 8191 + n_out).integers(0, 256, (n_in, _COLUMNS), dtype=np.uint8)
    picture = Image.fromarray(noise)
    found = np.asarray(picture.resize((_COLUMNS, n_out), Image.Resampling.BILINEAR))
    return np.array_equal(found, reference(noise[..., None], n_out)[..., 0])
