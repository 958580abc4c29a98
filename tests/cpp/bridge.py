"""The C library of `cpp_bridge` through ctypes: built once a session, called as a C program would."""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ast_edge.frames.pixel_formats import COLOURS, Colour, frame_size
from tests.paths import ROOT

SOURCE = ROOT / "cpp_bridge"
VERDICTS = ("fault", "pass", "reject")
_TARGETS = ("ast_edge", "ast_edge_prepare", "ast_edge_bench")
# What `cmake` says when something is not installed; any other failure is a finding.
_MISSING = ("finds neither OpenVINO nor TensorRT", "Could NOT find", "Could not find a package configuration")


def build(folder: Path) -> Path:
    """The build tree of AST_EDGE_CPP_BUILD, or one made in `folder`; skips where something is missing."""
    if given := os.environ.get("AST_EDGE_CPP_BUILD"):
        return Path(given)
    for tool in ("cmake", "g++"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    configured = _run("cmake", "-S", SOURCE, "-B", folder, f"-DAST_EDGE_PYTHON={sys.executable}")
    said = " ".join((configured.stdout + configured.stderr).split())
    if configured.returncode and any(words in said for words in _MISSING):
        pytest.skip(f"cpp_bridge cannot be built here: {said[-300:]}")
    assert configured.returncode == 0, said
    built = _run("cmake", "--build", folder, "-j2", "--target", *_TARGETS)
    assert built.returncode == 0, built.stderr
    return folder


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


class Part(ctypes.Structure):
    """`ast_edge_part`."""

    _fields_ = (
        ("struct_size", ctypes.c_uint32),
        ("format", ctypes.c_int32),
        ("frame", ctypes.c_void_p),
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("pitch", ctypes.c_size_t),
        ("memory", ctypes.c_int32),
        ("depth_type", ctypes.c_int32),
        ("depth_m", ctypes.c_void_p),
        ("depth_width", ctypes.c_uint32),
        ("depth_height", ctypes.c_uint32),
        ("depth_pitch", ctypes.c_size_t),
    )


class RawResult(ctypes.Structure):
    """`ast_edge_result`."""

    _fields_ = (
        ("struct_size", ctypes.c_uint32),
        ("verdict", ctypes.c_int32),
        *(
            (name, ctypes.c_double)
            for name in (
                *("score", "threshold", "p_value", "brightness", "contrast", "sharpness"),
                *("preprocess_ms", "engine_ms", "score_ms"),
            )
        ),
        ("map", ctypes.POINTER(ctypes.c_float)),
        ("map_values", ctypes.c_size_t),
        ("reason", ctypes.c_char * 256),
    )


class RawInfo(ctypes.Structure):
    """`ast_edge_info`, as far as it is needed."""

    _fields_ = (
        ("struct_size", ctypes.c_uint32),
        ("mode", ctypes.c_int32),
        ("precision", ctypes.c_int32),
        ("image_size", ctypes.c_uint32),
        ("map_size", ctypes.c_uint32),
    )


class RawParity(ctypes.Structure):
    """`ast_edge_parity`."""

    _fields_ = (
        ("struct_size", ctypes.c_uint32),
        ("vectors", ctypes.c_uint32),
        ("flipped_verdicts", ctypes.c_uint32),
        ("max_relative_score_error", ctypes.c_double),
        ("max_absolute_map_error", ctypes.c_double),
        ("tolerance", ctypes.c_double),
    )


@dataclass(frozen=True)
class Result:
    """What the library said about a part; `status` 0 is AST_EDGE_OK."""

    status: int
    verdict: str
    score: float
    threshold: float
    p_value: float | None
    levels: tuple[float, float, float] | None
    reason: str
    map: NDArray[np.float32]


class Model:
    """A handle. Raises ValueError with the library's sentence when the model is refused."""

    def __init__(self, library: ctypes.CDLL, path: Path) -> None:
        self._library = library
        self._handle = ctypes.c_void_p()
        if library.ast_edge_open(str(path).encode(), None, ctypes.byref(self._handle)):
            raise ValueError(last_error(library))
        info = RawInfo(ctypes.sizeof(RawInfo))
        assert library.ast_edge_get_info(self._handle, ctypes.byref(info)) == 0
        self.map_size = int(info.map_size)

    def inspect(
        self,
        frame: NDArray[np.uint8] | None = None,
        colour: Colour | None = None,
        depth_m: NDArray[Any] | None = None,
    ) -> Result:
        """As `Inspector.inspect`; rows may have gaps between them."""
        return self._judge(self._library.ast_edge_inspect, ctypes.byref(part_of(frame, colour, depth_m)))

    def submit(
        self,
        frame: NDArray[np.uint8] | None = None,
        colour: Colour | None = None,
        depth_m: NDArray[Any] | None = None,
    ) -> int:
        """A ticket for `wait`."""
        ticket = ctypes.c_uint64()
        part = part_of(frame, colour, depth_m)
        assert self._library.ast_edge_submit(self._handle, ctypes.byref(part), ctypes.byref(ticket)) == 0, (
            last_error(self._library)
        )
        return ticket.value

    def wait(self, ticket: int) -> Result:
        """The result of a part on its way."""
        return self._judge(self._library.ast_edge_wait, ctypes.c_uint64(ticket), ctypes.c_int64(-1))

    def verify(self) -> tuple[int, RawParity]:
        """Status and figures."""
        parity = RawParity(ctypes.sizeof(RawParity))
        return int(self._library.ast_edge_verify(self._handle, ctypes.byref(parity))), parity

    def set_threshold(self, threshold: float) -> None:
        """For this handle."""
        assert self._library.ast_edge_set_threshold(self._handle, ctypes.c_double(threshold)) == 0

    def close(self) -> None:
        """Free the handle."""
        self._library.ast_edge_close(self._handle)
        self._handle = ctypes.c_void_p()

    def _judge(self, function: Any, *arguments: Any) -> Result:
        anomaly_map = np.empty((self.map_size, self.map_size), np.float32)
        raw = RawResult(ctypes.sizeof(RawResult))
        raw.map = anomaly_map.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        raw.map_values = anomaly_map.size
        status = int(function(self._handle, *arguments, ctypes.byref(raw)))
        levels = (raw.brightness, raw.contrast, raw.sharpness)
        return Result(
            status,
            VERDICTS[raw.verdict],
            raw.score,
            raw.threshold,
            None if math.isnan(raw.p_value) else raw.p_value,
            None if math.isnan(raw.brightness) else levels,
            raw.reason.decode(),
            anomaly_map,
        )

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load(folder: Path) -> ctypes.CDLL:
    """The library of a build tree."""
    library = ctypes.CDLL(str(folder / "libast_edge.so"))
    library.ast_edge_last_error.restype = ctypes.c_char_p
    library.ast_edge_engines.restype = ctypes.c_char_p
    library.ast_edge_close.restype = None
    return library


def last_error(library: ctypes.CDLL) -> str:
    """The sentence of this thread's last failure."""
    return str(library.ast_edge_last_error().decode())


def part_of(frame: NDArray[np.uint8] | None, colour: Colour | None, depth_m: NDArray[Any] | None) -> Part:
    """The C struct of a part; the arrays must outlive it."""
    part = Part(ctypes.sizeof(Part))
    if frame is not None and colour is not None:
        part.format = COLOURS.index(colour)
        part.width, part.height = frame_size(frame, colour)
        part.frame, part.pitch = frame.ctypes.data, frame.strides[0]
    if depth_m is not None:
        part.depth_type = int(depth_m.dtype == np.float64)
        part.depth_height, part.depth_width = depth_m.shape
        part.depth_m, part.depth_pitch = depth_m.ctypes.data, depth_m.strides[0]
    return part
