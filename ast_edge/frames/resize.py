"""The resize of `ast_edge.frames.preprocess` by Pillow, in a third of the time, where it gives the same bits.

Pillow computes the weights in floating point, as NumPy does, and the sums in integers. A compiler may round a
weight in another way (a fused multiply-add does), so each pair of sizes is tried once against NumPy on noise.
One weight that is off by one unit in 2^22 shows in about a third of the trials, a compiler that rounds many
otherwise practically always; what could be missed moves one pixel in thousands by one grey level.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
_COLUMNS = 4096


def resized(image: Pixels, size: int) -> Pixels:
    """uint8 [H,W,1] or [H,W,3] to [size,size,C]: all rows, then all columns, so that the order is fixed."""
    from PIL import Image  # noqa: PLC0415 (some device has none)

    height, _, channels = image.shape
    flat = np.ascontiguousarray(image if channels == 3 else image[..., 0])
    rows = Image.fromarray(flat).resize((size, height), Image.Resampling.BILINEAR)
    both = rows.resize((size, size), Image.Resampling.BILINEAR)
    return np.array(both).reshape(size, size, channels)


@lru_cache(maxsize=64)
def same_bits(n_in: int, n_out: int, reference: Callable[[Pixels, int], Pixels]) -> bool:
    """Is Pillow here, and its pass from `n_in` to `n_out` pixels that of `reference` on the first axis?"""
    try:
        from PIL import Image  # noqa: PLC0415
    except ImportError:
        return False
    noise = np.random.default_rng(n_in * 8191 + n_out).integers(0, 256, (n_in, _COLUMNS), dtype=np.uint8)
    picture = Image.fromarray(noise)
    found = np.asarray(picture.resize((_COLUMNS, n_out), Image.Resampling.BILINEAR))
    return np.array_equal(found, reference(noise[..., None], n_out)[..., 0])
