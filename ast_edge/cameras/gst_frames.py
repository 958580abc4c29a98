"""The content of GStreamer buffers: pixel formats as named in caps, and rows padded beyond the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ast_edge.cameras.gi_bindings import load
from ast_edge.errors import CameraError
from ast_edge.frames.pixel_formats import Colour

FORMATS: dict[str, Colour] = {
    "BGR": "bgr",
    "RGB": "rgb",
    "GRAY8": "mono",
    "NV12": "nv12",
    "YUY2": "yuyv",
    "rggb": "bayer_rggb",
    "bggr": "bayer_bggr",
    "grbg": "bayer_grbg",
    "gbrg": "bayer_gbrg",
}
_BAYER = ",".join(name for name in FORMATS if name.islower())
# YUV only in the colorimetry that `ast_edge.frames.pixel_formats` decodes, limited BT.601; others are
# converted by GStreamer.
CAPS = (
    "video/x-raw,format=(string){BGR,RGB,GRAY8};"
    "video/x-raw,format=(string){NV12,YUY2},colorimetry=(string)bt601;"
    f"video/x-bayer,format=(string){{{_BAYER}}}"
)
Plane = tuple[int, int, int]  # offset in the buffer, bytes from row to row, rows


def pixels_of(sample: Any) -> tuple[NDArray[np.uint8], Colour]:
    """Copy a sample's picture and return its colour. Raises CameraError for a buffer that is too short."""
    caps, buffer = sample.get_caps(), sample.get_buffer()
    structure = caps.get_structure(0)
    name = structure.get_string("format")
    width, height = structure.get_int("width")[1], structure.get_int("height")[1]
    data = np.frombuffer(buffer.extract_dup(0, buffer.get_size()), np.uint8)
    return _pixels(data, name, width, _planes(name, width, height, caps, buffer)), FORMATS[name]


def _planes(name: str, width: int, height: int, caps: Any, buffer: Any) -> list[Plane]:
    """Return the layout of the rows, which may be longer than the picture is wide."""
    if name.islower():  # Bayer patterns have no video info; rows are padded to four bytes
        return [(0, -(-width // 4) * 4, height)]
    video = load("GstVideo", "1.0")
    meta = video.buffer_get_video_meta(buffer)
    info = video.VideoInfo.new_from_caps(caps) if meta is None else meta
    rows = (height, -(-height // 2)) if name == "NV12" else (height,)
    return [(int(info.offset[at]), int(info.stride[at]), count) for at, count in enumerate(rows)]


def _pixels(data: NDArray[np.uint8], name: str, width: int, planes: Sequence[Plane]) -> NDArray[np.uint8]:
    """Return the picture without padding; raises CameraError for too few bytes."""
    depth = {"BGR": 3, "RGB": 3, "YUY2": 2}.get(name, 1)
    used = width * depth
    parts = []
    for start, stride, rows in planes:
        need = start + stride * (rows - 1) + used
        if stride < used or need > data.size:
            raise CameraError(f"a frame of {data.size} bytes, where {name} needs {need}.")
        view = np.lib.stride_tricks.as_strided(data[start:], (rows, used), (stride, 1), writeable=False)
        parts.append(view)
    flat: NDArray[np.uint8] = np.concatenate(parts)
    return flat.reshape(flat.shape[0], width, depth) if depth > 1 else flat
