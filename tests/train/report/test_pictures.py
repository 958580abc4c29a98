"""A map as a transparent layer gives the same picture as the overlay that is drawn into it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ast_edge.data import Sample
from ast_edge.inspector import Inspection
from ast_edge.model.manifest import Crop
from ast_edge.overlay import draw_heat
from ast_edge.pages.layers import heat_layer, scaled
from ast_edge.train.evaluate import Judged
from ast_edge.train.report.pictures import pictures_of
from tests.cli.conftest import write_picture
from tests.tiny import tiny_spec

SPEC = tiny_spec()


def inspection(level: float) -> Inspection:
    side = SPEC.preprocessing.map_size
    hot = np.zeros((side, side), np.float32)
    hot[0, 0] = level * SPEC.threshold.pixel_value
    return Inspection("reject", 1.0, SPEC.threshold.value, "", hot, {}, None, None)


def laid_over(picture: NDArray[np.uint8], layer: NDArray[np.uint8]) -> NDArray[np.float64]:
    opacity = layer[..., 3:] / 255
    return np.asarray(picture * (1 - opacity) + layer[..., :3] * opacity)


@pytest.mark.parametrize("crop", [None, Crop(x=100, y=40, width=300, height=500)])
def test_the_layer_over_a_picture_is_the_overlay(crop: Crop | None) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (600, 520, 3), np.uint8)
    preprocessing = SPEC.preprocessing.model_copy(update={"crop": crop})
    spec = SPEC.model_copy(update={"preprocessing": preprocessing})
    drawn = draw_heat(picture, inspection(3.0), spec)
    found = laid_over(picture, heat_layer(picture.shape, inspection(3.0), spec))
    apart = np.abs(found - drawn)
    assert apart.max() <= 8  # at the outline, whose smooth edge OpenCV rounds
    assert apart.mean() < 0.5
    assert np.abs(found - picture).max() > 60


def test_a_crop_shrinks_with_its_picture() -> None:
    crop = Crop(x=100, y=40, width=300, height=500)
    spec = SPEC.model_copy(update={"preprocessing": SPEC.preprocessing.model_copy(update={"crop": crop})})
    small = scaled(spec, (600, 520), (300, 260)).preprocessing.crop
    assert small == Crop(x=50, y=20, width=150, height=250)
    tiny = scaled(spec, (600, 520), (3, 3)).preprocessing.crop
    assert tiny is not None
    assert tiny.x + tiny.width <= 3


def test_where_nothing_was_found_there_is_no_map(tmp_path: Path) -> None:
    picture = np.full((60, 60, 3), 120, np.uint8)
    path = write_picture(tmp_path / "a.png", picture)
    part = Judged(Sample(path, None, None), inspection(0.0), None, (60, 60))
    cold = pictures_of([part], [SPEC], 640)
    assert cold.photo
    assert (cold.maps, cold.width) == (("",), 60)
    assert pictures_of([replace(part, inspection=inspection(3.0))], [SPEC], 640).maps[0]
    fault = replace(inspection(3.0), verdict="fault")
    assert pictures_of([replace(part, inspection=fault)], [SPEC], 640).maps == ("",)
