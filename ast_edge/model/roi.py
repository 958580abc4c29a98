"""Where a model looks: a mask of its picture, kept in the manifest and constant in the graph.

Pixels outside are replaced by one colour before the network, and places of the map without a pixel inside are
zero and count for nothing.
"""

from __future__ import annotations

import base64
import binascii
from functools import lru_cache
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Mask = NDArray[np.bool_]
_Level = Annotated[int, Field(ge=0, le=255)]
_LONGEST = 12_000_000  # characters of base64: fits into a manifest, for pictures of up to 8000 pixels


class Roi(BaseModel):
    """The pixels of the network's picture [S,S] that are looked at, and the RGB colour of all others.

    `inside` has one bit for each pixel, row by row, the highest bit of a byte first, zeros at the end; in
    base64.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    inside: Annotated[str, Field(max_length=_LONGEST, pattern=r"^[A-Za-z0-9+/]+={0,2}$")]
    fill: tuple[_Level, _Level, _Level]

    @classmethod
    def of(cls, pixels: Mask, fill: tuple[int, int, int]) -> Roi:
        """Describe the mask `pixels` [S,S]."""
        return cls(inside=base64.b64encode(np.packbits(pixels).tobytes()).decode(), fill=fill)

    def pixels(self, size: int) -> Mask:
        """Return the mask bool [size,size], read-only. ValueError when it is of another size, or empty."""
        return _unpacked(self.inside, size)

    def places(self, size: int, grid: int) -> Mask:
        """Return bool [grid,grid]: the places of a map that have a pixel inside, of a picture [size,size].

        Raises ValueError as `pixels` does, and when the grid does not divide the picture.
        """
        if size % grid:
            raise ValueError(f"a map of {grid} places does not divide a picture of {size} pixels")
        step = size // grid
        blocks = self.pixels(size).reshape(grid, step, grid, step)
        return np.asarray(blocks.any(axis=(1, 3)), np.bool_)


@lru_cache(maxsize=8)
def _unpacked(text: str, size: int) -> Mask:
    try:
        packed = base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise ValueError(f"is not base64 ({exc})") from exc
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))
    if len(packed) != -(-(size**2) // 8) or bits[size**2 :].any():
        raise ValueError(f"is not the mask of a picture of {size}x{size} pixels")
    if not bits.any():
        raise ValueError("marks no pixel to look at")
    pixels = bits[: size**2].reshape(size, size).astype(np.bool_)
    pixels.flags.writeable = False  # shared through the cache
    return pixels
