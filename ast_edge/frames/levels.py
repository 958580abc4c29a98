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


def grey_levels(image: NDArray[np.uint8]) -> GreyLevels:
    """Return the levels of the network's picture, uint8 [S,S,3]; grey is the mean of the three channels."""
    # Three planes added as integers: a sum over the short last axis takes ten times as long.
    total = image[..., 0].astype(np.int16)  # at most 765
    total += image[..., 1]
    total += image[..., 2]
    down, right = (_sum_of_squares(total[1:] - total[:-1]), _sum_of_squares(total[:, 1:] - total[:, :-1]))
    return levels_from_sums((int(total.sum()), _sum_of_squares(total), down, right), len(image))


def levels_from_sums(sums: Iterable[SupportsInt], size: int) -> GreyLevels:
    """Return `grey_levels` of a picture [size,size,3] from four sums over the sum of its three channels.

    These are the sum of its values, the sum of their squares, and the sums of the squared differences to the
    pixel below and to the pixel on the right.
    """
    total, squares, down, right = (int(value) for value in sums)  # exact: Python's integers do not overflow
    count, differences = size * size, max(size * (size - 1), 1)
    deviation = math.sqrt(count * squares - total * total) / count
    return GreyLevels(total / count / 3, deviation / 3, math.sqrt((down + right) / differences) / 3)


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
