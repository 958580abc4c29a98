"""`--roi` and `--ignore`: what lies outside reaches neither network nor threshold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ast_edge.cli import main
from ast_edge.data import open_dataset
from ast_edge.errors import AstEdgeError
from ast_edge.frames.reading import read_image
from ast_edge.frames.resize import resize_image
from ast_edge.model.manifest import Crop
from ast_edge.train.config import changed, preset
from ast_edge.train.evaluate import open_model
from ast_edge.train.features import cache_key
from ast_edge.train.roi import Masks, picture_pixels, with_roi
from ast_edge.train.run import Run
from tests.small import LOOKED_AT, MASKED, OPTIONS, calibration_scores, disturbed

WIDTH, HEIGHT = 60, 40
BOX = [[10, 5], [30, 5], [30, 25], [10, 25]]


def polygons(path: Path, *outlines: list[list[int]]) -> Path:
    path.write_text(json.dumps({"polygons": outlines}))
    return path


def png(path: Path, mask: np.ndarray) -> Path:
    Image.fromarray(mask.astype(np.uint8)).save(path)  # 0 and 1: anything above black counts
    return path


def box_mask() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[5:26, 10:31] = True
    return mask


# From a file to the frame


def test_a_png_and_a_polygon_mark_the_same_pixels(tmp_path: Path) -> None:
    drawn = Masks(roi=polygons(tmp_path / "roi.json", BOX)).of_frame(WIDTH, HEIGHT)
    painted = Masks(roi=png(tmp_path / "roi.png", box_mask())).of_frame(WIDTH, HEIGHT)
    np.testing.assert_array_equal(drawn, box_mask())
    np.testing.assert_array_equal(painted, box_mask())


def test_ignore_is_the_complement_and_both_together_are_what_is_left(tmp_path: Path) -> None:
    path = polygons(tmp_path / "m.json", BOX)
    np.testing.assert_array_equal(Masks(ignore=path).of_frame(WIDTH, HEIGHT), ~box_mask())
    inner = png(tmp_path / "inner.png", np.pad(np.ones((6, 6)), ((10, 24), (15, 39))))
    left = box_mask()
    left[10:16, 15:21] = False
    np.testing.assert_array_equal(Masks(path, inner).of_frame(WIDTH, HEIGHT), left)


def test_overlapping_polygons_are_joined_and_may_end_at_the_rim(tmp_path: Path) -> None:
    whole = [[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]]
    assert Masks(roi=polygons(tmp_path / "m.json", whole, BOX)).of_frame(WIDTH, HEIGHT).all()


# From the frame to the network's picture


@given(
    height=st.integers(2, 40), width=st.integers(2, 40), size=st.integers(1, 24), seed=st.integers(0, 10_000)
)
def test_a_pixel_outside_reaches_no_pixel_that_is_looked_at(
    height: int, width: int, size: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    looked_at = np.ones((height, width), np.bool_)
    looked_at[rng.integers(height) :, rng.integers(width) :] = False
    first, second = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    second[looked_at] = first[looked_at]
    pixels = picture_pixels(looked_at, size)
    np.testing.assert_array_equal(resize_image(first, size)[pixels], resize_image(second, size)[pixels])
    # Black and white show which pixels of the picture the excluded ones reach: no others are given up.
    reached = resize_image(np.repeat(np.where(looked_at, 0, 255).astype(np.uint8)[..., None], 3, 2), size)
    assert not reached[pixels].any()
    if height == width == size:
        np.testing.assert_array_equal(pixels, looked_at)


def test_the_border_moves_inwards_by_about_one_pixel() -> None:
    looked_at = np.zeros((400, 400), np.bool_)
    looked_at[100:300, 100:300] = True
    rows = np.flatnonzero(picture_pixels(looked_at, 40).any(axis=1))
    assert rows.tolist() == list(range(11, 29))


def test_the_colour_outside_is_the_mean_colour_inside(tmp_path: Path) -> None:
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for number, level in enumerate((90, 110)):
        picture[box_mask()] = (level, level + 10, 200)
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    masks = Masks(roi=polygons(tmp_path / "roi.json", BOX))
    samples = open_dataset(tmp_path, mode="rgb").train
    config = changed(preset("nano", "rgb"), {"crop": Crop(x=0, y=0, width=40, height=40).model_dump()})
    found = with_roi(config, masks, samples, (WIDTH, HEIGHT)).roi
    assert found is not None
    assert found.fill == (100, 110, 200)


def test_the_mask_decides_the_cache_of_features(masked_run: Path) -> None:
    config = Run(masked_run).config().train
    trunk = Run(masked_run).load_trunks(config)[0]
    keys = {
        cache_key("f" * 64, each, trunk, held_out=())
        for each in (config, config.model_copy(update={"roi": None}))
    }
    assert len(keys) == 2


# Training and judging


def noisy_product(product: Path, folder: Path) -> Path:
    """The product with other noise outside the mask in every picture."""
    shutil.copytree(product, folder)
    for number, path in enumerate(sorted(folder.glob("**/rgb/*.png"))):
        Image.fromarray(disturbed(read_image(path), number)).save(path)
    return folder


def test_what_lies_outside_leaves_no_trace_in_training(
    masked_run: Path, product: Path, tmp_path: Path
) -> None:
    """Losses, statistics, patches, fusion and threshold: the same bytes from pictures with noise outside."""
    noisy = noisy_product(product, tmp_path / "noisy")
    roi = tmp_path / "roi.json"
    roi.write_text(json.dumps(LOOKED_AT))
    run = tmp_path / "run"
    assert main(["train", str(noisy), "-o", str(run), "--roi", str(roi), *MASKED, *OPTIONS]) == 0
    for name in ("trunk.safetensors", "weights.safetensors", "history.json"):
        assert (run / name).read_bytes() == (masked_run / name).read_bytes(), name
    assert calibration_scores(run) == calibration_scores(masked_run)
    found, expected = Run(run).spec(), Run(masked_run).spec()
    assert found.threshold == expected.threshold
    assert found.preprocessing == expected.preprocessing
    assert found.trained == expected.trained


def test_without_the_mask_the_same_noise_is_an_anomaly(rgb_run: Path, product: Path) -> None:
    picture = read_image(sorted(product.glob("test/good/rgb/*.png"))[0])
    with open_model(rgb_run) as inspector:
        quiet = inspector.inspect(picture, colour="rgb").anomaly_map
        noisy = inspector.inspect(disturbed(picture, 0), colour="rgb").anomaly_map
    assert np.nanmax(noisy) > 2 * quiet.max() or np.isnan(noisy).all()


def test_the_map_is_zero_outside_and_the_run_says_how_much_is_looked_at(
    masked_run: Path, product: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = read_image(sorted(product.glob("test/*/rgb/*.png"))[0])
    with open_model(masked_run) as inspector:
        found = inspector.inspect(picture, colour="rgb")
        roi = inspector.spec.preprocessing.roi
    assert roi is not None
    places = roi.places(64, 8)
    assert 0 < places.sum() < 64
    assert not found.anomaly_map[~places].any()
    assert found.score == found.anomaly_map[places].max()
    assert main(["train", str(product), "-o", str(masked_run), "--resume"]) == 0
    share = 100 * roi.pixels(64).mean()
    assert f"masks      {share:.1f} % of the crop is looked at" in capsys.readouterr().out


# What is refused


def refused(capsys: pytest.CaptureFixture[str], code: int, product: Path, run: Path, *words: object) -> str:
    assert main(["train", str(product), "-o", str(run), *OPTIONS, *map(str, words)]) == code
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ast-edge: error: ")]
    assert len(said) == 1
    return said[0].removeprefix("ast-edge: error: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.ones((40, 60)), "m.png: the mask is 60x40 pixels, the pictures are 64x64; draw it on"),
        (np.zeros((64, 64)), "m.png: no pixel is marked; the pixels meant must be brighter than black"),
        (b"GIF89a", "m.png: is no PNG file; a mask is a PNG, or a .json file of polygons: see docs/how-to/"),
        (b"\x89PNG\r\n\x1a\nbroken", "m.png: "),
        (None, "m.png: cannot be read (No such file or directory); name a mask"),
    ],
)
def test_pictures_that_are_no_mask(
    product: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: object, message: str
) -> None:
    path = tmp_path / "m.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, np.ndarray):
        png(path, content)
    for option in ("--roi", "--ignore"):
        assert message in refused(capsys, 1, product, tmp_path / "run", option, path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "m.json: "),
        ("[]", "m.json: "),
        ('{"polygons": []}', "key 'polygons': must have at least 1 entries"),
        ('{"polygons": [[[0, 0], [9, 9]]]}', "key 'polygons.0': must have at least 3 entries, not 2"),
        ('{"polygons": [[[0, 0], [9, 9], [9]]]}', "key 'polygons.0.2.1': is missing"),
        ('{"polygons": [[[0, 0], [9, 9], [9, "x"]]]}', "key 'polygons.0.2.1': must be a number"),
        ('{"polygons": [[[0, 0], [9, 9], [9, 1e999]]]}', "m.json: "),
        ('{"polygons": [[[0, 0], [9, 9], [9, 0]]], "more": 1}', "key 'more': there is no such key"),
        (
            '{"polygons": [[[0, 0], [65, 9], [9, 9]]]}',
            "polygon 1 has the point (65, 9), outside the pictures",
        ),
        ('{"polygons": [[[0, -1], [9, 9], [9, 0]]]}', "polygon 1 has the point (0, -1), outside"),
    ],
)
def test_files_that_are_no_polygons(
    product: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    path = tmp_path / "m.json"
    path.write_text(content)
    said = refused(capsys, 1, product, tmp_path / "run", "--roi", path)
    assert message in said
    assert said.startswith(str(path))


BOX_HERE = [[9, 9], [20, 9], [20, 20]]
EVERYTHING = [[0, 0], [64, 0], [64, 64], [0, 64]]


@pytest.mark.parametrize(
    ("masks", "options", "message"),
    [
        ({"ignore": EVERYTHING}, "", "leave no pixel of the frame to look at"),
        ({"roi": BOX_HERE, "ignore": EVERYTHING}, "", "leave no pixel of the frame to look at"),
        ({"roi": BOX_HERE}, "--crop 32,32,32,32", "nothing is left to look at in the network's picture"),
        ({"roi": [[9, 9], [10, 9], [10, 10]]}, "--crop 0,0,63,63", "nothing is left to look at in the"),
        ({"roi": BOX_HERE}, "--mode depth", "masks are for mode rgb; in mode depth"),
        ({"roi": BOX_HERE}, "--mode rgbd", "masks are for mode rgb; in mode rgbd"),
        ({"roi": BOX_HERE}, "--mixed-sizes", "a mask fits frames of one size"),
        ({"roi": BOX_HERE}, "--aggregation top9", "the map has only 3 values"),
        ({"roi": BOX_HERE}, "--resume", "a run keeps the masks that it was started with"),
        ({}, "--set roi=1", "there is no setting 'roi'"),
    ],
)
def test_masks_that_leave_nothing_or_do_not_go_together(
    product: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    masks: dict[str, list[list[int]]],
    options: str,
    message: str,
) -> None:
    words: list[object] = list(options.split())
    for option, outline in masks.items():
        words += [f"--{option}", polygons(tmp_path / f"{option}.json", outline)]
    run = tmp_path / "run"
    assert message in refused(capsys, 2, product, run, *words)
    assert not run.exists()


def test_a_large_file_is_no_list_of_polygons(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(b" " * 10_000_001)
    with pytest.raises(AstEdgeError, match=r"m.json: is larger than 10000000 bytes; draw a PNG instead"):
        Masks(roi=path).of_frame(WIDTH, HEIGHT)
