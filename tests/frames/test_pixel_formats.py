"""Pixel formats against OpenCV, and decoding a crop against cropping what was decoded."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ast_edge.errors import FrameError
from ast_edge.frames.pixel_formats import COLOURS, Colour, decode, frame_size
from ast_edge.frames.preprocess import check_frame, image_input
from ast_edge.frames.resize import resize_image
from ast_edge.model.manifest import Crop, Preprocessing

SEEDS = st.integers(0, 2**32 - 1)
HALVES = st.integers(1, 24)
# OpenCV names a pattern by the second row's second and third pixels.
BAYER: dict[Colour, int] = {
    "bayer_rggb": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr": cv2.COLOR_BayerRG2RGB,
    "bayer_grbg": cv2.COLOR_BayerGB2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGR2RGB,
}
YUV: dict[Colour, int] = {"nv12": cv2.COLOR_YUV2RGB_NV12, "yuyv": cv2.COLOR_YUV2RGB_YUYV}


def camera_frame(colour: Colour, width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """Noise in the format's shape; an odd size is made even where the format needs it."""
    even = 2 * ((width + 1) // 2)
    shapes: dict[str, tuple[int, ...]] = {
        "rgb": (height, width, 3),
        "bgr": (height, width, 3),
        "mono": (height, width),
        "nv12": ((height + 1) // 2 * 3, even),
        "yuyv": (height, even, 2),
    }
    shape = shapes.get(colour, (max(height, 2), max(width, 2)))
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("colour", BAYER)
@given(width=st.integers(2, 40), height=st.integers(2, 40), seed=SEEDS)
def test_bayer_equals_opencv_away_from_the_border(colour: Colour, width: int, height: int, seed: int) -> None:
    frame = camera_frame(colour, width, height, seed)
    ours = decode(frame, colour)
    assert ours.shape == (height, width, 3)
    inside = (slice(1, -1), slice(1, -1))
    if min(width, height) > 2:
        np.testing.assert_array_equal(ours[inside], cv2.cvtColor(frame, BAYER[colour])[inside])


@pytest.mark.parametrize("colour", BAYER)
def test_bayer_borders_are_mirrored(colour: Colour) -> None:
    frame = camera_frame(colour, 21, 14, 5)
    mirrored = cv2.copyMakeBorder(frame, 2, 2, 2, 2, cv2.BORDER_REFLECT_101)
    expected = cv2.cvtColor(mirrored, BAYER[colour])[2:-2, 2:-2]
    np.testing.assert_array_equal(decode(frame, colour), expected)


@pytest.mark.parametrize("colour", BAYER)
def test_an_even_colour_comes_through_a_bayer_pattern(colour: Colour) -> None:
    levels = {"r": 200, "g": 90, "b": 10}
    tile = [levels[letter] for letter in colour.removeprefix("bayer_")]
    frame = np.tile(np.array(tile, np.uint8).reshape(2, 2), (4, 5))
    assert (decode(frame, colour) == list(levels.values())).all()


@pytest.mark.parametrize("colour", YUV)
@given(width=HALVES, height=HALVES, seed=SEEDS)
def test_yuv_is_within_one_grey_level_of_opencv(colour: Colour, width: int, height: int, seed: int) -> None:
    frame = camera_frame(colour, 2 * width, 2 * height, seed)
    expected = cv2.cvtColor(frame, YUV[colour])
    assert np.abs(decode(frame, colour).astype(int) - expected).max() <= 1


def test_every_yuv_value_is_within_one_grey_level_of_opencv() -> None:
    u, v = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    for luma in range(0, 256, 5):
        y = np.full_like(u, luma)
        frame = np.stack([y, u, y, v], axis=2).reshape(256, -1, 2)
        expected = cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_YUYV)
        assert np.abs(decode(frame, "yuyv").astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("yuv", "rgb"),
    [
        ((16, 128, 128), (0, 0, 0)),
        ((235, 128, 128), (255, 255, 255)),
        ((126, 128, 128), (128, 128, 128)),
        ((81, 90, 240), (254, 0, 0)),  # pure red, BT.601
        ((0, 128, 128), (0, 0, 0)),
    ],
)
def test_yuv_is_limited_range(yuv: tuple[int, int, int], rgb: tuple[int, int, int]) -> None:
    y, u, v = yuv
    yuyv = np.array([[[y, u], [y, v]]], np.uint8)
    nv12 = np.array([[y, y], [y, y], [u, v]], np.uint8)
    assert (decode(yuyv, "yuyv") == rgb).all()
    assert (decode(nv12, "nv12") == rgb).all()


@pytest.mark.parametrize("colour", COLOURS)
@given(data=st.data(), width=st.integers(1, 30), height=st.integers(1, 30), seed=SEEDS)
def test_a_crop_equals_the_crop_of_the_whole(
    colour: Colour, data: st.DataObject, width: int, height: int, seed: int
) -> None:
    frame = camera_frame(colour, width, height, seed)
    width, height = frame_size(frame, colour)
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    crop = Crop(
        x=x, y=y, width=data.draw(st.integers(1, width - x)), height=data.draw(st.integers(1, height - y))
    )
    whole = decode(frame, colour)
    assert whole.shape == (height, width, 3)
    expected = whole[y : y + crop.height, x : x + crop.width]
    np.testing.assert_array_equal(decode(frame, colour, crop), expected)
    wide = np.zeros((frame.shape[0], frame.shape[1] + 6, *frame.shape[2:]), np.uint8)
    wide[:, : frame.shape[1]] = frame
    np.testing.assert_array_equal(decode(wide[:, : frame.shape[1]], colour, crop), expected)
    spec = Preprocessing(image_size=16, map_size=2, crop=crop)
    np.testing.assert_array_equal(image_input(frame, colour, spec), resize_image(expected, 16))


def test_size_is_that_of_the_picture() -> None:
    assert frame_size(np.zeros((30, 16), np.uint8), "nv12") == (16, 20)
    assert frame_size(np.zeros((30, 16, 2), np.uint8), "yuyv") == (16, 30)
    assert frame_size(np.zeros((30, 15), np.uint8), "bayer_grbg") == (15, 30)


@pytest.mark.parametrize(
    ("shape", "colour", "message"),
    [
        ((4, 4, 3), "bayer_rggb", r"\[height,width\] of at least 2x2 pixels, found \[4, 4, 3\]"),
        ((1, 4), "bayer_gbrg", r"at least 2x2 pixels, found \[1, 4\]"),
        ((4, 1), "bayer_gbrg", r"at least 2x2 pixels, found \[4, 1\]"),
        ((4, 4), "nv12", r"\[height\*3/2,width\] with an even height and width, found \[4, 4\]"),
        ((6, 5), "nv12", r"found \[6, 5\]"),
        ((6, 4, 1), "nv12", r"found \[6, 4, 1\]"),
        ((0, 4), "nv12", r"found \[0, 4\]"),
        ((4,), "nv12", r"found \[4\]"),
        ((4, 5, 2), "yuyv", r"\[height,width,2\] with an even width, found \[4, 5, 2\]"),
        ((4, 8), "yuyv", r"found \[4, 8\]"),
        ((4, 4, 3), "yuyv", r"found \[4, 4, 3\]"),
    ],
)
def test_frames_of_another_shape_are_refused(shape: tuple[int, ...], colour: Any, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        check_frame(np.zeros(shape, np.uint8), colour, None)


def test_the_crop_is_held_against_pixels_not_against_rows_of_memory() -> None:
    with pytest.raises(FrameError, match=r"frame is 16x20 pixels, too small"):
        check_frame(np.zeros((30, 16), np.uint8), "nv12", Crop(x=0, y=0, width=16, height=21))
