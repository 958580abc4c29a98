"""Checks that size, brightness and contrast of a frame are within those of good parts.

A covered lens or a strobe that did not fire gives a frame in which no defect is visible; an anomaly score is
then meaningless, so the frame is a fault without running the network.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple, SupportsInt

import numpy as np
from numpy.typing import NDArray

from ast_edge.model.manifest import Range, TrainedRange

MARGIN = 2.0  # half as dark and twice as bright as any good part is still accepted


class GreyLevels(NamedTuple):
    """Mean and standard deviation of a picture's grey levels, 0 to 255, and the root mean square of their
    differences from pixel to pixel, along rows and columns: blur and noise move it.
    """

    brightness: float
    contrast: float
    sharpness: float


class Counts(NamedTuple):
    """How many pixels of a picture count, and how many pairs of neighbours, below and to the right."""

    pixels: int
    pairs: int

    @classmethod
    def of(cls, size: int, looked_at: NDArray[np.bool_] | None = None) -> Counts:
        """Count those of a picture [size,size], or of the pixels that are looked at."""
        if looked_at is None:
            return cls(size * size, 2 * size * (size - 1))
        down, right = _both_looked_at(looked_at)
        return cls(int(looked_at.sum()), int(down.sum()) + int(right.sum()))


def grey_levels(image: NDArray[np.uint8], looked_at: NDArray[np.bool_] | None = None) -> GreyLevels:
    """Return the levels of the network's picture, uint8 [S,S,3]; grey is the mean of the three channels.

    With `looked_at`, bool [S,S], only those pixels count, and differences between two of them.
    """
    # Three planes added as integers: a sum over the short last axis takes ten times as long.
    total = image[..., 0].astype(np.int16)  # at most 765
    total += image[..., 1]
    total += image[..., 2]
    down, right = total[1:] - total[:-1], total[:, 1:] - total[:, :-1]
    if looked_at is not None:
        both_down, both_right = _both_looked_at(looked_at)
        total, down, right = total[looked_at], down[both_down], right[both_right]
    squares = (_sum_of_squares(values) for values in (total, down, right))
    return levels_from_sums((int(total.sum()), *squares), Counts(total.size, down.size + right.size))


def levels_from_sums(sums: Iterable[SupportsInt], counts: Counts) -> GreyLevels:
    """Return `grey_levels` of a picture from four sums over the sum of its three channels, and what counts.

    These are the sum of its values, the sum of their squares, and the sums of the squared differences to the
    pixel below and to the pixel on the right.
    """
    total, squares, down, right = (int(value) for value in sums)  # exact: Python's integers do not overflow
    count, differences = counts.pixels, max(counts.pairs, 1) / 2
    deviation = math.sqrt(count * squares - total * total) / count
    return GreyLevels(total / count / 3, deviation / 3, math.sqrt((down + right) / differences) / 3)


def _both_looked_at(looked_at: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where a pixel and the one below it are looked at, and where it and the one on its right are."""
    return looked_at[1:] & looked_at[:-1], looked_at[:, 1:] & looked_at[:, :-1]


def _sum_of_squares(values: NDArray[np.int16]) -> float:
    flat = values.ravel().astype(np.float64)  # exact: float32 loses the sixth digit of a picture's sum
    # Not `flat @ flat`: the threads of NumPy's BLAS would spin for a tenth of a second after it, on the
    # processors that the network needs now.
    return float(np.einsum("i,i->", flat, flat))


def why_unfit(trained: TrainedRange, size: tuple[int, int], levels: GreyLevels | None) -> str | None:
    """Describe why a frame of `size` (width, height) cannot be judged; None if it can.

    `levels` are those of the network's picture, None in mode depth.
    """
    for name, found, limits in zip(("width", "height"), size, (trained.width, trained.height), strict=True):
        if not limits.low <= found <= limits.high:
            return (
                f"the frame's {name} is {found} pixels, good parts were trained on at {limits.low:g} to "
                f"{limits.high:g}"
            )
    if levels is None or trained.brightness is None or trained.contrast is None:
        return None
    for name, value, limits in (
        ("brightness", levels.brightness, trained.brightness),
        ("contrast", levels.contrast, trained.contrast),
    ):
        if not limits.low / MARGIN <= value <= limits.high * MARGIN:
            return (
                f"the frame's {name} is {value:.3g} grey levels, good parts have {limits.low:.3g} to "
                f"{limits.high:.3g}"
            )
    return None


def span(values: list[float] | list[int]) -> Range:
    """Return the range from the smallest to the largest of `values`."""
    return Range(low=min(values), high=max(values))
