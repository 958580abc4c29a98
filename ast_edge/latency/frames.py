"""Frames to measure with: generated in any size and pixel format, or read from a picture file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import UsageError
from ast_edge.frames.pixel_formats import COLOURS, Colour
from ast_edge.frames.reading import read_depth_beside, read_image
from ast_edge.latency.stopwatch import Part
from ast_edge.machine.record import Strict
from ast_edge.model.manifest import ModelSpec

# GenICam's shorter names of the Bayer patterns.
_ALSO = {
    "bayer_rg": "bayer_rggb",
    "bayer_bg": "bayer_bggr",
    "bayer_gr": "bayer_grbg",
    "bayer_gb": "bayer_gbrg",
}
_LARGEST = 20_000


class FrameKind(Strict):
    """Size in pixels, pixel format (None in mode depth) and whether a depth map comes with it."""

    width: int
    height: int
    colour: Colour | None
    depth: bool


def parse_frame(text: str, spec: ModelSpec) -> FrameKind:
    """Parse `1920x1200:bayer_rggb`; without a format, rgb. Raises UsageError."""
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})(?::([a-z0-9_]+))?", text)
    colour = _ALSO.get(match[3], match[3]) if match and match[3] else "rgb"
    if match is None or colour not in COLOURS:
        raise UsageError(
            f"--frame {text}: expected WIDTHxHEIGHT or WIDTHxHEIGHT:FORMAT with a format of "
            f"{', '.join(COLOURS)}, as in 1920x1200:bayer_rggb."
        )
    width, height = int(match[1]), int(match[2])
    if not (0 < width <= _LARGEST and 0 < height <= _LARGEST):
        raise UsageError(f"--frame {text}: expected 1 to {_LARGEST} pixels on each side.")
    if (colour == "nv12" and (width % 2 or height % 2)) or (colour == "yuyv" and width % 2):
        raise UsageError(f"--frame {text}: {colour} needs an even width, and nv12 an even height too.")
    return frame_kind(width, height, colour, spec)


def usual_frame(spec: ModelSpec) -> FrameKind:
    """Return the training frame size in rgb; without one, the smallest frame that crop or input allow."""
    if spec.trained is not None:
        return frame_kind(int(spec.trained.width.high), int(spec.trained.height.high), "rgb", spec)
    crop, size = spec.preprocessing.crop, spec.preprocessing.image_size
    if crop is not None:
        return frame_kind(crop.x + crop.width, crop.y + crop.height, "rgb", spec)
    return frame_kind(size, size, "rgb", spec)


def frame_kind(width: int, height: int, colour: Colour, spec: ModelSpec) -> FrameKind:
    """Return the frame that the model's mode takes: no colour in mode depth, no depth map in mode rgb."""
    mode = spec.mode
    return FrameKind(
        width=width, height=height, colour=None if mode == "depth" else colour, depth=mode != "rgb"
    )


def made_part(kind: FrameKind) -> Part:
    """Return noise from a fixed seed around middle grey, and a depth map of a box on a plane."""
    part: Part = {}
    if kind.colour is not None:
        rng = np.random.default_rng(0)
        shape = _shape(kind.width, kind.height, kind.colour)
        part = {"frame": rng.integers(0, 256, shape, dtype=np.uint8), "colour": kind.colour}
    if kind.depth:
        part["depth_m"] = _box(kind.width, kind.height)
    return part


def read_kind(picture: Path, spec: ModelSpec) -> tuple[FrameKind, Part]:
    """Read a picture as rgb, with the xyz file that belongs to it if the mode has depth. Raises DataError."""
    part: Part = {}
    size = (0, 0)
    if spec.mode != "depth":
        frame = read_image(picture)
        part, size = {"frame": frame, "colour": "rgb"}, frame.shape[1::-1]
    if spec.mode != "rgb":
        part["depth_m"] = read_depth_beside(picture, registered=spec.mode == "rgbd")
        size = part["depth_m"].shape[::-1]
    return frame_kind(*size, "rgb", spec), part


def _shape(width: int, height: int, colour: Colour) -> tuple[int, ...]:
    if colour in ("rgb", "bgr"):
        return height, width, 3
    if colour == "yuyv":
        return height, width, 2
    return (height * 3 // 2 if colour == "nv12" else height), width


def _box(width: int, height: int) -> NDArray[np.float32]:
    z = np.full((height, width), 0.5, np.float32)
    z[height // 4 : -height // 4, width // 4 : -width // 4] = 0.48
    return z
