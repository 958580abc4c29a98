"""The CPU engine of C++ prepares frames and depth maps bit for bit as Python does."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ast_edge.frames.depth import depth_input
from ast_edge.frames.levels import grey_levels
from ast_edge.frames.pixel_formats import COLOURS, Colour, frame_size
from ast_edge.frames.preprocess import image_input
from ast_edge.model.manifest import Crop, DepthPreprocessing, Mode, Preprocessing
from ast_edge.model.onnx_file import write_model_file
from ast_edge.model.roi import Roi
from tests.tiny import tiny_manifest, tiny_network, tiny_spec

WIDTH, HEIGHT = 62, 46
CROPS = (None, Crop(x=7, y=3, width=41, height=38))


def model_of(folder: Path, mode: Mode, preprocessing: Preprocessing) -> Path:
    """A model file with this preprocessing; its network is never run."""
    network = folder / "network.onnx"
    network.write_bytes(tiny_network(tiny_spec(mode)).SerializeToString())
    spec = tiny_spec(mode).model_copy(update={"preprocessing": preprocessing})
    target = folder / "model.onnx"
    write_model_file(target, network, tiny_manifest(spec, network), None)
    return target


def roi_of(size: int) -> Roi:
    """A mask of random pixels."""
    return Roi.of(np.random.default_rng(size).random((size, size)) < 0.8, (0, 0, 0))


def prepared(build: Path, model: Path, part: dict[str, Any], shape: tuple[int, int]) -> bytes:
    """What the program of the build tree makes of a part: tensors one after the other, then the levels."""
    frame, depth = part.get("frame"), part.get("depth_m")
    colour, pitch = part.get("colour", "rgb"), 0 if frame is None else frame.strides[0]
    words = [COLOURS.index(colour), *shape, pitch, int(depth is not None and depth.dtype == np.float64)]
    # A view at a pitch: the bytes of all rows, without the gap behind the last.
    raw = b"" if frame is None else frame.base.tobytes()[: pitch * (len(frame) - 1) + frame[0].nbytes]
    raw += b"" if depth is None else depth.tobytes()
    command = [build / "tests" / "ast_edge_prepare", model, *words]
    done = subprocess.run(list(map(str, command)), input=raw, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return bytes(done.stdout)


def random_frame(colour: Colour, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A view with a gap behind every row."""
    channels = {"rgb": 3, "bgr": 3, "yuyv": 2}.get(colour, 1)
    rows = HEIGHT * 3 // 2 if colour == "nv12" else HEIGHT
    wide = rng.integers(0, 256, (rows, WIDTH + 5, channels), dtype=np.uint8)
    whole = wide if channels > 1 else wide.reshape(rows, WIDTH + 5)
    view = whole[:, :WIDTH]
    assert frame_size(view, colour) == (WIDTH, HEIGHT)
    return view


@pytest.mark.parametrize("crop", CROPS, ids=["whole", "crop"])
@pytest.mark.parametrize("size", [5, 41, 100, 128])
@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("masked", [False, True], ids=["everything", "mask"])
def test_pictures(
    build: Path, tmp_path: Path, colour: Colour, size: int, crop: Crop | None, masked: bool
) -> None:
    spec = Preprocessing(image_size=size, map_size=1, crop=crop, roi=roi_of(size) if masked else None)
    frame = random_frame(colour, np.random.default_rng(size))
    model = model_of(tmp_path, "rgb", spec)
    found = prepared(build, model, {"frame": frame, "colour": colour}, (WIDTH, HEIGHT))
    expected = image_input(frame, colour, spec)
    assert found[: expected.nbytes] == expected.tobytes()
    levels = np.frombuffer(found[expected.nbytes :], np.float64)
    np.testing.assert_allclose(levels, grey_levels(expected, spec.looked_at), rtol=1e-12)


@pytest.mark.parametrize("crop", CROPS, ids=["whole", "crop"])
@pytest.mark.parametrize("mask", ["binary", "fractional"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cells", [1, 7])
def test_depth_maps(
    build: Path, tmp_path: Path, cells: int, dtype: type[np.floating[Any]], mask: Any, crop: Crop | None
) -> None:
    depth = DepthPreprocessing(foreground_min_m=0.004, mask=mask)
    spec = Preprocessing(image_size=16, map_size=cells, crop=crop, depth=depth)
    rng = np.random.default_rng(cells)
    z = rng.normal(0.5, 0.003, (HEIGHT, WIDTH)).astype(dtype)
    z[10:30, 12:40] -= dtype(0.03)
    z[rng.random(z.shape) < 0.2] = 0
    model = model_of(tmp_path, "depth", spec)
    found = prepared(build, model, {"depth_m": z}, (WIDTH, HEIGHT))
    expected = depth_input(z, spec)
    assert not expected.empty
    depth_bytes = expected.depth.nbytes
    np.testing.assert_allclose(
        np.frombuffer(found[:depth_bytes], np.float32), expected.depth.ravel(), rtol=0, atol=1e-5
    )
    foreground = found[depth_bytes : depth_bytes + expected.foreground.nbytes]
    assert foreground == expected.foreground.tobytes()


@pytest.mark.parametrize("n_in", [3000, 2048, 1001, 257])
def test_large_reductions(build: Path, tmp_path: Path, n_in: int) -> None:
    """Many taps, whose weights NumPy adds up pairwise."""
    spec = Preprocessing(image_size=9, map_size=2)
    frame = np.random.default_rng(n_in).integers(0, 256, (24, n_in), dtype=np.uint8)[:, :]
    model = model_of(tmp_path, "rgb", spec)
    found = prepared(build, model, {"frame": frame, "colour": "mono"}, (n_in, 24))
    expected = image_input(frame, "mono", spec)
    assert found[: expected.nbytes] == expected.tobytes()
