"""Reading masks and depth maps: exact values, and refusals that name the file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from ast_edge.errors import BackendError, DataError, UsageError
from ast_edge.frames.reading import (
    read_mask,
    read_xyz,
    xyz_beside,
)
from tests.frames.encoded import RGB, XYZ, by_opencv, encoded, refused, saved, tiff
from tests.real_data import cable_gland


def test_a_depth_map_that_asks_to_be_turned_is_refused(tmp_path: Path) -> None:
    xyz = np.zeros((4, 6, 3), np.float32)
    path = tmp_path / "000.tiff"
    tifffile.imwrite(path, xyz, photometric="rgb", extratags=[(274, 3, 1, 6, False)])
    refused(read_xyz, path, r"found one to be rotated \(orientation 6\)")


def test_a_depth_map_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "000.tiff"
    tifffile.imwrite(path, np.zeros((40, 60, 3), np.float32), photometric="rgb")
    monkeypatch.setenv("AST_EDGE_MAX_PIXELS", "2399")
    refused(read_xyz, path, "--max-pixels")
    monkeypatch.setenv("AST_EDGE_MAX_PIXELS", "2400")
    assert read_xyz(path).shape == (40, 60)


UNITS = np.array([[0, 1, 700], [65535, 5000, 2]], np.uint16)


def depth_png(path: Path, values: NDArray[Any] = UNITS, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)
    return path


def test_integers_are_read_with_the_length_of_their_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = depth_png(tmp_path / "xyz" / "000.png")
    assert xyz_beside(tmp_path / "rgb" / "000.png") == path
    monkeypatch.setenv("AST_EDGE_DEPTH_SCALE", "")
    refused(read_xyz, path, r"its unit is unknown; .*--depth-scale or AST_EDGE_DEPTH_SCALE: 0.001 if")
    monkeypatch.setenv("AST_EDGE_DEPTH_SCALE", "0.001")
    found = read_xyz(path)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([[0, 0.001, 0.7], [65.535, 5, 0.002]], np.float32))
    np.testing.assert_array_equal(read_xyz(path, 0.0002), (UNITS * 0.0002).astype(np.float32))
    cv2 = pytest.importorskip("cv2")  # an independent writer
    cv2.imwrite(str(path), UNITS)
    np.testing.assert_array_equal(read_xyz(path), found)
    (tmp_path / "xyz" / "000.tiff").write_bytes(b"")
    refused(xyz_beside, tmp_path / "rgb" / "000.png", r"has two depth maps, .*000\.tiff and 000\.png")


@pytest.mark.parametrize("text", ["0", "-1", "1.01", "nan", "inf", "mm"])
def test_a_unit_that_is_no_length_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("AST_EDGE_DEPTH_SCALE", text)
    with pytest.raises(UsageError, match=f"AST_EDGE_DEPTH_SCALE={text}: expected the metres of one unit"):
        read_xyz(depth_png(tmp_path / "000.png"))


def test_pngs_that_hold_no_integers_of_16_bits_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AST_EDGE_DEPTH_SCALE", "0.001")
    path = tmp_path / "000.png"
    for values in (UNITS.astype(np.uint8), np.zeros((2, 3, 3), np.uint8)):
        refused(read_xyz, depth_png(path, values), "expected a PNG of 16-bit grey, found a PNG of mode")
    turned = Image.Exif()
    turned[274] = 6
    refused(read_xyz, depth_png(path, exif=turned), r"is to be rotated \(orientation 6\)")
    whole = depth_png(path).read_bytes()
    for kept in range(0, len(whole) // 2, 5):
        path.write_bytes(whole[:kept])
        refused(read_xyz, path, "000.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_masks_of_any_depth_are_cut_at_zero(tmp_path: Path, dtype: type[np.integer[Any]]) -> None:
    values = np.zeros((6, 7), dtype)
    values[2:4, 1:5] = [1, 2, 255, np.iinfo(dtype).max]
    mask = read_mask(saved(tmp_path, tiff(values, photometric="minisblack"), "mask.tiff"))
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, values > 0)


def test_colour_and_bilevel_masks_are_read(tmp_path: Path) -> None:
    values = np.zeros((6, 7, 3), np.uint8)
    values[1, 2, 2] = values[3, 4, 0] = 1  # so faint that a conversion to grey would lose them
    expected = values.any(axis=2)
    np.testing.assert_array_equal(
        read_mask(saved(tmp_path, encoded(Image.fromarray(values), "PNG"))), expected
    )
    bilevel = Image.fromarray(expected)
    np.testing.assert_array_equal(read_mask(saved(tmp_path, encoded(bilevel, "PNG"))), expected)


def test_masks_that_would_lose_depth_are_refused(tmp_path: Path) -> None:
    deep = by_opencv(".png", np.ones((6, 7, 3), np.uint16))
    refused(read_mask, saved(tmp_path, deep), "more than 8 bits per channel")
    refused(read_mask, saved(tmp_path, tiff(XYZ[..., 0], photometric="minisblack")), "mode F")


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zlib"}, {"byteorder": ">"}, {"tile": (16, 16)}, {"photometric": "minisblack"}],
)
def test_z_is_the_third_channel(tmp_path: Path, options: dict[str, Any]) -> None:
    path = saved(tmp_path, tiff(XYZ, planarconfig="contig", **options), "000.tiff")
    z = read_xyz(path)
    np.testing.assert_array_equal(z, tifffile.imread(path)[..., 2])
    assert z.dtype == np.float32
    assert z.flags.writeable
    assert z.flags.c_contiguous


@pytest.mark.parametrize(
    ("values", "options", "found"),
    [
        (XYZ[..., 0], {"photometric": "minisblack"}, "1 channels"),
        (np.dstack([XYZ, XYZ[..., :1]]), {}, "4 channels"),
        (XYZ.astype(np.float64), {}, "64 bits per channel"),
        (XYZ.astype(np.float16), {}, "16 bits per channel"),
        (np.full((8, 9, 3), 400, np.uint32), {}, "integers"),
        (np.full((8, 9, 3), 400, np.uint16), {}, "integers"),
        (np.ascontiguousarray(XYZ.transpose(2, 0, 1)), {"planarconfig": "separate"}, "one plane per channel"),
        (np.stack([XYZ, XYZ]), {}, "several pages"),
    ],
)
def test_other_tiffs_are_no_depth_maps(
    tmp_path: Path, values: NDArray[Any], options: dict[str, Any], found: str
) -> None:
    path = saved(tmp_path, tiff(values, **options), "000.tiff")
    refused(read_xyz, path, rf"expected a float32 TIFF \[height,width,3\].*found {found}")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_z_must_be_finite_and_only_z(tmp_path: Path, value: float) -> None:
    for channel in (0, 2):
        values = XYZ.copy()
        values[3, 4, channel] = value
        path = saved(tmp_path, tiff(values), "000.tiff")
        if channel == 2:
            refused(read_xyz, path, "z holds NaN or infinity; write 0")
        else:
            np.testing.assert_array_equal(read_xyz(path), XYZ[..., 2])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kept", [0.001, 0.02, 0.5, 0.99])
def test_a_depth_map_that_is_cut_off_is_refused(tmp_path: Path, compression: str | None, kept: float) -> None:
    data = tiff(XYZ, compression=compression)
    refused(read_xyz, saved(tmp_path, data[: int(kept * len(data))], "000.tiff"), r"damaged|found|empty")


def test_a_picture_is_no_depth_map(tmp_path: Path) -> None:
    refused(
        read_xyz, saved(tmp_path, encoded(Image.fromarray(RGB), "PNG")), "a PNG of 16-bit grey, found a PNG"
    )


def test_without_opencv_depth_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, tiff(XYZ), "000.tiff")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(BackendError, match=r'pip install "\.\[cpu\]"'):
        read_xyz(path)


@pytest.mark.data
def test_real_depth_maps_agree_with_tifffile() -> None:
    for path in sorted(cable_gland().glob("*/*/xyz/000.tiff")):
        np.testing.assert_array_equal(read_xyz(path), tifffile.imread(path)[..., 2])


def test_the_depth_map_beside_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rgb", "xyz"):
        (tmp_path / name).mkdir()
    depth = saved(tmp_path / "xyz", b"", "000.tiff")
    assert xyz_beside(tmp_path / "rgb" / "000.png") == depth
    monkeypatch.chdir(tmp_path)
    assert xyz_beside(Path("rgb/000.png")) == Path("xyz/000.tiff")
    monkeypatch.chdir(tmp_path / "rgb")
    assert xyz_beside(Path("000.png")).samefile(depth)
    refused(xyz_beside, tmp_path / "rgb" / "001.png", "its depth map is missing")


def test_a_picture_at_the_root_has_no_depth_map_beside_it() -> None:
    with pytest.raises(DataError, match=r"nowhere\.png: its depth map is missing"):
        xyz_beside(Path("/nowhere.png"))
