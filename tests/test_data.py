"""Readers of the three layouts: the parts they list, and refusals that name the bad file."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ast_edge.data import GOOD, Sample, fingerprint, load, load_mask, open_dataset
from ast_edge.errors import DataError, UsageError
from ast_edge.model.manifest import Mode
from tests.real_data import cable_gland

MODES: tuple[Mode, ...] = ("rgb", "depth", "rgbd")


def write(path: Path, values: NDArray[np.integer | np.floating]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), values)
    return path


def picture(height: int = 8, width: int = 10) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 90, dtype=np.uint8)


def xyz(height: int = 8, width: int = 10) -> NDArray[np.float32]:
    return np.full((height, width, 3), 0.5, dtype=np.float32)


def mask(*, marked: bool) -> NDArray[np.uint8]:
    values = np.zeros((8, 10), dtype=np.uint8)
    values[2, 3] = 7 * marked
    return values


def part_3d(group: Path, stem: str, *, gt: bool | None = None) -> None:
    write(group / "rgb" / f"{stem}.png", picture())
    write(group / "xyz" / f"{stem}.tiff", xyz())
    if gt is not None:
        write(group / "gt" / f"{stem}.png", mask(marked=gt))


@pytest.fixture
def mvtec_3d(tmp_path: Path) -> Path:
    root = tmp_path / "gland"
    for stem in ("000", "001", "002", "003"):
        part_3d(root / "train" / "good", stem)
    part_3d(root / "validation" / "good", "000")
    part_3d(root / "test" / "good", "000", gt=False)
    part_3d(root / "test" / "bent", "000", gt=True)
    return root


@pytest.fixture
def mvtec_ad(tmp_path: Path) -> Path:
    root = tmp_path / "bottle"
    for name in ("train/good/000.png", "train/good/001.png", "test/good/000.png", "test/broken/000.png"):
        write(root / name, picture())
    write(root / "ground_truth" / "broken" / "000_mask.png", mask(marked=True))
    return root


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "c.bmp", "d.webp"):
        write(tmp_path / "parts" / name, picture())
    return tmp_path / "parts"


# What is listed


@pytest.mark.parametrize("mode", MODES)
def test_mvtec_3d(mvtec_3d: Path, mode: Mode) -> None:
    dataset = open_dataset(mvtec_3d, mode=mode)
    assert (dataset.root, dataset.layout) == (mvtec_3d, "mvtec-3d")
    assert [sample.name.name for sample in dataset.train] == ["000.png", "001.png", "002.png", "003.png"]
    assert [sample.defect for sample in dataset.validation] == ["good"]
    assert [sample.defect for sample in dataset.test] == ["bent", "good"]
    assert dataset.train[0].image == mvtec_3d / "train/good/rgb/000.png"
    assert dataset.train[0].mask is None
    assert dataset.test[0].mask == mvtec_3d / "test/bent/gt/000.png"
    assert (dataset.train[0].xyz is None) == (mode == "rgb")
    loaded = load(dataset.test[0], mode)
    assert (loaded.image is None) == (mode == "depth")
    assert (loaded.depth_m is None) == (mode == "rgb")


def test_mvtec_ad(mvtec_ad: Path) -> None:
    dataset = open_dataset(mvtec_ad, mode="rgb")
    assert dataset.layout == "mvtec-ad"
    assert len(dataset.train) == 2
    assert dataset.validation == ()
    assert [(sample.defect, sample.mask is None) for sample in dataset.test] == [
        ("broken", False),
        ("good", True),
    ]


def test_a_plain_folder(plain: Path) -> None:
    (plain / "notes.txt").write_text("not a picture")
    write(plain / "older" / "e.png", picture())
    dataset = open_dataset(plain, mode="rgb")
    assert dataset.layout == "folder"
    assert [sample.name.name for sample in dataset.train] == ["a.JPG", "b.png", "c.bmp", "d.webp"]
    assert dataset.test == ()


def test_a_plain_folder_with_defective_parts(plain: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    for name in ("x.png", "rust/y.png", "good/z.png"):
        write(bad / name, picture())
    dataset = open_dataset(plain, mode="rgb", defective=bad)
    kinds = [(sample.defect, sample.name.name) for sample in dataset.test]
    assert kinds == [("defective", "x.png"), ("good", "z.png"), ("rust", "y.png")]
    assert all(sample.mask is None for sample in dataset.test)
    with pytest.raises(DataError, match=r"x\.png.*no mask"):
        load_mask(dataset.test[0], (8, 10))
    assert not load_mask(dataset.test[1], (8, 10)).any()


def test_hidden_files_and_folders_are_skipped(mvtec_3d: Path) -> None:
    expected = open_dataset(mvtec_3d, mode="rgbd")
    (mvtec_3d / "train/good/rgb/._000.png").write_bytes(b"resource fork")
    (mvtec_3d / "train/good/rgb/.DS_Store").write_bytes(b"")
    (mvtec_3d / "test/.ipynb_checkpoints").mkdir()
    assert open_dataset(mvtec_3d, mode="rgbd") == expected


def test_a_dataset_without_test_pictures_can_be_trained_on(mvtec_3d: Path) -> None:
    shutil.rmtree(mvtec_3d / "test")
    shutil.rmtree(mvtec_3d / "validation")
    dataset = open_dataset(mvtec_3d, mode="rgbd")
    assert (len(dataset.train), dataset.validation, dataset.test) == (4, (), ())


def test_grey_pictures_and_mixed_sizes_are_read(plain: Path) -> None:
    write(plain / "a.png", np.full((5, 6), 40, dtype=np.uint8))
    write(plain / "b.png", picture(16, 4))
    images = {sample.name.name: load(sample, "rgb").image for sample in open_dataset(plain, mode="rgb").train}
    shapes = {name: image.shape for name, image in images.items() if image is not None}
    assert shapes["a.png"] == (5, 6, 3)
    assert shapes["b.png"] == (16, 4, 3)


@pytest.mark.data
def test_the_real_thing() -> None:
    dataset = open_dataset(cable_gland(), mode="rgbd")
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (223, 23, 108)
    sample = dataset.test[0]
    loaded = load(sample, "rgbd")
    assert loaded.image is not None
    assert loaded.depth_m is not None
    assert load_mask(sample, (loaded.image.shape[0], loaded.image.shape[1])).any()
    assert 0.5 < np.median(loaded.depth_m[loaded.depth_m > 0]) < 0.8


# What is refused, always with the name of the file


def test_a_path_that_is_no_folder(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.*found nothing"):
        open_dataset(tmp_path / "nowhere", mode="rgb")
    with pytest.raises(DataError, match=r"b\.png.*found a file"):
        open_dataset(plain / "b.png", mode="rgb")
    with pytest.raises(DataError, match=r"nowhere.*found nothing"):
        open_dataset(plain, mode="rgb", defective=tmp_path / "nowhere")


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: found no training pictures"):
        open_dataset(tmp_path / "empty", mode="rgb")


@pytest.mark.parametrize("folder", ["train/good/rgb", "validation/good/rgb", "test/bent/rgb"])
def test_an_empty_folder_of_a_layout(mvtec_3d: Path, folder: str) -> None:
    shutil.rmtree(mvtec_3d / folder)
    (mvtec_3d / folder).mkdir()
    with pytest.raises(DataError, match=f"{folder}: no pictures"):
        open_dataset(mvtec_3d, mode="rgb")


def test_an_empty_folder_of_defective_parts(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    with pytest.raises(DataError, match="bad: no pictures"):
        open_dataset(plain, mode="rgb", defective=tmp_path / "bad")
    (tmp_path / "bad" / "rust").mkdir()
    with pytest.raises(DataError, match="rust: no pictures"):
        open_dataset(plain, mode="rgb", defective=tmp_path / "bad")


def test_a_kind_without_its_rgb_folder(mvtec_3d: Path) -> None:
    (mvtec_3d / "test" / "cut").mkdir()
    with pytest.raises(DataError, match=r"test/cut/rgb.*found nothing"):
        open_dataset(mvtec_3d, mode="rgb")


def test_a_picture_beside_the_kinds(mvtec_ad: Path) -> None:
    write(mvtec_ad / "test" / "stray.png", picture())
    with pytest.raises(DataError, match=r"stray\.png"):
        open_dataset(mvtec_ad, mode="rgb")


@pytest.mark.parametrize("mode", ["depth", "rgbd"])
def test_a_missing_xyz_file(mvtec_3d: Path, mode: Mode) -> None:
    (mvtec_3d / "train/good/xyz/001.tiff").unlink()
    with pytest.raises(DataError, match=r"001\.tiff"):
        open_dataset(mvtec_3d, mode=mode)
    assert len(open_dataset(mvtec_3d, mode="rgb").train) == 4


@pytest.mark.parametrize("mode", ["depth", "rgbd"])
def test_a_layout_without_depth(mvtec_ad: Path, plain: Path, mode: Mode) -> None:
    for root in (mvtec_ad, plain):
        with pytest.raises(DataError, match=f"{root.name}: mode {mode} needs an xyz file"):
            open_dataset(root, mode=mode)


def test_training_does_not_look_at_test_parts(mvtec_3d: Path, mvtec_ad: Path) -> None:
    (mvtec_3d / "test/bent/gt/000.png").unlink()
    (mvtec_ad / "ground_truth/broken/000_mask.png").unlink()
    for root in (mvtec_3d, mvtec_ad):
        dataset = open_dataset(root, mode="rgb", with_test=False)
        assert dataset.train
        assert dataset.test == ()


def test_a_missing_mask_is_no_reason_to_leave_a_part_out(mvtec_3d: Path, mvtec_ad: Path) -> None:
    (mvtec_3d / "test/bent/gt/000.png").unlink()
    (mvtec_ad / "ground_truth/broken/000_mask.png").unlink()
    for root in (mvtec_3d, mvtec_ad):
        masks = [sample.mask for sample in open_dataset(root, mode="rgb").test if sample.defect != GOOD]
        assert masks == [None]


def test_defective_parts_beside_a_layout_that_has_its_own(mvtec_ad: Path, plain: Path) -> None:
    with pytest.raises(UsageError, match=r"bottle.*parts"):
        open_dataset(mvtec_ad, mode="rgb", defective=plain)
    with pytest.raises(UsageError, match="parts: cannot contain both"):
        open_dataset(plain, mode="rgb", defective=plain / ".." / "parts")


def test_an_unreadable_picture(plain: Path) -> None:
    whole = (plain / "b.png").read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        (plain / "b.png").write_bytes(content)
        with pytest.raises(DataError, match=r"b\.png"):
            load(open_dataset(plain, mode="rgb").train[1], "rgb")


@pytest.mark.parametrize(
    "values",
    [np.full((8, 10), 4000, dtype=np.uint16), np.full((8, 10, 4), 90, dtype=np.uint8)],
    ids=["16 bit", "see-through"],
)
def test_a_picture_of_an_unfit_format(plain: Path, values: NDArray[np.integer | np.floating]) -> None:
    write(plain / "b.png", values)
    with pytest.raises(DataError, match=r"b\.png"):
        load(open_dataset(plain, mode="rgb").train[1], "rgb")


@pytest.mark.parametrize(
    "values",
    [
        xyz()[..., 0],
        xyz().astype(np.float64),
        (xyz() * 1000).astype(np.uint16),
        np.where(np.arange(10)[:, None] == 4, np.float32(np.nan), xyz()),
    ],
    ids=["one channel", "float64", "uint16", "NaN"],
)
def test_an_unfit_xyz_file(mvtec_3d: Path, values: NDArray[np.integer | np.floating]) -> None:
    write(mvtec_3d / "train/good/xyz/001.tiff", values)
    with pytest.raises(DataError, match=r"xyz/001\.tiff"):
        load(open_dataset(mvtec_3d, mode="depth").train[1], "depth")


def test_xyz_of_another_size_than_its_picture(mvtec_3d: Path) -> None:
    write(mvtec_3d / "train/good/xyz/001.tiff", xyz(8, 12))
    sample = open_dataset(mvtec_3d, mode="rgbd").train[1]
    with pytest.raises(DataError, match=r"001\.tiff: is 12x8 .*001\.png is 10x8"):
        load(sample, "rgbd")
    assert load(sample, "depth").depth_m is not None


def test_a_mode_that_the_sample_has_no_file_for(mvtec_3d: Path) -> None:
    sample = open_dataset(mvtec_3d, mode="rgb").train[0]
    with pytest.raises(DataError, match=r"000\.png: has no xyz file"):
        load(sample, "rgbd")
    with pytest.raises(DataError, match=r"000\.tiff: has no picture"):
        load(Sample(None, mvtec_3d / "train/good/xyz/000.tiff", None), "rgb")
    with pytest.raises(DataError, match="neither"):
        _ = Sample(None, None, None).name


# Masks


def test_masks(mvtec_3d: Path) -> None:
    bent, good = open_dataset(mvtec_3d, mode="rgb").test
    marked = load_mask(bent, (8, 10))
    assert marked.dtype == np.bool_
    assert np.argwhere(marked).tolist() == [[2, 3]]
    assert not load_mask(good, (8, 10)).any()
    with pytest.raises(DataError, match=r"gt/000\.png: the mask is 10x8 .*bent/rgb/000\.png is 9x8"):
        load_mask(bent, (8, 9))


def test_a_good_part_whose_mask_marks_something(mvtec_3d: Path) -> None:
    write(mvtec_3d / "test/good/gt/000.png", mask(marked=True))
    with pytest.raises(DataError, match=r"good/gt/000\.png: marks 1 pixels"):
        load_mask(open_dataset(mvtec_3d, mode="rgb").test[1], (8, 10))


# Fingerprint


def test_the_fingerprint_is_that_of_names_and_contents(mvtec_3d: Path, tmp_path: Path) -> None:
    samples = open_dataset(mvtec_3d, mode="rgbd").train
    original = fingerprint(samples, mvtec_3d)
    assert len(original) == 64
    moved = tmp_path / "elsewhere"
    shutil.copytree(mvtec_3d, moved)
    assert fingerprint(open_dataset(moved, mode="rgbd").train, moved) == original
    assert fingerprint(samples[::-1], mvtec_3d) != original
    assert fingerprint(open_dataset(mvtec_3d, mode="rgb").train, mvtec_3d) != original
    write(moved / "train/good/xyz/002.tiff", xyz() * 2)
    changed = fingerprint(open_dataset(moved, mode="rgbd").train, moved)
    (mvtec_3d / "train/good/rgb/003.png").rename(mvtec_3d / "train/good/rgb/004.png")
    (mvtec_3d / "train/good/xyz/003.tiff").rename(mvtec_3d / "train/good/xyz/004.tiff")
    renamed = fingerprint(open_dataset(mvtec_3d, mode="rgbd").train, mvtec_3d)
    assert len({original, changed, renamed}) == 3


def test_the_fingerprint_of_a_file_that_is_gone(mvtec_3d: Path) -> None:
    samples = open_dataset(mvtec_3d, mode="rgb").train
    (mvtec_3d / "train/good/rgb/002.png").unlink()
    with pytest.raises(DataError, match=r"002\.png: cannot be read"):
        fingerprint(samples, mvtec_3d)
