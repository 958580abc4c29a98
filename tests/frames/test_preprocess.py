"""Filter tables and pictures against Pillow, and their properties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ast_edge.errors import FrameError
from ast_edge.frames import resize
from ast_edge.frames.pixel_formats import Colour
from ast_edge.frames.preprocess import check_frame, image_input
from ast_edge.frames.resize import (
    _resample_rows,
    filter_table,
    fixed_point_table,
    resize_by_numpy,
    resize_image,
    same_bits,
)
from ast_edge.model.manifest import Crop, Preprocessing

SIZES = st.integers(1, 70)
SEEDS = st.integers(0, 2**32 - 1)
RGB = Preprocessing(image_size=32, map_size=4)


def pixels(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def by_pillow(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Pillow's horizontal pass, then its vertical one: left to itself, Pillow 13 may start with the other."""
    wide = Image.fromarray(image).resize((size, image.shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(wide.resize((size, size), Image.Resampling.BILINEAR))


@given(n_in=st.integers(1, 300), n_out=SIZES, antialias=st.booleans())
def test_windows_lie_inside_the_line_and_weights_add_up_to_one(
    n_in: int, n_out: int, antialias: bool
) -> None:
    table = filter_table(n_in, n_out, antialias=antialias)
    assert table.first.dtype == np.int32
    assert table.weights.dtype == np.float64
    assert table.first.shape == table.weights.shape[:1] == (n_out,)
    assert table.first.min() >= 0
    assert table.first.max() + table.weights.shape[1] <= n_in
    assert (table.weights >= 0).all()
    np.testing.assert_allclose(table.weights.sum(axis=1), 1.0, rtol=0, atol=1e-14)


@given(n_in=st.integers(2, 300), n_out=SIZES)
def test_without_antialias_a_ramp_keeps_its_pixel_centres(n_in: int, n_out: int) -> None:
    table = filter_table(n_in, n_out, antialias=False)
    positions = (table.weights * (table.first[:, None] + np.arange(2))).sum(axis=1)
    expected = np.clip((np.arange(n_out) + 0.5) * n_in / n_out - 0.5, 0, n_in - 1)
    np.testing.assert_allclose(positions, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n_in", "n_out"), [(5, 3), (35, 21), (96, 32), (7, 7)])
def test_a_pixel_that_is_hit_exactly_has_no_neighbour_in_it(n_in: int, n_out: int) -> None:
    weights = filter_table(n_in, n_out, antialias=False).weights
    hit = [(2 * i + 1) * n_in % (2 * n_out) == n_out for i in range(n_out)]
    assert any(hit)
    assert (weights[hit].max(axis=1) == 1.0).all()
    assert (weights[hit].min(axis=1) == 0.0).all()


def test_tables_are_cached_and_cannot_be_changed() -> None:
    table = filter_table(40, 30, antialias=True)
    assert filter_table(40, 30, antialias=True) is table
    with pytest.raises(ValueError, match="read-only"):
        table.weights[0, 0] = 2.0


@pytest.mark.parametrize(("n_in", "n_out"), [(0, 4), (4, 0), (4, -1)])
def test_impossible_sizes_are_refused(n_in: int, n_out: int) -> None:
    with pytest.raises(FrameError, match="at least 1"):
        filter_table(n_in, n_out, antialias=True)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(height=SIZES, width=SIZES, size=SIZES, seed=SEEDS)
def test_resize_equals_pillow_bit_for_bit(height: int, width: int, size: int, seed: int) -> None:
    image = pixels(seed, height, width, 3)
    resized = resize_by_numpy(image, size)
    np.testing.assert_array_equal(resize_image(image, size), resized)
    np.testing.assert_array_equal(
        resize_image(image[..., :1], size)[..., 0], resize_by_numpy(image[..., :1], size)[..., 0]
    )
    assert resized.dtype == np.uint8
    assert resized.flags.c_contiguous
    np.testing.assert_array_equal(resized, by_pillow(image, size))
    at_once = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
    assert np.abs(resized.astype(int) - at_once).max() <= 1


@pytest.mark.parametrize("levels", [(0, 255), (254, 255), (0, 1)])
@pytest.mark.parametrize(("height", "width", "size"), [(400, 400, 384), (1200, 1920, 384), (3, 900, 256)])
def test_resize_equals_pillow_at_camera_sizes(
    height: int, width: int, size: int, levels: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).choice(np.array(levels, np.uint8), (height, width, 3))
    np.testing.assert_array_equal(resize_by_numpy(image, size), by_pillow(image, size))


def test_a_pillow_that_rounds_a_weight_otherwise_is_found_out() -> None:
    """One weight in a hundred is off by one unit in 2^22, as a fused multiply-add may make it."""
    first, weights = fixed_point_table(306, 256)
    other = weights.copy()
    other[::100, 0] += 1

    def reference(rows: NDArray[np.uint8], n_out: int) -> NDArray[np.uint8]:
        taken = rows[first[:, None] + np.arange(other.shape[1])].astype(np.int64)
        total = (taken[..., 0] * other[..., None]).sum(axis=1) + (1 << 21)
        out: NDArray[np.uint8] = np.minimum(total >> 22, 255).astype(np.uint8)[..., None]
        return out

    assert not same_bits(306, 256, reference)
    assert same_bits(306, 256, _resample_rows)


def test_where_pillow_differs_numpy_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    image = pixels(0, 40, 30, 3)
    expected = resize_image(image, 20)
    monkeypatch.setattr(resize, "same_bits", lambda *_: False)
    monkeypatch.setattr(resize, "_resized_by_pillow", lambda *_: pytest.fail("Pillow was asked"))
    np.testing.assert_array_equal(resize_image(image, 20), expected)


@given(height=SIZES, width=SIZES, size=SIZES, level=st.integers(0, 255))
def test_an_even_picture_stays_even(height: int, width: int, size: int, level: int) -> None:
    image = np.full((height, width, 1), level, np.uint8)
    assert (resize_image(image, size) == level).all()


@pytest.mark.slow
def test_a_very_large_reduction_does_not_overflow() -> None:
    white = np.full((20_000, 1, 1), 255, np.uint8)
    assert resize_image(white, 1).item() == 255


def test_resize_returns_its_own_memory() -> None:
    image = pixels(0, 32, 32, 3)
    resized = resize_image(image, 32)
    np.testing.assert_array_equal(resized, image)
    assert not np.shares_memory(resized, image)


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8)])
def test_resize_refuses_other_arrays(image: NDArray[Any]) -> None:
    with pytest.raises(FrameError, match="uint8 picture"):
        resize_image(image, 4)


