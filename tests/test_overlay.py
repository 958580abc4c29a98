from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ast_edge.errors import FrameError
from ast_edge.inspector import Inspection
from ast_edge.model.manifest import Crop, ModelSpec
from ast_edge.model.roi import Roi
from ast_edge.overlay import depth_picture, draw_overlay
from ast_edge.verdict.scoring import Verdict
from tests.tiny import bumpy_part, grey, tiny_spec

SIDE = 600  # large enough not to be enlarged


def inspection(pixel: float = 0.0, verdict: Verdict = "pass", score: float = 0.05) -> Inspection:
    """A cold map with one cell, the second of the first row, at `pixel`."""
    anomaly_map = np.zeros((4, 4), np.float32)
    anomaly_map[0, 1] = pixel
    return Inspection(verdict, score, 0.1, "because", anomaly_map, {})


def cropped_spec(crop: Crop) -> ModelSpec:
    spec = tiny_spec()
    return spec.model_copy(update={"preprocessing": spec.preprocessing.model_copy(update={"crop": crop})})


def test_a_mask_is_dimmed_and_outlined_inside_the_crop() -> None:
    spec = cropped_spec(Crop(x=100, y=0, width=480, height=480))
    pixels = np.ones((32, 32), np.bool_)
    pixels[:8, 16:] = False  # of 15 pixels each: rows 0 to 120, columns 340 to 580
    settings = spec.preprocessing.model_copy(update={"roi": Roi.of(pixels, (0, 0, 0))})
    overlay = draw_overlay(
        grey(SIDE, SIDE), inspection(), spec.model_copy(update={"preprocessing": settings})
    )
    assert (overlay[5:110, 350:570] == 64).all()
    assert (overlay[130:470, 110:570] == 128).all()
    assert (overlay[5:110, 110:330] == 128).all()
    assert (overlay[SIDE - 50 : SIDE - 10, 5:90] == 64).all()  # outside the crop
    assert (overlay[60, 330:350] == (150, 156, 168)).all(axis=1).any()  # the border


def test_where_nothing_was_found_the_picture_is_untouched() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    before = picture.copy()
    overlay = draw_overlay(picture, inspection(pixel=0.07), tiny_spec())  # just under half of 0.15
    np.testing.assert_array_equal(overlay[:SIDE], before)
    np.testing.assert_array_equal(picture, before)
    assert overlay.dtype == np.uint8
    assert overlay.shape == (SIDE + 48, SIDE, 3)


def test_a_hot_cell_is_coloured_outlined_and_nothing_far_from_it_changes() -> None:
    picture = grey(SIDE, SIDE)
    overlay = draw_overlay(picture, inspection(pixel=0.6), tiny_spec())[:SIDE]
    centre = overlay[75, 225].astype(int)
    assert centre[0] > 170  # red
    assert centre[1] < 100
    assert (overlay[:, 400:] == 128).all()
    assert (overlay[300:] == 128).all()
    assert (overlay == 255).all(axis=2).any()  # the outline


def test_between_half_the_threshold_and_the_threshold_there_is_colour_but_no_outline() -> None:
    overlay = draw_overlay(grey(SIDE, SIDE), inspection(pixel=0.14), tiny_spec())[:SIDE]
    assert (overlay[75, 225] != 128).any()
    assert not (overlay == 255).all(axis=2).any()


def test_the_outline_follows_the_pixel_threshold() -> None:
    found = inspection(pixel=0.6)
    overlay = draw_overlay(grey(SIDE, SIDE), found, tiny_spec())[:SIDE]
    above = cv2.resize(found.anomaly_map, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) > 0.15
    # Without the border of the picture, along which the outline closes.
    rows, columns = np.nonzero((overlay[10:] == 255).all(axis=2))
    distance = cv2.distanceTransform(above.astype(np.uint8), cv2.DIST_L2, 5)
    assert len(rows) > 100
    assert distance[rows + 10, columns].max() < 3


def test_outside_the_crop_nothing_is_coloured_and_all_is_dimmed() -> None:
    crop = Crop(x=100, y=200, width=400, height=300)
    overlay = draw_overlay(grey(SIDE, SIDE), inspection(pixel=0.6), cropped_spec(crop))[:SIDE]
    assert (overlay[:190] == 64).all()
    assert (overlay[:, 510:] == 64).all()
    assert (overlay[400:490, 110:490] == 128).all()
    assert (overlay[237, 250] != 128).any()  # the hot cell lies in the crop, not in the picture


