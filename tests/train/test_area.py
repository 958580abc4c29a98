"""`--crop auto`: the square around all good parts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from ast_edge.data import load, open_dataset
from ast_edge.errors import DataError
from ast_edge.frames.depth import depth_input
from ast_edge.model.manifest import Crop
from ast_edge.train.area import crop_around_parts, part_in_picture
from ast_edge.train.config import TrainConfig, changed, preset
from tests.real_data import cable_gland

RGB = preset("nano", "rgb")
HEIGHT, WIDTH = 80, 120


def frame(*parts: tuple[int, int, int, int], seed: int = 0) -> np.ndarray:
    """A dark frame with noise and light rectangles x, y, width, height."""
    picture = np.random.default_rng(seed).integers(0, 12, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    for x, y, width, height in parts:
        picture[y : y + height, x : x + width] = 150
    return picture


def crop_of(folder: Path, *pictures: np.ndarray, config: TrainConfig = RGB) -> Crop | None:
    folder.mkdir(exist_ok=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number:03}.png")
    return crop_around_parts(open_dataset(folder, mode="rgb").train, config)


def test_the_square_holds_every_part_with_a_margin(tmp_path: Path) -> None:
    # Together 40..70 by 30..50: 30 wide, with 5 % of 120 on every side 42 square about (55, 40).
    found = crop_of(tmp_path, frame((40, 30, 10, 10)), frame((60, 42, 10, 8), seed=1))
    assert found == Crop(x=34, y=19, width=42, height=42)


def test_at_the_rim_the_square_is_moved_into_the_frame(tmp_path: Path) -> None:
    assert crop_of(tmp_path, frame((3, 50, 20, 28))) == Crop(x=0, y=40, width=40, height=40)


def test_a_part_as_high_as_the_frame_keeps_the_frames_height(tmp_path: Path) -> None:
    assert crop_of(tmp_path, frame((40, 5, 20, 70))) == Crop(x=9, y=0, width=82, height=80)


def test_dust_is_no_part(tmp_path: Path) -> None:
    clean = crop_of(tmp_path / "clean", frame((40, 30, 20, 20)))
    assert clean == crop_of(tmp_path / "dust", frame((40, 30, 20, 20), (100, 5, 2, 2), (5, 70, 3, 1)))


def test_where_the_background_is_not_plain_the_whole_frame_is_taken(tmp_path: Path) -> None:
    cloth = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    assert not part_in_picture(cloth).any()
    with pytest.raises(DataError, match=r"000.png: --crop auto finds no part that differs from the frame"):
        crop_of(tmp_path, cloth)
    assert crop_of(tmp_path / "both", frame((2, 2, 116, 76))) is None


def test_dark_parts_on_a_light_ground_are_found_too() -> None:
    light = 255 - frame((40, 30, 20, 20))
    assert np.array_equal(part_in_picture(light), part_in_picture(frame((40, 30, 20, 20))))


def test_frames_of_two_sizes(tmp_path: Path) -> None:
    small = frame((40, 30, 10, 10))[:70]
    with pytest.raises(DataError, match=r"001.png: is 120x70 pixels, others are 120x80 pixels; --crop auto"):
        crop_of(tmp_path, frame((40, 30, 10, 10)), small)


@pytest.mark.slow
def test_with_depth_no_corner_of_the_crop_lies_on_a_part(product: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(product, tmp_path / "data"))
    config = changed(preset("nano", "depth"), {"foreground_min_m": 0.002})
    # A slanted bar of which the square about it would cut off the ends in two of its corners.
    z = np.full((64, 64), 0.5, np.float32)
    for i in range(16, 48):
        z[i, max(i - 3, 16) : min(i + 4, 48)] = 0.45
    for path in (data / "train" / "good" / "xyz").glob("*.tiff"):
        tifffile.imwrite(path, np.dstack([0 * z, 0 * z, z]), photometric="rgb")
    samples = open_dataset(data, mode="depth").train
    crop = crop_around_parts(samples, config)
    assert crop is not None
    spec = config.model_copy(update={"crop": crop}).preprocessing
    depth_m = load(samples[0], "depth").depth_m
    assert depth_m is not None
    assert np.array_equal(depth_m, z)
    share = depth_input(depth_m, spec).foreground.mean()
    assert 0.1 < share < 0.8
    assert crop.x <= 14
    assert crop.x + crop.width >= 50


@pytest.mark.slow
@pytest.mark.data
def test_cable_gland() -> None:
    """Against the box of the pixels brighter than 40 grey levels, found by hand: 79..337 by 81..343."""
    dataset = open_dataset(cable_gland(), mode="rgb")
    crop = crop_around_parts(dataset.train, RGB)
    assert crop is not None
    assert 50 <= crop.x <= 70
    assert 50 <= crop.y <= 70
    assert crop.width == crop.height
    assert 346 <= crop.x + crop.width <= 370
    assert 346 <= crop.y + crop.height <= 370
