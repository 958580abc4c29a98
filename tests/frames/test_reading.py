"""Reading pictures: exact values, and a refusal that names the file when it is damaged, large or unclear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ast_edge.data import Sample, load
from ast_edge.errors import DataError, UsageError
from ast_edge.frames.reading import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    list_images,
    orientation_of,
    picture_size,
    read_depth_beside,
    read_image,
    read_mask,
    read_xyz,
    set_max_pixels,
    unread_pictures,
    xyz_beside,
)
from tests.frames.encoded import LOSSLESS, RGB, by_opencv, encoded, refused, saved
from tests.real_data import cable_gland


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_colours_come_back_as_rgb(tmp_path: Path, kind: str) -> None:
    image = read_image(saved(tmp_path, encoded(Image.fromarray(RGB), kind, **LOSSLESS[kind])))
    np.testing.assert_array_equal(image, RGB)
    assert image.dtype == np.uint8
    assert image.flags.writeable
    assert image.flags.c_contiguous


def test_a_path_may_be_a_text(tmp_path: Path) -> None:
    path = saved(tmp_path, encoded(Image.fromarray(RGB), "PNG"))
    np.testing.assert_array_equal(read_image(str(path)), RGB)
    np.testing.assert_array_equal(read_mask(str(path)), read_mask(path))
    refused(lambda path: read_xyz(str(path)), path, "TIFF")


def test_jpeg_is_close(tmp_path: Path) -> None:
    smooth = np.dstack([np.tile(np.arange(0, 240, 5, dtype=np.uint8), (48, 1))] * 3)
    image = read_image(saved(tmp_path, encoded(Image.fromarray(smooth), "JPEG", quality=95), "part.jpg"))
    assert np.abs(image.astype(int) - smooth).max() <= 3


def test_grey_is_repeated_and_palettes_are_resolved(tmp_path: Path) -> None:
    grey = Image.fromarray(RGB[..., 0])
    image = read_image(saved(tmp_path, encoded(grey, "PNG")))
    np.testing.assert_array_equal(image, np.dstack([RGB[..., 0]] * 3))
    palette = Image.fromarray(RGB).quantize(16)
    image = read_image(saved(tmp_path, encoded(palette, "PNG")))
    np.testing.assert_array_equal(image, np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_must_be_opaque(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(RGB).convert(mode)
    expected = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(read_image(saved(tmp_path, encoded(picture, "PNG"))), expected)
    picture.putpixel((3, 4), (9,) * (len(mode) - 1) + (254,))
    refused(read_image, saved(tmp_path, encoded(picture, "PNG")), "some pixels are transparent")


def test_a_transparent_palette_entry_that_is_used_is_refused(tmp_path: Path) -> None:
    palette = Image.fromarray(RGB).quantize(16)
    data = encoded(palette, "PNG", transparency=3)
    refused(read_image, saved(tmp_path, data), "some pixels are transparent")
    assert read_image(saved(tmp_path, encoded(palette, "PNG", transparency=200))).shape == RGB.shape


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 3), (8, 9, 4)])
def test_sixteen_bits_are_refused(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    deep = np.full(shape, 40_000, np.uint16)
    path = saved(tmp_path, by_opencv(suffix, deep), f"part{suffix}")
    refused(
        read_image, path, "more than 8 bits per channel; convert it to 8 bit with the camera's own scaling"
    )


@pytest.mark.parametrize("mode", ["1", "CMYK", "F"])
def test_other_pixel_formats_are_refused(tmp_path: Path, mode: str) -> None:
    data = encoded(Image.fromarray(RGB).convert("L" if mode == "F" else "RGB").convert(mode), "TIFF")
    refused(read_image, saved(tmp_path, data, "part.tiff"), f"found pixels of mode {mode}")


@pytest.mark.parametrize("kind", [*LOSSLESS, "JPEG"])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, kind: str, kept: float) -> None:
    data = encoded(Image.fromarray(RGB), kind, **LOSSLESS.get(kind, {}))
    refused(read_image, saved(tmp_path, data[: int(kept * len(data))]), "damaged")


def test_a_flipped_bit_in_a_png_is_refused(tmp_path: Path) -> None:
    data = bytearray(encoded(Image.fromarray(RGB), "PNG"))
    data[len(data) // 2] ^= 4
    refused(read_image, saved(tmp_path, bytes(data)), "damaged or cut off")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about the tags of a damaged TIFF
@settings(max_examples=150)
@given(kind=st.sampled_from([*LOSSLESS, "JPEG"]), at=st.floats(0, 0.999), byte=st.integers(0, 255))
def test_damage_never_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, kind: str, at: float, byte: int
) -> None:
    data = bytearray(encoded(Image.fromarray(RGB), kind, **LOSSLESS.get(kind, {})))
    data[int(at * len(data))] = byte
    path = saved(tmp_path_factory.getbasetemp(), bytes(data))
    try:
        assert read_image(path).dtype == np.uint8  # damage that the format cannot notice
    except DataError as exc:
        assert str(path) in str(exc)  # noqa: PT017


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"hello, conveyor", "is not a PNG"),
        (b"GIF89a" + bytes(40), "is not a PNG"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    refused(read_image, saved(tmp_path, data), words)
    refused(read_mask, saved(tmp_path, data), words)


@pytest.mark.parametrize("reader", [read_image, read_mask, read_xyz])
def test_missing_files_and_folders_are_refused(tmp_path: Path, reader: Callable[[Path], object]) -> None:
    refused(reader, tmp_path / "nowhere.png", "cannot be read")
    refused(reader, tmp_path, "cannot be read")


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "MPO"])
def test_several_pictures_in_one_file_are_refused(tmp_path: Path, kind: str) -> None:
    pages = {"save_all": True, "append_images": [Image.fromarray(RGB[::-1])]}
    refused(read_image, saved(tmp_path, encoded(Image.fromarray(RGB), kind, **pages)), "found 2 in the file")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_orientation_says(tmp_path: Path, kind: str, orientation: int) -> None:
    """All four formats alike, and as OpenCV turns them, which the C++ example reads with."""
    upright = np.full((20, 30, 3), 40, np.uint8)
    upright[:8, :8] = 200
    exif = Image.Exif()
    exif[274] = orientation
    exact: dict[str, Any] = {"quality": 100, "lossless": True}
    path = saved(tmp_path, encoded(Image.fromarray(upright), kind, exif=exif, **exact), f"a.{kind.lower()}")
    turned = {
        **{1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1]},
        **{5: upright.swapaxes(0, 1), 6: np.rot90(upright, -1)},
        **{7: np.rot90(upright, 2).swapaxes(0, 1), 8: np.rot90(upright)},
    }[orientation]
    found = read_image(path)
    assert np.abs(found.astype(int) - turned).max() <= 3
    assert picture_size(path) == turned.shape[1::-1]
    assert orientation_of(path) == orientation
    if kind in {"PNG", "JPEG"}:
        seen = cv2.imread(str(path))
        assert seen is not None
        assert np.array_equal(seen, found[..., ::-1])
    mask = read_mask(path)
    assert mask.shape == turned.shape[:2]


def test_a_picture_that_is_turned_does_not_fit_its_depth_map(tmp_path: Path) -> None:
    """Turned by 180 degrees it has the same size, so only the orientation tells."""
    for folder in ("rgb", "xyz"):
        (tmp_path / folder).mkdir()
    picture, xyz = tmp_path / "rgb/000.png", tmp_path / "xyz/000.tiff"
    tifffile.imwrite(xyz, np.ones((4, 6, 3), np.float32), photometric="rgb")
    exif = Image.Exif()
    for orientation in (1, 3):
        exif[274] = orientation
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(picture, exif=exif)
        assert read_depth_beside(picture, registered=False).shape == (4, 6)
        if orientation == 1:
            assert read_depth_beside(picture, registered=True).shape == (4, 6)
        else:
            with pytest.raises(DataError, match="has the EXIF orientation 3"):
                read_depth_beside(picture, registered=True)
            with pytest.raises(DataError, match="has the EXIF orientation 3"):
                load(Sample(picture, xyz, None), "rgbd")


@pytest.mark.slow
@pytest.mark.parametrize("size", [(10_000, 9_500), (13_500, 13_400)])
def test_a_large_picture_is_read_or_refused_with_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    """Pillow alone warns from 90 megapixels on and calls more than 179 an attack."""
    path = tmp_path / "large.png"
    Image.new("L", size).save(path, compress_level=1)
    megapixels = round(size[0] * size[1] / 1e6)
    assert megapixels > 90
    if size[0] * size[1] > MAX_PIXELS:
        refused(
            picture_size, path, f"are {megapixels} megapixels, more than the limit of 179; .*--max-pixels"
        )
        monkeypatch.setenv("AST_EDGE_MAX_PIXELS", "1")
        set_max_pixels(size[0] * size[1])
    assert picture_size(path) == size
    monkeypatch.setenv("AST_EDGE_MAX_PIXELS", "1000000")
    refused(read_image, path, "more than the limit of 1; ")


def test_a_limit_that_is_no_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AST_EDGE_MAX_PIXELS", "many")
    with pytest.raises(UsageError, match="AST_EDGE_MAX_PIXELS=many: expected a number of pixels"):
        read_image(saved(tmp_path, encoded(Image.fromarray(RGB), "PNG")))


def test_pictures_that_are_not_read_are_named(tmp_path: Path) -> None:
    assert not unread_pictures(tmp_path)
    for name in ("b.HEIC", "a.avif", "c.jxl", "d.png", "e.txt"):
        (tmp_path / name).touch()
    assert unread_pictures(tmp_path).startswith(f"{tmp_path}: a.avif and 2 more left out: HEIC, AVIF,")


@pytest.mark.data
def test_real_pictures_and_masks_are_read() -> None:
    folder = cable_gland() / "test" / "cut"
    first = list_images(folder / "rgb")[0]
    assert read_image(first).shape == (400, 400, 3)
    assert read_mask(folder / "gt" / first.name).any()
    assert xyz_beside(first) == folder / "xyz" / "000.tiff"


def test_pictures_are_listed_by_name_without_hidden_and_foreign_files(tmp_path: Path) -> None:
    names = ["b.PNG", "a.jpeg", "c10.tif", "c2.webp", ".hidden.png", "._a.jpeg", "notes.txt", "Thumbs.db"]
    for name in names:
        saved(tmp_path, b"", name)
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.jpeg", "b.PNG", "c10.tif", "c2.webp"]
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in IMAGE_SUFFIXES)


def test_folders_that_cannot_be_listed_are_refused(tmp_path: Path) -> None:
    refused(list_images, tmp_path / "nowhere", "expected a folder of pictures")
    refused(list_images, saved(tmp_path, b""), "expected a folder of pictures")
