"""What a picture looks like, in a few numbers: brightness, contrast, white pixels, sharpness."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ast_edge.line.archive.encoding import Picture

_WHITE = 255
_CELLS = 16


@dataclass(frozen=True, eq=False)
class Looks:
    """`brightness` and `contrast` are mean and standard deviation of the grey levels, 0 to 255; grey is the
    mean of the three channels. `saturated` is the share of pixels with a channel at 255, `sharpness` the
    variance of the Laplacian of the grey levels, which blur lowers and noise raises. `cells` float32 [256]
    are the grey levels of the picture reduced to 16x16; `sha256` is of its pixels.
    """

    width: int
    height: int
    brightness: float
    contrast: float
    saturated: float
    sharpness: float
    sha256: str
    cells: NDArray[np.float32] = field(repr=False)


def looks_of(picture: Picture) -> Looks:
    """Measure a picture, uint8 RGB [H,W,3]."""
    import cv2  # noqa: PLC0415 (OpenCV is loaded with the first picture)

    picture = np.ascontiguousarray(picture)
    grey = np.asarray(cv2.transform(picture, np.full((1, 3), 1 / 3, np.float32)), np.uint8)
    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(grey))
    edges = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1]
    cells = cv2.resize(grey.astype(np.float32), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    white = (picture[..., 0] == _WHITE) | (picture[..., 1] == _WHITE) | (picture[..., 2] == _WHITE)
    return Looks(
        width=picture.shape[1],
        height=picture.shape[0],
        brightness=mean,
        contrast=deviation,
        saturated=float(np.count_nonzero(white)) / white.size,
        sharpness=float(edges[0, 0]) ** 2,
        sha256=hashlib.sha256(picture.data).hexdigest(),
        cells=np.asarray(cells, np.float32).ravel(),
    )