@pytest.mark.parametrize("shape", [(1, 1), (40, 48), (256, 256), (3, 700), (700, 3)])
def test_small_pictures_are_enlarged_to_be_readable(shape: tuple[int, int]) -> None:
    overlay = draw_overlay(grey(*shape), inspection(0.6, "reject", 0.2), tiny_spec())
    zoom = max(1, math.ceil(512 / max(shape)))
    assert overlay.shape[1] == shape[1] * zoom
    assert overlay.shape[0] > shape[0] * zoom


@pytest.mark.parametrize(
    ("verdict", "colour"), [("pass", (46, 160, 84)), ("reject", (222, 44, 62)), ("fault", (236, 160, 24))]
)
def test_the_strip_wears_the_colour_of_the_verdict(verdict: Verdict, colour: tuple[int, int, int]) -> None:
    strip = draw_overlay(grey(SIDE, SIDE), inspection(0.0, verdict), tiny_spec())[SIDE:]
    assert (strip == colour).all(axis=2).sum() > 500


def test_the_gauge_is_longer_for_a_worse_part() -> None:
    def red(score: float) -> int:
        strip = draw_overlay(grey(SIDE, SIDE), inspection(0.0, "reject", score), tiny_spec())[SIDE:]
        return int((strip[:, SIDE // 2 :] == (222, 44, 62)).all(axis=2).sum())

    assert red(-1.0) == 0
    assert red(0.0) < red(0.11) < red(0.15) < red(0.2)
    assert red(0.2) == red(1e30)


def test_a_fault_without_a_score_tells_its_reason_however_long() -> None:
    for reason in ("", "no part found in the depth map", "word " * 200, "two\nlines"):
        found = Inspection("fault", math.nan, 0.1, reason, np.full((4, 4), np.nan, np.float32), {})
        overlay = draw_overlay(grey(SIDE, SIDE), found, tiny_spec())
        assert (overlay[:SIDE] == 128).all()
        assert overlay.shape == (SIDE + 48, SIDE, 3)


@settings(max_examples=30)
@given(
    pixel=st.floats(width=32),
    score=st.floats(),
    value=st.floats(allow_nan=False, allow_infinity=False),
    pixel_value=st.floats(allow_nan=False, allow_infinity=False),
)
def test_no_number_stops_the_picture(pixel: float, score: float, value: float, pixel_value: float) -> None:
    spec = tiny_spec()
    threshold = spec.threshold.model_copy(update={"value": value, "pixel_value": pixel_value})
    found = Inspection(
        "reject", score, value, "because", np.full((4, 4), pixel, np.float32), {"preprocess": 1.0}
    )
    overlay = draw_overlay(grey(), found, spec.model_copy(update={"threshold": threshold}))
    assert overlay.dtype == np.uint8


def test_what_is_no_picture_of_that_model_is_refused() -> None:
    with pytest.raises(FrameError):
        draw_overlay(np.zeros((8, 8), np.uint8), inspection(), tiny_spec())
    with pytest.raises(FrameError):
        draw_overlay(np.zeros((8, 8, 3), np.float32), inspection(), tiny_spec())
    with pytest.raises(FrameError):
        draw_overlay(grey(8, 8), inspection(), cropped_spec(Crop(x=4, y=0, width=8, height=8)))


def test_near_is_bright_and_gaps_are_dark_blue() -> None:
    depth = bumpy_part(80, 96)
    depth[:20, :20] = 0
    depth[60, 60] = np.nan
    picture = depth_picture(depth)
    assert picture.shape == (80, 96, 3)
    assert picture.dtype == np.uint8
    bump, part, belt = (int(picture[row, column, 0]) for row, column in ((30, 48), (55, 48), (75, 48)))
    assert bump > part > belt
    assert tuple(picture[5, 5]) == (10, 12, 30)
    assert (picture[60, 60] == picture[60, 60, 0]).all()  # one lost pixel is closed


def test_a_depth_map_without_any_measurement_is_a_dark_picture() -> None:
    for nothing in (np.zeros((4, 5), np.float32), np.full((4, 5), np.nan)):
        assert (depth_picture(nothing) == (10, 12, 30)).all()
    assert len(np.unique(depth_picture(np.full((4, 5), 0.5)))) == 1
    for shape in ((4, 5, 3), (0, 5), (4,)):
        with pytest.raises(FrameError, match=r"expected a depth map \[H,W\]"):
            depth_picture(np.zeros(shape))