@given(height=st.integers(8, 60), width=st.integers(8, 60), seed=SEEDS)
def test_rgb_bgr_and_views_of_memory_give_the_same_input(height: int, width: int, seed: int) -> None:
    rgb = pixels(seed, height, width, 3)
    expected = image_input(rgb, "rgb", RGB)
    assert expected.shape == (32, 32, 3)
    np.testing.assert_array_equal(image_input(rgb[..., ::-1], "bgr", RGB), expected)
    padded_rows = np.zeros((height, width + 5, 3), np.uint8)
    padded_rows[:, :width] = rgb
    np.testing.assert_array_equal(image_input(padded_rows[:, :width], "rgb", RGB), expected)


def test_mono_is_repeated_in_three_channels() -> None:
    mono = pixels(3, 50, 60)
    result = image_input(mono, "mono", RGB)
    np.testing.assert_array_equal(result, image_input(np.dstack([mono] * 3), "rgb", RGB))


def test_crop_takes_its_rectangle_and_looks_at_nothing_else() -> None:
    spec = RGB.model_copy(update={"crop": Crop(x=7, y=3, width=40, height=20)})
    frame = pixels(1, 30, 50, 3)
    result = image_input(frame, "rgb", spec)
    np.testing.assert_array_equal(result, by_pillow(np.ascontiguousarray(frame[3:23, 7:47]), 32))
    changed = np.zeros_like(frame)
    changed[3:23, 7:47] = frame[3:23, 7:47]
    np.testing.assert_array_equal(image_input(changed, "rgb", spec), result)


@pytest.mark.parametrize(
    ("frame", "colour", "message"),
    [
        (np.zeros((4, 4, 3)), "rgb", "uint8, found float64"),
        (np.zeros((4, 4, 3), np.uint16), "bgr", "uint8, found uint16"),
        ([[0]], "mono", "uint8, found list"),
        (None, "rgb", "uint8, found NoneType"),
        (np.zeros((4, 4), np.uint8), "rgb", r"\[height,width,3\], found \[4, 4\]"),
        (np.zeros((4, 4, 4), np.uint8), "bgr", r"\[height,width,3\], found \[4, 4, 4\]"),
        (np.zeros((4, 4, 3), np.uint8), "mono", r"\[height,width\], found \[4, 4, 3\]"),
        (np.zeros((4, 4, 1), np.uint8), "mono", r"found \[4, 4, 1\]"),
        (np.zeros((1, 4, 4, 3), np.uint8), "rgb", r"found \[1, 4, 4, 3\]"),
        (np.zeros((0, 4, 3), np.uint8), "rgb", r"found \[0, 4, 3\]"),
        (np.zeros(4, np.uint8), "mono", r"found \[4\]"),
        (np.zeros((), np.uint8), "mono", r"found \[\]"),
        (np.zeros((4, 4), np.uint8), "grey", "'grey': expected one of rgb, bgr, mono"),
    ],
)
def test_frames_of_another_kind_are_refused(frame: Any, colour: Any, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        image_input(frame, colour, RGB)


@pytest.mark.parametrize("crop", [Crop(x=0, y=0, width=9, height=8), Crop(x=2, y=1, width=6, height=8)])
def test_a_frame_that_does_not_hold_the_crop_is_refused(crop: Crop) -> None:
    with pytest.raises(FrameError, match=r"8x8 pixels, too small for the model's crop"):
        check_frame(np.zeros((8, 8, 3), np.uint8), "rgb", crop)


def test_a_frame_that_just_holds_the_crop_is_taken() -> None:
    for colour, shape in (("rgb", (8, 8, 3)), ("bgr", (8, 8, 3)), ("mono", (8, 8))):
        order: Colour = colour  # type: ignore[assignment]
        check_frame(np.zeros(shape, np.uint8), order, Crop(x=2, y=1, width=6, height=7))
