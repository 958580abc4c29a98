"""The area of the frame that contains the parts: `--crop auto`, from pictures of good parts.

A pixel belongs to a part if it differs from the background, which the rim of the frame shows; with depth,
also if it stands out from the plane. The crop is the smallest square around all good parts, plus a margin for
parts not yet seen. If the background is not uniform, as in pictures of cloth, the crop is the whole frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ast_edge.data import LoadedSample, Sample, load
from ast_edge.errors import DataError, FrameError
from ast_edge.frames.depth import part_in_depth
from ast_edge.model.manifest import Crop
from ast_edge.progress import stage
from ast_edge.train.config import TrainConfig

RIM = 0.02  # of the frame's shorter side: pixels that show the background
LEAST_DIFFERENCE = 20.0  # grey levels; noise and vignetting are smaller
MARGIN = 0.05  # of the frame's longer side, on every side
LEAST_AREA = 0.001  # of the frame; smaller isolated areas are dust or noise
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601

Mask = NDArray[np.bool_]


def crop_around_parts(samples: Sequence[Sample], config: TrainConfig) -> Crop | None:
    """Return the square that contains every part of `samples` with a margin; None for the whole frame.

    Raises DataError when the frames differ in size, a part is not visible, or a file cannot be used.
    """
    everywhere: Mask | None = None
    with stage("finding the parts", len(samples)) as shown:
        for sample in samples:
            part = _part_of(sample, config)
            everywhere = part if everywhere is None else everywhere
            if everywhere.shape != part.shape:
                raise DataError(
                    f"{sample.name}: is {_pixels(part)}, others are {_pixels(everywhere)}; --crop auto needs "
                    "frames of one size: give the crop in pixels or leave the option out."
                )
            everywhere = everywhere | part
            shown.advance()
    if everywhere is None:
        raise DataError("--crop auto: there are no good parts to compute the crop from.")
    return _square(everywhere, corners_free=config.mode != "rgb")


def part_in_picture(image: NDArray[np.uint8]) -> Mask:
    """Return bool [H,W]: where uint8 RGB [H,W,3] differs from its rim by more than the rim itself varies."""
    grey = image @ _LUMA
    rim = max(1, round(RIM * min(grey.shape)))
    border = np.concatenate(
        [side.ravel() for side in (grey[:rim], grey[-rim:], grey[:, :rim], grey[:, -rim:])]
    )
    background = np.median(border)
    # Twice the deviation of nearly all of the rim: variation of the background itself is not a part.
    spread = 2 * np.percentile(np.abs(border - background), 99)
    found: Mask = np.abs(grey - background) > max(LEAST_DIFFERENCE, float(spread))
    return found


def _part_of(sample: Sample, config: TrainConfig) -> Mask:
    try:
        found = _found(load(sample, config.mode), config.foreground_min_m)
    except FrameError as exc:
        raise DataError(f"{sample.name}: {exc}") from exc
    _, labels, regions, _ = cv2.connectedComponentsWithStats(found.astype(np.uint8), connectivity=8)
    large = regions[:, cv2.CC_STAT_AREA] >= LEAST_AREA * found.size
    large[0] = False  # the background label
    if not large.any():
        raise DataError(
            f"{sample.name}: --crop auto finds no part that differs from the frame's rim; check the "
            "picture, or give the crop in pixels."
        )
    part: Mask = large[labels]
    return part


def _found(loaded: LoadedSample, foreground_min_m: float) -> Mask:
    masks = []
    if loaded.image is not None:
        masks.append(part_in_picture(loaded.image))
    if loaded.depth_m is not None:
        masks.append(part_in_depth(loaded.depth_m, foreground_min_m))
    found: Mask = np.logical_or.reduce(masks)
    return found


def _square(part: Mask, *, corners_free: bool) -> Crop | None:
    """Return the square around `part`; wider if depth would take a part in a corner for background."""
    height, width = part.shape
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    step = max(1, round(MARGIN * max(height, width)))
    side = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    while True:
        side += 2 * step
        left, across = _placed(columns, side, width)
        top, down = _placed(rows, side, height)
        if (across, down) == (width, height):
            return None
        inside = part[top : top + down, left : left + across]
        if not (corners_free and inside[[0, 1, -2, -1]][:, [0, 1, -2, -1]].any()):
            return Crop(x=left, y=top, width=across, height=down)


def _placed(taken: NDArray[np.intp], side: int, limit: int) -> tuple[int, int]:
    """Return start and length of `side` pixels centred on those taken, moved and cut to 0..limit."""
    length = min(int(side), limit)
    start = (int(taken[0]) + int(taken[-1]) + 1 - length) // 2
    return min(max(start, 0), limit - length), length


def _pixels(mask: Mask) -> str:
    return f"{mask.shape[1]}x{mask.shape[0]} pixels"
