"""`ast-edge inspect` with real tiny models and real ONNX Runtime."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ast_edge.model.manifest import Mode
from tests.cli.conftest import Cli, write_part, write_picture
from tests.tiny import bumpy_part, flat_part, grey, white, write_tiny_model


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_picture(tmp_path / "good.png", grey())


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return write_picture(tmp_path / "bad.png", white())


def records(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def verdicts(text: str) -> list[object]:
    return [record["verdict"] for record in records(text)]


def test_table_and_summary(cli: Cli, tiny_rgb: Path, good: Path, bad: Path) -> None:
    done = cli("inspect", tiny_rgb, good, bad)
    first, second, summary = done.out.splitlines()
    assert done.code == 0
    assert not done.err
    assert first.split()[0] == "pass"
    assert first.endswith(str(good))
    assert second.split()[0] == "reject"
    assert first.index(str(good)) == second.index(str(bad))
    assert summary.startswith("2 pictures: 1 pass, 1 reject, 0 fault; threshold 0.1; ")


def test_json_lines(cli: Cli, tiny_rgb: Path, good: Path, bad: Path) -> None:
    done = cli("inspect", tiny_rgb, good, bad, "--json")
    first, second = records(done.out)
    assert done.code == 0
    assert list(first) == ["path", "verdict", "score", "threshold", "p_value", "reason"]
    assert (first["path"], first["verdict"], first["threshold"]) == (str(good), "pass", 0.1)
    assert first["score"] == pytest.approx((128 / 255 - 0.5) ** 2, rel=1e-3)
    assert (second["path"], second["verdict"]) == (str(bad), "reject")
    assert second["score"] == pytest.approx(0.25)
    assert "threshold" in str(second["reason"])
    assert done.err.startswith("2 pictures: ")


def test_a_reject_fails_only_when_asked(cli: Cli, tiny_rgb: Path, good: Path, bad: Path) -> None:
    assert cli("inspect", tiny_rgb, bad).code == 0
    assert cli("inspect", tiny_rgb, bad, "--fail-on-reject").code == 1
    assert cli("inspect", tiny_rgb, good, "--fail-on-reject").code == 0


def test_threads_and_fixed_batch(cli: Cli, tmp_path: Path, good: Path) -> None:
    model = write_tiny_model(tmp_path, batch=2, name="two")
    assert verdicts(cli("inspect", model, good, "--json", "--threads", 1).out) == ["pass"]


def test_folder_in_order_without_hidden_and_other_files(cli: Cli, tiny_rgb: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    for name in ("b.png", "a.png", ".hidden.png"):
        write_picture(folder / name, grey())
    (folder / "notes.txt").write_text("no picture")
    done = cli("inspect", tiny_rgb, folder, "--json")
    assert [record["path"] for record in records(done.out)] == [str(folder / "a.png"), str(folder / "b.png")]


def test_folder_without_pictures_is_refused(cli: Cli, tiny_rgb: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "scratch" / "rgb" / "000.png", grey())
    done = cli("inspect", tiny_rgb, tmp_path / "scratch")
    assert done.code == 1
    assert f"{tmp_path / 'scratch'}: there are no pictures" in done.error
    assert str(tmp_path / "scratch" / "rgb") in done.error


def test_a_folder_of_kinds_is_refused_with_the_folders_to_give(
    cli: Cli, tiny_rgb: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad parts"
    for kind in ("dent", "scratch"):
        write_picture(bad / kind / "000.png", grey())
    (bad / "empty").mkdir()
    done = cli("inspect", tiny_rgb, bad)
    assert (done.code, done.out) == (1, "")
    assert done.error.endswith(f"; give '{bad / 'dent'}' '{bad / 'scratch'}'.")
    for number in range(9):
        write_picture(bad / f"kind{number}" / "000.png", grey())
    assert cli("inspect", tiny_rgb, bad).error.endswith(" and 5 more.")


def test_what_cannot_be_judged_is_a_fault_and_the_rest_goes_on(
    cli: Cli, tiny_rgb: Path, tmp_path: Path, good: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(good.read_bytes()[:60])
    missing = tmp_path / "missing.png"
    done = cli("inspect", tiny_rgb, broken, missing, good, "--json")
    assert done.code == 1
    assert verdicts(done.out) == ["fault", "fault", "pass"]
    for record, path in zip(records(done.out), (broken, missing), strict=False):
        assert record["score"] is None
        assert str(path) in str(record["reason"])


def test_faults_in_the_table_tell_the_reason(cli: Cli, tiny_rgb: Path, tmp_path: Path, good: Path) -> None:
    empty = tmp_path / "empty.png"
    empty.touch()
    done = cli("inspect", tiny_rgb, empty, good)
    first, _, summary = done.out.splitlines()
    assert done.code == 1
    assert first.split()[:3] == ["fault", "-", str(empty)]
    assert len(first.split()) > 5
    assert summary.startswith("2 pictures: 1 pass, 0 reject, 1 fault")


def test_a_frame_that_does_not_fit_the_model_is_a_fault(cli: Cli, tiny_rgb: Path, tmp_path: Path) -> None:
    deep = tmp_path / "deep.png"
    Image.fromarray(np.full((40, 48), 40000, np.uint16)).save(deep)
    done = cli("inspect", tiny_rgb, deep, "--json")
    assert (done.code, verdicts(done.out)) == (1, ["fault"])


def test_overlays_do_not_collide(cli: Cli, tiny_rgb: Path, tmp_path: Path) -> None:
    first = write_picture(tmp_path / "scratch" / "rgb" / "000.png", grey())
    second = write_picture(tmp_path / "dent" / "rgb" / "000.png", white())
    third = write_picture(tmp_path / "dent" / "rgb" / "000.jpg", grey())
    out = tmp_path / "out" / "overlays"
    done = cli("inspect", tiny_rgb, first, second, third, "--overlay", out)
    assert done.code == 0
    assert str(out) in done.out.splitlines()[-1]
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert found == {"scratch/rgb/000.png", "dent/rgb/000.png", "dent/rgb/000.jpg.png"}
    with Image.open(out / "dent" / "rgb" / "000.png") as picture:
        assert picture.format == "PNG"
        assert picture.size[0] >= 48


def test_overlays_of_one_folder_lie_directly_in_the_overlay_folder(
    cli: Cli, tiny_rgb: Path, tmp_path: Path
) -> None:
    write_picture(tmp_path / "parts" / "a.png", grey())
    cli("inspect", tiny_rgb, tmp_path / "parts", "--overlay", tmp_path / "out")
    assert (tmp_path / "out" / "a.png").is_file()


def test_an_overlay_never_overwrites_a_picture(cli: Cli, tiny_rgb: Path, tmp_path: Path) -> None:
    picture = write_picture(tmp_path / "parts" / "a.png", grey())
    before = picture.read_bytes()
    done = cli("inspect", tiny_rgb, picture, "--overlay", tmp_path / "parts")
    assert done.code == 2
    assert "would overwrite" in done.error
    assert picture.read_bytes() == before


def test_an_overlay_folder_that_is_a_file_is_refused(cli: Cli, tiny_rgb: Path, good: Path, bad: Path) -> None:
    done = cli("inspect", tiny_rgb, good, "--overlay", bad)
    assert done.code == 2
    assert str(bad) in done.error


@pytest.mark.parametrize("mode", ["depth", "rgbd"])
def test_depth_is_read_beside_the_picture(
    cli: Cli, tiny_models: dict[Mode, Path], mode: Mode, tmp_path: Path
) -> None:
    write_part(tmp_path, "000", grey(), flat_part())
    write_part(tmp_path, "001", grey(), bumpy_part())
    out = tmp_path / "out"
    done = cli("inspect", tiny_models[mode], tmp_path / "rgb", "--json", "--overlay", out)
    assert (done.code, verdicts(done.out)) == (0, ["pass", "reject"])
    assert (out / "000.png").is_file()


def test_depth_maps_of_integers_give_the_same_verdicts(
    cli: Cli, tiny_models: dict[Mode, Path], tmp_path: Path
) -> None:
    for name, z in (("000", flat_part()), ("001", bumpy_part())):
        write_part(tmp_path, name, grey(), z)
    expected = records(cli("inspect", tiny_models["rgbd"], tmp_path / "rgb", "--json").out)
    unit_m = 2e-5
    for name, z in (("000", flat_part()), ("001", bumpy_part())):
        (tmp_path / "xyz" / f"{name}.tiff").unlink()
        Image.fromarray(np.rint(z / unit_m).astype(np.uint16)).save(tmp_path / "xyz" / f"{name}.png")
    done = cli("inspect", tiny_models["rgbd"], tmp_path / "rgb", "--json", "--depth-scale", unit_m)
    assert (done.code, verdicts(done.out)) == (0, ["pass", "reject"])
    for found, before in zip(records(done.out), expected, strict=True):
        assert found["score"] == pytest.approx(before["score"], rel=0.02)
    done = cli("inspect", tiny_models["rgbd"], tmp_path / "rgb", "--depth-scale", "1000")
    assert done.code == 2
    assert done.error.startswith("--depth-scale 1000: expected the metres of one unit, above 0 and at most 1")


@pytest.mark.parametrize("mode", ["depth", "rgbd"])
def test_faults_of_depth(cli: Cli, tiny_models: dict[Mode, Path], mode: Mode, tmp_path: Path) -> None:
    alone = write_picture(tmp_path / "rgb" / "alone.png", grey())
    no_part = write_part(tmp_path, "conveyor", grey(), np.full((40, 48), 0.5, np.float32))
    without_picture = write_part(tmp_path, "gone", grey(), flat_part())
    without_picture.unlink()
    out = tmp_path / "out"
    done = cli("inspect", tiny_models[mode], alone, no_part, without_picture, "--json", "--overlay", out)
    reasons = [str(record["reason"]) for record in records(done.out)]
    assert (done.code, verdicts(done.out)) == (1, ["fault"] * 3)
    assert str(tmp_path / "xyz" / "alone.tiff") in reasons[0]
    assert "no part" in reasons[1]
    assert str(without_picture) in reasons[2]


def test_models_that_are_refused(cli: Cli, tiny_rgb: Path, tmp_path: Path, good: Path) -> None:
    missing, text, cut = tmp_path / "none.onnx", tmp_path / "text.onnx", tmp_path / "cut.onnx"
    text.write_text("this is no model")
    cut.write_bytes(tiny_rgb.read_bytes()[:-100])
    for model in (missing, text, cut, tmp_path / "model.engine"):
        done = cli("inspect", model, good)
        assert done.code == 1
        assert not done.out
        assert str(model) in done.error


@pytest.mark.slow
def test_without_onnx_runtime_the_error_says_how_to_get_it(process: Cli, tiny_rgb: Path, good: Path) -> None:
    block = "import sys\nsys.modules['onnxruntime'] = None"
    done = process("inspect", tiny_rgb, good, before=block)
    assert done.code == 1
    assert 'pip install ".[cpu]"' in done.error
    assert process("info", tiny_rgb, before=block).code == 0


@pytest.mark.slow
def test_opencv_is_needed_for_overlays_only(process: Cli, tiny_rgb: Path, tmp_path: Path, good: Path) -> None:
    block = "import sys\nsys.modules['cv2'] = None"
    assert process("inspect", tiny_rgb, good, before=block).code == 0
    done = process("inspect", tiny_rgb, good, "--overlay", tmp_path / "out", before=block)
    assert done.code == 1
    assert "cv2" in done.error
    assert 'pip install ".[cpu]"' in done.error


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses file names that are not UTF-8")
def test_file_names_that_the_terminal_cannot_show(
    process: Cli, tiny_rgb: Path, tmp_path: Path, good: Path
) -> None:
    odd = tmp_path / "parts" / os.fsdecode(b"teil-\xff-\xc3\xa4.png")
    odd.parent.mkdir()
    shutil.copy(good, odd)
    ascii_terminal = {"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = process("inspect", tiny_rgb, odd.parent, environment=ascii_terminal)
    assert done.code == 0
    assert done.out.startswith("pass")
    assert verdicts(process("inspect", tiny_rgb, odd.parent, "--json").out) == ["pass"]
