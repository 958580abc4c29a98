"""Where to look: the masks of `--roi` and `--ignore`, brought from the frame to the network's picture.

A mask is a PNG of the frame's size, or a `.json` file with polygons in pixels of the frame:

    {"polygons": [[[100, 80], [540, 80], [540, 400]], ...]}

A pixel of the network's picture is looked at only if every pixel of the frame that it is computed from is: so
a pixel outside cannot reach a score, and the border moves inwards by about one pixel of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ast_edge.data import Sample
from ast_edge.errors import DataError, UsageError, reason
from ast_edge.frames.preprocess import cropped
from ast_edge.frames.reading import read_mask
from ast_edge.frames.resize import fixed_point_table
from ast_edge.model.roi import Mask, Roi
from ast_edge.train.config import TrainConfig, changed
from ast_edge.train.features import input_batches
from ast_edge.wording import first_problem

_PNG = b"\x89PNG\r\n\x1a\n"
_LARGEST_JSON = 10_000_000  # bytes
_COLOUR_PARTS = 64  # good parts whose mean colour replaces the pixels outside
_HOW = "see docs/how-to/where-to-look.md"

_Point = tuple[float, float]
_Polygon = Annotated[list[_Point], Field(min_length=3, max_length=10_000)]


class _Polygons(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    polygons: Annotated[list[_Polygon], Field(min_length=1, max_length=1000)]


@dataclass(frozen=True)
class Masks:
    """The files of `--roi` and `--ignore`: what is in the first and not in the second is looked at."""

    roi: Path | None = None
    ignore: Path | None = None

    def __bool__(self) -> bool:
        return self.roi is not None or self.ignore is not None

    def of_frame(self, width: int, height: int) -> Mask:
        """Return where to look in frames of this size, bool [H,W].

        Raises DataError for a file that is no mask of such a frame, UsageError when nothing is left.
        """
        looked_at = np.ones((height, width), np.bool_) if self.roi is None else _mask(self.roi, width, height)
        if self.ignore is not None:
            looked_at = looked_at & ~_mask(self.ignore, width, height)
        if not looked_at.any():
            raise UsageError(f"{self}: leave no pixel of the frame to look at; mark less with --ignore.")
        return looked_at

    def __str__(self) -> str:
        named = (("--roi", self.roi), ("--ignore", self.ignore))
        return " ".join(f"{option} {path}" for option, path in named if path is not None)


def with_roi(
    config: TrainConfig, masks: Masks, samples: Sequence[Sample], size: tuple[int, int], *, workers: int = 0
) -> TrainConfig:
    """Return `config` that looks where `masks` say in frames of `size` (width, height), all of one size.

    What replaces the rest is the mean colour, inside, of `samples`: a border to any other colour would be an
    edge stronger than those of the parts. Raises DataError and UsageError as `Masks.of_frame` does, and
    UsageError when the crop leaves too little.
    """
    looked_at = cropped(masks.of_frame(*size), config.crop)
    pixels = picture_pixels(looked_at, config.image_size)
    if not pixels.any():
        raise UsageError(
            f"{masks}: nothing is left to look at in the network's picture of {config.image_size} pixels, "
            "into which the crop is resized; mark a wider area, or another crop."
        )
    step = max(1, len(samples) // _COLOUR_PARTS)
    fill = _mean_colour(samples[::step][:_COLOUR_PARTS], config, pixels, workers)
    return changed(config, {"roi": Roi.of(pixels, fill).model_dump()})


def picture_pixels(looked_at: Mask, size: int) -> Mask:
    """Return bool [size,size]: the pixels of the resized picture that are computed from `looked_at` alone."""
    outside = (~looked_at).astype(np.float32)
    down, across = (_reads(length, size) for length in looked_at.shape)
    return np.asarray(down @ outside @ across.T == 0, np.bool_)


def _reads(n_in: int, n_out: int) -> NDArray[np.float32]:
    """Return float32 [n_out,n_in]: 1 where an output of `resize_image` is computed from an input."""
    if n_in == n_out:
        return np.eye(n_in, dtype=np.float32)  # a pass that would not change the size is skipped
    first, weights = fixed_point_table(n_in, n_out)
    reads = np.zeros((n_out, n_in), np.float32)
    for tap in range(weights.shape[1]):
        reads[np.arange(n_out), first + tap] = weights[:, tap] != 0
    return reads


def _mean_colour(
    samples: Sequence[Sample], config: TrainConfig, pixels: Mask, workers: int
) -> tuple[int, int, int]:
    total, inside = torch.zeros(3, dtype=torch.float64), torch.from_numpy(pixels)
    for inputs in input_batches(samples, config, workers=workers):
        total += inputs["image"][:, inside].double().mean(dim=1).sum(dim=0)
    red, green, blue = (total / len(samples)).round().int().tolist()
    return red, green, blue


def _mask(path: Path, width: int, height: int) -> Mask:
    if path.suffix.lower() == ".json":
        return _drawn(path, width, height)
    _require_png(path)
    mask = read_mask(path)
    if mask.shape != (height, width):
        raise DataError(
            f"{path}: the mask is {mask.shape[1]}x{mask.shape[0]} pixels, the pictures are {width}x{height}; "
            "draw it on a whole picture of the camera."
        )
    if not mask.any():
        raise DataError(f"{path}: no pixel is marked; the pixels meant must be brighter than black.")
    return mask


def _require_png(path: Path) -> None:
    try:
        with path.open("rb") as stream:
            start = stream.read(len(_PNG))
    except OSError as exc:
        raise DataError(f"{path}: cannot be read ({reason(exc)}); name a mask: {_HOW}.") from exc
    if start != _PNG:
        raise DataError(f"{path}: is no PNG file; a mask is a PNG, or a .json file of polygons: {_HOW}.")


def _drawn(path: Path, width: int, height: int) -> Mask:
    """Draw the polygons; a pixel on an outline belongs to them."""
    canvas = np.zeros((height, width), np.uint8)
    for number, polygon in enumerate(_polygons(path), 1):
        points = np.array(polygon, np.float64)
        beyond = (points < 0).any(axis=1) | (points > (width, height)).any(axis=1)
        if beyond.any():
            x, y = points[beyond][0]
            raise DataError(
                f"{path}: polygon {number} has the point ({x:g}, {y:g}), outside the pictures of "
                f"{width}x{height} pixels; give points in pixels of the camera's frame."
            )
        cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], 1)
    return canvas.astype(np.bool_)


def _polygons(path: Path) -> list[_Polygon]:
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST_JSON + 1)
    except OSError as exc:
        raise DataError(f"{path}: cannot be read ({reason(exc)}); name a mask: {_HOW}.") from exc
    if len(data) > _LARGEST_JSON:
        raise DataError(f"{path}: is larger than {_LARGEST_JSON} bytes; draw a PNG instead.")
    try:
        return _Polygons.model_validate_json(data).polygons
    except ValidationError as exc:
        key, said = first_problem(exc)
        at = f"key '{key}': " if key else ""
        raise DataError(
            f'{path}: {at}{said}; expected {{"polygons": [[[x, y], ...], ...]}} with three points or more '
            f"each: {_HOW}."
        ) from exc
