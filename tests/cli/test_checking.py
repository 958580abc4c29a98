"""Every good part is opened before a run begins: unusable files are all named, and no run is left behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from ast_edge.train.run import Run
from tests.cli.conftest import Cli, refusal
from tests.small import OPTIONS

pytestmark = pytest.mark.usefixtures("own_cache", "one_thread")


@pytest.fixture
def good(product: Path, tmp_path: Path) -> Path:
    """A plain folder with 24 pictures of good parts."""
    return Path(shutil.copytree(product / "train" / "good" / "rgb", tmp_path / "good"))


def turn(path: Path, orientation: int) -> None:
    """Let a picture ask to be turned."""
    exif = Image.Exif()
    exif[274] = orientation
    with Image.open(path) as picture:
        picture.load()
        picture.save(path, exif=exif)


def test_all_bad_pictures_are_named_and_nothing_is_left(cli: Cli, good: Path, tmp_path: Path) -> None:
    (good / "003.png").write_bytes((good / "003.png").read_bytes()[:100])
    (good / "007.png").write_bytes(b"")
    Image.new("RGB", (64, 64)).save(good / "011.png")
    run = tmp_path / "runs" / "today" / "run"
    said = refusal(cli, 1, "train", good, "-o", run, *OPTIONS)
    assert said.startswith("3 of 24 good parts cannot be used: ")
    for name in ("003.png: the picture is damaged", "007.png: the file is empty", "011.png: all its pixels"):
        assert f"{good / name}" in said
    assert said.endswith("skip them with --skip-bad.")
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_bad_pictures_can_be_left_out_and_are_recorded(cli: Cli, good: Path, tmp_path: Path) -> None:
    for name in ("003.png", "007.png"):
        (good / name).write_bytes(b"no picture")
    run = Run(tmp_path / "run")
    done = cli("train", good, "-o", run.path, *OPTIONS, "--skip-bad")
    assert done.code == 0, done.err
    assert "2 unusable good parts are skipped" in done.err
    about = run.config()
    assert set(about.skipped) == {"003.png", "007.png"}
    assert "is not a PNG" in about.skipped["003.png"]
    assert about.data.train_parts + about.data.holdout_parts == 22
    assert "left out: 007.png (" in run.log.read_text()
    # The run knows its parts again: it resumes and gives INT8 its ranges.
    run.spec_file.unlink()
    assert cli("train", good, "-o", run.path, "--resume").code == 0
    done = cli("export", run.path, "-o", tmp_path / "model.onnx", "--precision", "int8")
    assert "is not the data that" not in done.err


@pytest.mark.slow
def test_pictures_of_several_sizes_are_refused(cli: Cli, good: Path, tmp_path: Path) -> None:
    for name in ("004.png", "005.png"):
        with Image.open(good / name) as picture:
            picture.resize((80, 64)).save(good / name)
    words = ("train", good, "-o", tmp_path / "run", *OPTIONS)
    said = refusal(cli, 1, *words)
    assert said == (
        f"the pictures have 2 sizes in pixels: 22 of 64x64 (as {good / '000.png'}), 2 of 80x64 (as "
        f"{good / '004.png'}); a camera has one: remove the others, or train on all of them with "
        "--mixed-sizes."
    )
    assert not (tmp_path / "run").exists()
    assert cli(*words, "--mixed-sizes").code == 0


@pytest.mark.slow
def test_a_folder_in_which_some_pictures_ask_to_be_turned(cli: Cli, good: Path, tmp_path: Path) -> None:
    turn(good / "002.png", 3)
    done = cli("train", good, "-o", tmp_path / "run", *OPTIONS)
    assert done.code == 0
    (said,) = (line for line in done.err.splitlines() if "EXIF" in line)
    assert said.startswith("1 of 24 pictures are marked as rotated (EXIF orientation, such as ")
    assert "002.png" in said
    for path in good.iterdir():
        turn(path, 3)
    assert "EXIF" not in cli("train", good, "-o", tmp_path / "other", *OPTIONS).err
    text = cli("info", tmp_path / "other").out
    assert "pictures       from files are rotated by their EXIF orientation" in text


@pytest.mark.slow
def test_parts_that_were_trained_on_are_known_one_by_one(
    cli: Cli, good: Path, product: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model.onnx"
    assert cli("train", good, "-o", tmp_path / "run", *OPTIONS).code == 0
    assert cli("export", tmp_path / "run", "-o", model, "--precision", "fp32").code == 0
    held_out = {
        Path(row["part"]).name
        for row in json.loads((tmp_path / "run" / "calibration.json").read_text())["held_out_parts"]
    }
    trained_on = next(path for path in sorted(good.iterdir()) if path.name not in held_out)
    mixed = Path(shutil.copytree(product / "test" / "good" / "rgb", tmp_path / "mixed"))
    assert cli("calibrate", model, mixed, "--dry-run").code == 0
    # The very pictures that the threshold rests on were not trained on.
    assert cli("calibrate", model, *(good / name for name in held_out), "--dry-run").code == 0
    shutil.copy(trained_on, mixed / "another name.png")
    said = refusal(cli, 1, "calibrate", model, mixed)
    assert "1 of 7 parts were used to train the model (such as " in said
    assert "another name.png" in said
    said = refusal(cli, 2, "evaluate", model, mixed)
    assert "another name.png of 7 parts: the model was trained on them" in said
