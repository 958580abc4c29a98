"""Collecting with real cameras of folders and a timer: files, lines, layouts, resuming, refusals."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ast_edge.data import open_dataset
from ast_edge.errors import AstEdgeError, LineError, UsageError
from ast_edge.files import claim
from ast_edge.frames.reading import read_image, read_xyz
from ast_edge.line.collect.parts import Parts
from tests.line.collect.bench import USUAL, check_whole, collected, line, lines_of, scene, shoot
from tests.line.parts import part_result


def camera_of(folder: Path, more: str = "") -> str:
    return f"dir://{folder}?trigger=software{more}"


def titles(lines: tuple[tuple[str, str], ...]) -> list[str]:
    return [title for title, _ in lines]


def test_pictures_are_the_cameras_own_and_each_has_its_line(tmp_path: Path) -> None:
    shots = [scene(number) for number in range(6)]
    toml = line(tmp_path / "line", camera_of(shoot(tmp_path / "shots", shots)))
    found = collected(toml, tmp_path / "parts", 6)
    assert (found.parts, found.new) == (6, 6)
    parts = check_whole(tmp_path / "parts")
    assert [part.picture for part in parts] == [f"train/good/{number:06d}.png" for number in range(1, 7)]
    for part, shot in zip(parts, shots, strict=True):
        assert np.array_equal(read_image(tmp_path / "parts" / part.picture), shot)
        assert part.sha256 == hashlib.sha256(shot.tobytes()).hexdigest()
        assert part.grey_levels.brightness == pytest.approx(shot.mean(), abs=0.5)
        assert part.sharpness > 1
        assert (part.label, part.depth, part.encoder) == (None, None, None)
        assert part.trigger.source == "timer"
        assert part.camera.settings == {"trigger": "software"}
    triggers = [part.trigger.number for part in parts]
    assert triggers == sorted(set(triggers))
    assert [part.time for part in parts] == sorted({part.time for part in parts})


def test_what_train_reads_without_moving_a_file(tmp_path: Path) -> None:
    toml = line(
        tmp_path / "line", camera_of(shoot(tmp_path / "shots", [scene(n) for n in range(9)]), "&loop=1")
    )
    for count, label in ((5, None), (2, "bent"), (2, "good")):
        assert collected(toml, tmp_path / "parts", count, label=label).parts == count
    dataset = open_dataset(tmp_path / "parts", mode="rgb")
    assert dataset.layout == "mvtec-ad"
    assert [sample.name.stem for sample in dataset.train] == [f"{number:06d}" for number in range(1, 6)]
    assert [sample.defect for sample in dataset.test] == ["bent", "bent", "good", "good"]
    assert [part.label for part in lines_of(tmp_path / "parts")] == [None] * 5 + ["bent"] * 2 + ["good"] * 2


def test_depth_maps_lie_beside_their_pictures(tmp_path: Path) -> None:
    shots = [scene(number) for number in range(4)]
    depths = [np.full(shots[0].shape[:2], 0.5 + number / 8, np.float32) for number in range(4)]
    toml = line(tmp_path / "line", camera_of(shoot(tmp_path / "shots", shots, depths)))
    collected(toml, tmp_path / "parts", 3)
    collected(toml, tmp_path / "parts", 1, label="bent")
    dataset = open_dataset(tmp_path / "parts", mode="rgbd")
    assert (dataset.layout, len(dataset.train), len(dataset.test)) == ("mvtec-3d", 3, 1)
    for sample, shot, depth in zip(dataset.train, shots, depths, strict=False):
        assert sample.image is not None
        assert sample.xyz is not None
        assert np.array_equal(read_image(sample.image), shot)
        assert np.array_equal(read_xyz(sample.xyz), depth)
    flat = line(tmp_path / "flat", camera_of(shoot(tmp_path / "other", shots)))
    error = collected(flat, tmp_path / "parts", 9).error
    assert "without depth maps, and the parts collected so far are with" in str(error)
    assert len(check_whole(tmp_path / "parts")) == 4


def test_the_same_command_goes_on_and_replaces_what_was_removed(tmp_path: Path) -> None:
    toml = line(
        tmp_path / "line", camera_of(shoot(tmp_path / "shots", [scene(n) for n in range(3)]), "&loop=1")
    )
    parts = tmp_path / "parts"
    assert collected(toml, parts, 3).new == 3
    again = collected(toml, parts, 3)
    assert (again.parts, again.new) == (3, 0)
    (parts / "train/good/000002.png").unlink()
    more = collected(toml, parts, 4)
    assert (more.parts, more.new) == (4, 2)
    assert sorted(path.stem for path in parts.glob("train/good/*.png")) == [
        "000001",
        "000003",
        "000004",
        "000005",
    ]
    assert "duplicate" in titles(more.lines), "the recording has started over"


def test_recipes_are_ignored_and_outputs_not_started(tmp_path: Path) -> None:
    recipes = '[recipes]\nfirst = "a"\nmodels = { a = "missing.onnx" }\n'
    output = '[[output]]\nkind = "modbus"\nhost = "192.0.2.1"\ncoil = 1\n[archive]\nfolder = "archive"\n'
    camera = camera_of(shoot(tmp_path / "shots", [scene(1)]))
    toml = line(tmp_path / "line", camera, f"{recipes}{USUAL}{output}")
    assert collected(toml, tmp_path / "parts", 1).new == 1
    assert not (tmp_path / "line" / "archive").exists()


def test_the_end_of_the_cameras_frames_is_the_end(tmp_path: Path) -> None:
    toml = line(tmp_path / "line", camera_of(shoot(tmp_path / "shots", [scene(n) for n in range(3)])))
    assert collected(toml, tmp_path / "parts", 100).parts == 3


@pytest.mark.parametrize("kind", ["free", "camera"])
def test_frames_that_are_triggers_themselves(tmp_path: Path, kind: str) -> None:
    shots = [scene(number) for number in range(8)]
    trigger = f'[trigger]\nkind = "{kind}"\n[timing]\ndeadline_ms = 20000\n'
    toml = line(tmp_path / "line", f"dir://{shoot(tmp_path / 'shots', shots)}?rate=20&loop=1", trigger)
    assert collected(toml, tmp_path / "parts", 5).parts == 5
    for part in check_whole(tmp_path / "parts"):
        picture = read_image(tmp_path / "parts" / part.picture)
        (number,) = [number for number, shot in enumerate(shots) if np.array_equal(picture, shot)]
        assert number == part.camera.frame % 8


def test_a_full_disk_is_foreseen(tmp_path: Path) -> None:
    toml = line(tmp_path / "line", camera_of(shoot(tmp_path / "shots", [scene(n) for n in range(3)])))
    collected(toml, tmp_path / "parts", 1)
    error = collected(toml, tmp_path / "parts", 3, min_free_gb=1e6).error
    assert "1e+06 GB are to stay free; what was collected is kept, 1 part: " in str(error)
    assert "--min-free-gb" in str(error)
    assert len(check_whole(tmp_path / "parts")) == 1
    assert collected(toml, tmp_path / "parts", 3).parts == 3


def folder_with(path: Path, name: str) -> Path:
    path.mkdir()
    (path / name).write_bytes(b"mine")
    return path


def test_what_cannot_be_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    toml = line(tmp_path / "line", camera_of(shoot(tmp_path / "shots", [scene(1)])))
    foreign = folder_with(tmp_path / "foreign", "IMG_1.png")
    new = tmp_path / "new"
    cases: list[tuple[Path, dict[str, Any], type[AstEdgeError], str]] = [
        (foreign, {}, LineError, r"has other files \(IMG_1.png\) and no parts.jsonl, so it is no collection"),
        (toml, {}, LineError, "is a file; give the folder to collect into"),
        (new, {"label": "a/b"}, UsageError, "--label a/b: expected up to 64 letters"),
        (new, {"label": ".hidden"}, UsageError, "--label .hidden: expected"),
        (new, {"rate": 1.5}, UsageError, "false_reject_rate: expected a fraction between 0 and 1"),
        (new, {"min_free_gb": float("nan")}, UsageError, "--min-free-gb nan: expected 0 to 1000000"),
    ]
    for folder, options, kind, words in cases:
        with pytest.raises(kind, match=words):
            collected(toml, folder, 1, **options)
    assert not (tmp_path / "new").exists()
    assert [path.name for path in foreign.iterdir() if not path.name.startswith(".")] == ["IMG_1.png"]


def test_one_process_collects_into_a_folder(tmp_path: Path) -> None:
    toml = line(tmp_path / "line", camera_of(shoot(tmp_path / "shots", [scene(1)])))
    held = claim(tmp_path / "parts" / ".lock")
    with pytest.raises(LineError, match="another `ast-edge collect` writes to it"):
        collected(toml, tmp_path / "parts", 1)
    held.close()
    assert collected(toml, tmp_path / "parts", 1).parts == 1


def test_a_picture_without_a_line_is_kept_and_its_number_not_used_again(tmp_path: Path) -> None:
    """As a kill between both leaves it."""
    toml = line(tmp_path / "line", camera_of(shoot(tmp_path / "shots", [scene(n) for n in range(3)])))
    parts = tmp_path / "parts"
    collected(toml, parts, 1)
    orphan = parts / "train/good/000002.png"
    orphan.write_bytes((parts / "train/good/000001.png").read_bytes())
    (parts / "train/good/.000003.png.0a1b2c3d.tmp").write_bytes(b"half")
    opened = Parts(parts)
    assert opened.unlisted == [orphan]
    opened.close()
    assert collected(toml, parts, 2).new == 1
    assert [part.picture for part in check_whole(parts)] == ["train/good/000001.png", "train/good/000003.png"]
    assert orphan.exists()
    assert not (parts / "train/good/.000003.png.0a1b2c3d.tmp").exists()


def test_what_the_trigger_knows_is_in_the_line(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "parts", "bent", min_free_gb=0)
    result = part_result(7, encoder=-12, external_id="E\ud800")
    part, _ = parts.add(result, "bench://", {"gain": 2.0})
    parts.close()
    assert part == check_whole(tmp_path / "parts")[0]
    assert (part.encoder, part.trigger.number, part.trigger.run) == (-12, 7, "run")
    assert part.trigger.external_id == "E?"
    assert part.camera.settings == {"gain": 2.0}
