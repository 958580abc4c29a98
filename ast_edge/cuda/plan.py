"""The launches of `preprocess.cu`'s kernels and their arguments as data, for any launcher.

A plan belongs to one frame layout. Its launches run in order on one stream; their buffers are named, and the
launcher owns the memory: `constants` are uploaded once, `inputs` for every part, `outputs` and `workspace`
are written by the kernels. Buffers start at addresses that are multiples of 16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import FrameError, UsageError
from ast_edge.frames.depth import (
    GAP_PASSES,
    MAX_DEPTH_M,
    NEGATIVE,
    NO_CORNER,
    NOT_FINITE,
    TOO_FAR,
    UNSHUFFLE,
    check_depth_size,
)
from ast_edge.frames.pixel_formats import COLOURS, Colour
from ast_edge.frames.preprocess import check_crop
from ast_edge.frames.resize import FIXED_POINT_BITS, filter_table, fixed_point_table
from ast_edge.model.manifest import Crop, Preprocessing

NO_PART = 16  # bit of `status` that is no error; the same in common.cuh
_ERRORS = {
    1: NOT_FINITE,
    2: NEGATIVE.format(found=""),
    4: TOO_FAR.format(found=f"more than {MAX_DEPTH_M:g}"),
    8: NO_CORNER,
}  # bits of `status` in the order in which the reference looks
_THREADS = 128  # a line's lanes in common.cuh; no result depends on it
_ROW_TILE = 128  # outputs of one block; with its chunk of pixels it needs less than 18 KiB shared memory
_MAX_CHUNK = 4096  # pixels that a block decodes at once
_COLUMN_TILE = 384  # bytes of one block
_DEPTH_TILE = 32  # pixels on a side; with its margin it needs 23 KiB shared memory
_LANE_BYTES = 8 * _THREADS
_ROW_BYTES: dict[Colour, int] = {"rgb": 3, "bgr": 3, "yuyv": 2}  # per pixel; else 1


@dataclass(frozen=True)
class FrameLayout:
    """A frame's layout in memory: its size in pixels and `pitch`, the bytes from row to row.

    Raises FrameError when the rows do not fit the pitch.
    """

    colour: Colour
    width: int
    height: int
    pitch: int

    def __post_init__(self) -> None:
        row = self.width * _ROW_BYTES.get(self.colour, 1)
        if self.pitch < row:
            raise FrameError(
                f"A row of {self.width} pixels in the colour order {self.colour} takes {row} bytes, "
                f"found a pitch of {self.pitch}."
            )

    @classmethod
    def packed(cls, colour: Colour, width: int, height: int) -> FrameLayout:
        """Without gaps between the rows: the pitch is the bytes of one row."""
        return cls(colour, width, height, width * _ROW_BYTES.get(colour, 1))

    @property
    def nbytes(self) -> int:
        """Bytes of the frame, the gap behind its last row included."""
        return self.pitch * (self.height * 3 // 2 if self.colour == "nv12" else self.height)


@dataclass(frozen=True)
class Launch:
    """One kernel launch; an argument that is a str names the buffer whose address is passed."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int
    arguments: tuple[str | np.generic, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """Launches in order and the buffers they name; sizes in bytes."""

    launches: tuple[Launch, ...]
    constants: Mapping[str, NDArray[Any]]
    workspace: Mapping[str, int]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


def plan_image(layout: FrameLayout, spec: Preprocessing) -> Plan:
    """From `frame` to `image` uint8 [S,S,3], `levels` uint64 [4] and `status` int32 [1], here always 0.

    `levels` are the sums that `ast_edge.frames.levels.levels_from_sums` takes. Raises FrameError when the
    frame does not hold the crop.
    """
    return _merged(_clear_status(0), _image(layout, spec))


def plan_depth(height: int, width: int, dtype: np.dtype[Any], spec: Preprocessing) -> Plan:
    """From `depth_m`, distances in metres [height,width] with packed rows, to the inputs of `depth_input`.

    The outputs are `depth` float32 [8h,8h], `foreground` float32 [h,h] and `status` int32 [1] for
    `check_status`. Raises FrameError for a dtype or size that `depth_input` refuses, UsageError for a model
    without depth.
    """
    return _merged(_clear_status(NO_PART), _depth(height, width, dtype, spec))


def plan_inputs(
    image: FrameLayout | None, depth: tuple[int, int, np.dtype[Any]] | None, spec: Preprocessing
) -> Plan:
    """Both inputs of mode rgbd in one plan, or the one that is not None; see `plan_image`, `plan_depth`.

    `depth` is height, width and dtype of the depth map. Raises what those two raise, UsageError when both
    are None.
    """
    parts = [_image(image, spec)] if image is not None else []
    parts += [_depth(*depth, spec)] if depth is not None else []
    if not parts:
        raise UsageError("A plan needs a frame, a depth map or both; found none.")
    return _merged(_clear_status(0 if depth is None else NO_PART), *parts)


def check_status(status: int) -> bool:
    """Whether there is no part, from the value of `status`. Raises FrameError as `depth_input` does."""
    for bit, sentence in _ERRORS.items():
        if status & bit:
            raise FrameError(sentence)
    return bool(status & NO_PART)


def _merged(*plans: Plan) -> Plan:
    """Both plans, one after the other; their names do not clash."""
    return Plan(
        tuple(chain.from_iterable(plan.launches for plan in plans)),
        {name: array for plan in plans for name, array in plan.constants.items()},
        {name: size for plan in plans for name, size in plan.workspace.items()},
        {name: size for plan in plans for name, size in plan.inputs.items()},
        {name: size for plan in plans for name, size in plan.outputs.items()},
    )


def _launch(kernel: str, x: int, *arguments: str | float, y: int = 1, shared_bytes: int = 0) -> Launch:
    """Integers become int32 and floats float64, as all kernels of `preprocess.cu` take them."""
    packed = tuple(map(_argument, arguments))
    return Launch(f"ast_edge_{kernel}", (x, y, 1), (_THREADS, 1, 1), shared_bytes, packed)


def _argument(value: str | float) -> str | np.generic:
    if isinstance(value, str):
        return value
    number: np.generic = np.int32(value) if isinstance(value, int) else np.float64(value)
    return number


def _clear_status(value: int) -> Plan:
    return Plan((_launch("set", 1, "status", 1, value),), {}, {}, {}, {"status": 4})


def _region(width: int, height: int, crop: Crop | None) -> Crop:
    return crop or Crop(x=0, y=0, width=width, height=height)


def _image(layout: FrameLayout, spec: Preprocessing) -> Plan:
    check_crop((layout.width, layout.height), spec.crop, "frame")
    crop, size = _region(layout.width, layout.height, spec.crop), spec.image_size
    constants = _fixed_point_constants("image_x", crop.width, size)
    constants |= _fixed_point_constants("image_y", crop.height, size)
    launches = (
        _launch("set", 1, "levels", 8, 0),  # 4 uint64 are 8 words
        _rows_launch(layout, crop, constants["image_x_first"], len(constants["image_x_weights"])),
        _columns_launch(size, len(constants["image_y_weights"])),
        _levels_launch(spec),
    )
    if spec.looked_at is not None:
        constants["image_looked_at"] = spec.looked_at.astype(np.uint8)
    outputs = {"image": 3 * size * size, "levels": 32}
    return Plan(
        launches, constants, {"image_rows": crop.height * size * 3}, {"frame": layout.nbytes}, outputs
    )


def _levels_launch(spec: Preprocessing) -> Launch:
    size, lanes = spec.image_size, 4 * _LANE_BYTES
    if spec.roi is None:
        return _launch("levels", size, "image", size, "levels", shared_bytes=lanes)
    return _launch("levels_inside", size, "image", "image_looked_at", size, "levels", shared_bytes=lanes)


def _fixed_point_constants(name: str, n_in: int, n_out: int) -> dict[str, NDArray[Any]]:
    """`first` int32 [n_out] and `weights` int32 [taps,n_out]: neighbours in a block read neighbours here."""
    first, weights = fixed_point_table(n_in, n_out)
    return {f"{name}_first": first, f"{name}_weights": np.ascontiguousarray(weights.T)}


def _rows_launch(layout: FrameLayout, crop: Crop, first: NDArray[np.int32], taps: int) -> Launch:
    size = len(first)
    starts = np.arange(0, size, _ROW_TILE)
    ends = np.minimum(starts + _ROW_TILE, size) - 1
    chunk = min(int((first[ends] - first[starts]).max()) + taps, _MAX_CHUNK)
    return _launch(
        "rows",
        crop.height,
        *("frame", COLOURS.index(layout.colour), layout.width, layout.height, layout.pitch, crop.x, crop.y),
        *("image_x_first", "image_x_weights", taps, size, _ROW_TILE, chunk, FIXED_POINT_BITS, "image_rows"),
        y=len(starts),
        shared_bytes=4 * chunk + 12 * _ROW_TILE,
    )


def _columns_launch(size: int, taps: int) -> Launch:
    return _launch(
        "columns",
        size,
        *(
            "image_rows",
            "image_y_first",
            "image_y_weights",
            taps,
            size,
            _COLUMN_TILE,
            FIXED_POINT_BITS,
            "image",
        ),
        y=-(-3 * size // _COLUMN_TILE),
    )


def _depth(height: int, width: int, dtype: np.dtype[Any], spec: Preprocessing) -> Plan:
    if spec.depth is None:
        raise UsageError("This model takes no depth map: its preprocessing has no depth settings.")
    if dtype not in (np.float32, np.float64):
        raise FrameError(f"The depth map must be float32 or float64 in metres, found {dtype}.")
    check_depth_size(height, width, spec.crop)
    crop, cells = _region(width, height, spec.crop), spec.map_size
    launches = (
        _fill_launch(width, int(dtype == np.float64), crop),
        *_part_launches(crop, spec.depth.foreground_min_m),
        _resize_launch(crop.width, UNSHUFFLE * cells),
        _launch(
            "depth_foreground",
            cells,
            *("depth_covered", cells, UNSHUFFLE, int(spec.depth.mask == "fractional")),
            *("foreground", "status"),
        ),
    )
    return Plan(
        launches,
        _two_tap_constants("depth_x", crop.width, UNSHUFFLE * cells)
        | _two_tap_constants("depth_y", crop.height, UNSHUFFLE * cells),
        _depth_workspace(crop, UNSHUFFLE * cells),
        {"depth_m": height * width * dtype.itemsize},
        {"depth": 4 * (UNSHUFFLE * cells) ** 2, "foreground": 4 * cells**2},
    )


def _two_tap_constants(name: str, n_in: int, n_out: int) -> dict[str, NDArray[Any]]:
    table = filter_table(n_in, n_out, antialias=False)
    return {f"{name}_first": table.first, f"{name}_weights": table.weights}


def _depth_workspace(crop: Crop, size: int) -> dict[str, int]:
    return {
        "depth_filled": 8 * crop.height * crop.width,
        "depth_part": crop.height * crop.width,
        "depth_row_sums": 16 * crop.height,
        "depth_mean": 8,
        "depth_covered": size * size,
    }


def _fill_launch(pitch: int, is_double: int, crop: Crop) -> Launch:
    return _launch(
        "depth_fill",
        -(-crop.width // _DEPTH_TILE),
        *("depth_m", is_double, pitch, crop.x, crop.y, crop.width, crop.height),
        *(_DEPTH_TILE, GAP_PASSES, MAX_DEPTH_M, "depth_filled", "status"),
        y=-(-crop.height // _DEPTH_TILE),
        shared_bytes=2 * 8 * (_DEPTH_TILE + 2 * GAP_PASSES) ** 2,
    )


def _part_launches(crop: Crop, foreground_min_m: float) -> tuple[Launch, Launch]:
    part = _launch(
        "depth_part",
        crop.height,
        *("depth_filled", crop.width, crop.height, float(foreground_min_m)),
        *("depth_part", "depth_row_sums", "status"),
        shared_bytes=2 * _LANE_BYTES + 4 * 8,
    )
    mean = _launch("depth_mean", 1, "depth_row_sums", crop.height, "depth_mean", shared_bytes=2 * _LANE_BYTES)
    return part, mean


def _resize_launch(width: int, size: int) -> Launch:
    return _launch(
        "depth_resize",
        size,
        *("depth_filled", "depth_part", "depth_mean", width),
        *("depth_x_first", "depth_x_weights", "depth_y_first", "depth_y_weights"),
        *(size, "depth", "depth_covered"),
    )
