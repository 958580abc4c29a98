"""The synthetic product: repeatable, plausible in depth, its masks exact, its folder readable by others."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from ast_edge.data import load, load_mask, open_dataset
from ast_edge.errors import DataError, UsageError
from ast_edge.frames.depth import depth_input
from ast_edge.frames.reading import read_image, read_mask, read_xyz
from ast_edge.model.manifest import DepthPreprocessing, Preprocessing
from ast_edge.synthetic import DEFECTS, PartCounts, SyntheticPart, render, write_product

COUNTS = PartCounts(train=2, validation=1, test_good=1, test_per_defect=1)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("product") / "flange"
    write_product(folder, COUNTS, seed=7, size=64)
    return folder


def test_a_part_has_the_promised_types_and_shapes() -> None:
    part = render(0, size=96)
    fields = (part.image, part.xyz, part.mask)
    assert [field.dtype.name for field in fields] == ["uint8", "float32", "bool"]
    assert [field.shape for field in fields] == [(96, 96, 3), (96, 96, 3), (96, 96)]
    assert not part.mask.any()


@pytest.mark.parametrize("defect", [None, *DEFECTS])
def test_the_same_seed_gives_the_same_bytes(defect: str | None) -> None:
    assert _bytes(render(3, defect, size=64)) == _bytes(render(3, defect, size=64))
    assert _bytes(render(3, defect, size=64)) != _bytes(render(4, defect, size=64))


def test_a_generator_gives_one_part_after_the_other() -> None:
    first, second = (np.random.default_rng(1) for _ in range(2))
    parts = [render(first, size=64) for _ in range(2)]
    assert _bytes(parts[0]) != _bytes(parts[1])
    assert [_bytes(part) for part in parts] == [_bytes(render(second, size=64)) for _ in range(2)]


@pytest.mark.parametrize("defect", DEFECTS)
@pytest.mark.parametrize("seed", range(6))
def test_a_defect_is_small_but_not_tiny(defect: str, seed: int) -> None:
    assert 0.003 <= render(seed, defect, size=128).mask.mean() <= 0.03


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_changes_the_part_where_its_mask_is(defect: str) -> None:
    good, bad = render(11, size=192), render(11, defect, size=192)
    change = np.abs(bad.image.astype(int) - good.image).mean(axis=2)
    beside = cv2.dilate(bad.mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert change[bad.mask].mean() > 10
    assert change[~beside].mean() < 0.5  # its shadow and its shade reach a little farther than its mask


@pytest.mark.parametrize(
    ("defect", "lowest_mm", "highest_mm"),
    [("scratch", -0.5, 0.3), ("dent", -1.8, -0.7), ("missing_hole", 9.0, 12.0), ("contamination", 2.0, 7.0)],
)
def test_a_defect_shows_in_depth(defect: str, lowest_mm: float, highest_mm: float) -> None:
    good, bad = render(5, size=256), render(5, defect, size=256)
    known = bad.mask & (good.xyz[..., 2] > 0) & (bad.xyz[..., 2] > 0)
    rise_mm = 1000 * (good.xyz[..., 2] - bad.xyz[..., 2])[known]
    assert lowest_mm < rise_mm[np.abs(rise_mm).argmax()] < highest_mm


def test_depth_is_that_of_a_flange_on_a_belt_half_a_metre_away() -> None:
    z = render(2, size=256).xyz[..., 2]
    corners = np.stack([z[:20, :20], z[:20, -20:], z[-20:, :20], z[-20:, -20:]])
    assert np.abs(np.median(corners, axis=(1, 2)) - 0.5).max() < 0.001
    assert np.median(corners[0]) != np.median(corners[3])  # the belt lies slightly askew
    assert np.std(corners[0][corners[0] > 0]) == pytest.approx(0.0001, rel=0.25)
    assert 0.5 - np.quantile(z[z > 0], 0.01) == pytest.approx(0.024, abs=0.001)
    assert 0.01 < (z == 0).mean() < 0.06


def test_nothing_is_measured_at_a_lost_pixel_and_x_y_follow_the_pinhole() -> None:
    xyz = render(2, size=128).xyz
    lost = xyz[..., 2] == 0
    assert (xyz[lost] == 0).all()
    columns = np.broadcast_to(np.arange(128), lost.shape)[~lost]
    ray = xyz[..., 0][~lost] / xyz[..., 2][~lost]
    slope, offset = np.polyfit(columns, ray, 1)
    assert np.abs(ray - (slope * columns + offset)).max() < 1e-5


def test_the_runtime_finds_the_part_in_its_depth() -> None:
    spec = Preprocessing(image_size=256, map_size=32, depth=DepthPreprocessing())
    found = depth_input(render(9, size=256).xyz[..., 2], spec)
    assert 0.35 < found.foreground.mean() < 0.6


def test_impossible_wishes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"rust.*scratch"):
        render(0, "rust")
    with pytest.raises(UsageError, match="8 pixels"):
        render(0, size=8)


def test_the_folder_is_a_dataset_in_the_layout_of_mvtec_3d(product: Path) -> None:
    dataset = open_dataset(product, mode="rgbd")
    assert dataset.layout == "mvtec-3d"
    assert (len(dataset.train), len(dataset.validation)) == (2, 1)
    assert [sample.defect for sample in dataset.test] == sorted(["good", *DEFECTS])
    for sample in dataset.test:
        loaded = load(sample, "rgbd")
        assert loaded.image is not None
        assert loaded.depth_m is not None
        assert load_mask(sample, loaded.depth_m.shape).any() == (sample.defect != "good")


def test_files_hold_what_was_rendered(product: Path) -> None:
    part = render(np.random.default_rng([7, 0]), size=64)
    good = product / "train" / "good"
    np.testing.assert_array_equal(read_image(good / "rgb" / "000.png"), part.image)
    np.testing.assert_array_equal(read_xyz(good / "xyz" / "000.tiff"), part.xyz[..., 2])
    np.testing.assert_array_equal(tifffile.imread(good / "xyz" / "000.tiff"), part.xyz)
    scratched = render(np.random.default_rng([7, 3 + DEFECTS.index("scratch")]), "scratch", size=64)
    np.testing.assert_array_equal(read_mask(product / "test/scratch/gt/000.png"), scratched.mask)


def test_more_parts_in_one_folder_change_no_other(product: Path, tmp_path: Path) -> None:
    larger = PartCounts(train=3, validation=1, test_good=1, test_per_defect=1)
    write_product(tmp_path / "larger", larger, seed=7, size=64)
    before, after = _digests(product), _digests(tmp_path / "larger")
    assert before.items() < after.items()
    assert len(after) == len(before) + 2


def test_a_folder_that_is_there_is_left_alone(product: Path) -> None:
    before = _digests(product)
    with pytest.raises(DataError, match=r"flange.*already"):
        write_product(product, COUNTS, seed=8, size=64)
    assert _digests(product) == before


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pixels"):
        write_product(tmp_path / "product", COUNTS, seed=7, size=1)
    with pytest.raises(UsageError, match="at least 1"):
        write_product(tmp_path / "product", PartCounts(0, 1, 1, 1), seed=7, size=64)
    assert list(tmp_path.iterdir()) == []


def _bytes(part: SyntheticPart) -> bytes:
    return part.image.tobytes() + part.xyz.tobytes() + part.mask.tobytes()


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
