"""A run stopped at any moment and resumed equals an uninterrupted one, bit for bit."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from ast_edge.cli import main
from ast_edge.data import open_dataset
from ast_edge.errors import DataError, RunError, UsageError
from ast_edge.train.config import changed
from ast_edge.train.pipeline import SEEDED, TrainRequest, resume, train
from ast_edge.train.run import Run
from ast_edge.train.split import split_holdout
from tests.small import MOMENTS, calibration_scores, stop_at
from tests.train.runs import tiny_config

RESULTS = ("weights.safetensors", "history.json", "spec.json", "references.safetensors", "trunk.safetensors")


def assert_same_result(run: Path, expected: Path) -> None:
    assert calibration_scores(run) == calibration_scores(expected)
    for name in RESULTS:
        if (expected / name).exists() or (run / name).exists():
            assert (run / name).read_bytes() == (expected / name).read_bytes(), name
    assert {path.name for path in run.iterdir()} == {path.name for path in expected.iterdir()}


# Stopped from outside


@pytest.mark.parametrize("name", sorted(MOMENTS))
def test_kill_9_and_resume(
    name: str, product: Path, rgb_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = stop_at(MOMENTS[name], product, tmp_path / "killed", signal.SIGKILL)
    out, _ = process.communicate()
    assert (process.returncode, out) == (-signal.SIGKILL, "")
    monkeypatch.setenv("AST_EDGE_CACHE", str(tmp_path / "killed" / "cache"))
    run = tmp_path / "killed" / "run"
    assert main(["train", str(product), "-o", str(run), "--resume"]) == 0
    assert_same_result(run, rgb_run)


def test_ctrl_c_says_one_line_and_can_be_resumed(
    product: Path, rgb_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = stop_at(MOMENTS["teacher"], product, tmp_path / "stopped", signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    *talk, last = err.splitlines()
    words = f"ast-edge train {product} -o {tmp_path / 'stopped' / 'run'} --resume"
    assert last == f"ast-edge: error: interrupted; `{words}` continues the run."
    assert {line.split(":")[0] for line in talk} <= {
        *("checking pictures", "parts", "extracting features", "training", "training teacher"),
    }
    log = (tmp_path / "stopped" / "run" / "train.log").read_text()
    assert log.splitlines()[-1].endswith("ERROR stopped: KeyboardInterrupt")
    monkeypatch.setenv("AST_EDGE_CACHE", str(tmp_path / "stopped" / "cache"))
    resume(Run(tmp_path / "stopped" / "run"), product)
    assert_same_result(tmp_path / "stopped" / "run", rgb_run)


# Stopped from inside: mode depth needs no backbone and takes a fraction of a second


def tiny_run(data: Path, run: Path, **changes: object) -> Path:
    return train(TrainRequest(data, run, tiny_config(**changes), SEEDED)).path


@pytest.fixture
def few(product: Path, tmp_path: Path) -> Path:
    """Nine parts to train on, in two batches, and two held out."""
    data = tmp_path / "few"
    for split, count in (("train", 9), ("validation", 2)):
        for folder in ("rgb", "xyz"):
            (data / split / "good" / folder).mkdir(parents=True)
            for path in sorted((product / split / "good" / folder).iterdir())[:count]:
                (data / split / "good" / folder / path.name).symlink_to(path)
    return data


CROSS = {"calibration": "cross", "folds": 2, "exclude_outliers": True}


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, CROSS], ids=["split", "cross"])
def test_stopped_before_any_write_and_resumed(
    changes: dict[str, object], few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file of a run appears under its name by a rename: stop before each of them in turn."""
    expected = tiny_run(few, tmp_path / "whole", **changes)
    rename = Path.replace
    stopped_at: list[str] = []
    for stop in range(1, 100):
        names: list[str] = []

        def replace(path: Path, target: Path, stop: int = stop, names: list[str] = names) -> Path:
            names.append(Path(target).name)
            if len(names) == stop:
                raise KeyboardInterrupt
            return rename(path, target)

        run = Run(tmp_path / f"run{stop}")
        monkeypatch.setenv("AST_EDGE_CACHE", str(tmp_path / f"cache{stop}"))
        monkeypatch.setattr(Path, "replace", replace)
        try:
            tiny_run(few, run.path, **changes)
        except KeyboardInterrupt:
            stopped_at.append(names[-1])
            monkeypatch.setattr(Path, "replace", rename)
            assert not run.complete
            resume(run, few) if run.started else tiny_run(few, run.path, **changes)
            assert_same_result(run.path, expected)
        else:
            break
    assert set(stopped_at) == {
        *("config.json", "progress.json", "history.json", "checkpoint.safetensors", "teacher.safetensors"),
        *("weights.safetensors", "calibration.json", "references.safetensors", "seal.json", "spec.json"),
    }
    assert stopped_at[-1] == "spec.json"


@pytest.mark.slow
def test_stopped_again_and_again(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that never gets further than one epoch at a time still arrives."""
    expected = tiny_run(few, tmp_path / "whole")
    rename, run, stops = Path.replace, Run(tmp_path / "run"), 0
    while not run.complete:
        seen: list[str] = []

        def replace(path: Path, target: Path, seen: list[str] = seen) -> Path:
            done = rename(path, target)
            seen.append(Path(target).name)
            if seen[-1] == "checkpoint.safetensors":
                raise KeyboardInterrupt
            return done

        monkeypatch.setattr(Path, "replace", replace)
        with contextlib.suppress(KeyboardInterrupt):
            resume(run, few) if run.started else tiny_run(few, run.path)
        stops += 1
    assert stops == 2 + 2 + 1  # the epochs of both phases, then the end
    monkeypatch.setattr(Path, "replace", rename)
    assert_same_result(run.path, expected)


@pytest.mark.slow
def test_what_a_cut_off_write_left_is_cleared(product: Path, tmp_path: Path) -> None:
    run = Run(tiny_run(product, tmp_path / "run"))
    run.spec_file.unlink()
    (run.path / ".weights.safetensors.abc.tmp").write_bytes(b"half")
    resume(run, product)
    assert {path.name for path in run.path.iterdir() if path.name.startswith(".")} <= {".lock"}


# What decides a result


@pytest.mark.slow
def test_one_seed_gives_one_result_and_another_seed_another(product: Path, tmp_path: Path) -> None:
    first = tiny_run(product, tmp_path / "a")
    assert_same_result(tiny_run(product, tmp_path / "b"), first)
    other = tiny_run(product, tmp_path / "c", seed=6)
    assert calibration_scores(other) != calibration_scores(first)


@pytest.mark.slow
def test_the_cache_is_shared_by_runs_on_the_same_features(
    product: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AST_EDGE_CACHE", str(tmp_path / "cache"))
    first = tiny_run(product, tmp_path / "a")
    (features,) = (tmp_path / "cache" / "features").glob("*/features.npy")
    before = features.stat().st_mtime_ns
    tiny_run(product, tmp_path / "b", seed=6, **{"teacher.epochs": 1})
    assert features.stat().st_mtime_ns == before
    # The same pictures elsewhere on the disk are the same data.
    moved = shutil.copytree(product, tmp_path / "moved")
    assert_same_result(tiny_run(Path(moved), tmp_path / "c"), first)
    assert [path.parent for path in (tmp_path / "cache" / "features").glob("*/*.npy")] == [
        features.parent
    ] * 2


@pytest.mark.slow
def test_validation_parts_are_never_trained_on(product: Path, tmp_path: Path) -> None:
    changed_data = Path(shutil.copytree(product, tmp_path / "changed"))
    for xyz in (changed_data / "train" / "good" / "xyz").iterdir():
        twin = changed_data / "validation" / "good" / "xyz" / xyz.name
        if twin.exists():
            shutil.copy(xyz, twin)
    first, second = tiny_run(product, tmp_path / "a"), tiny_run(changed_data, tmp_path / "b")
    assert (first / "weights.safetensors").read_bytes() == (second / "weights.safetensors").read_bytes()
    assert calibration_scores(first) != calibration_scores(second)


def plain_folder(folder: Path, count: int = 12) -> Path:
    rng = np.random.default_rng(0)
    folder.mkdir()
    for index in range(count):
        picture = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(picture).resize((64, 64)).save(folder / f"{index:02d}.png")
    return folder


def rgb_on(data: Path, run: Path, **changes: object) -> Path:
    stage: dict[str, object] = {"backbone.stages": (1,), "backbone.stride": 4}
    return tiny_run(data, run, mode="rgb", **stage, **changes)


def held_out_names(run: Path) -> list[str]:
    rows = json.loads((run / "calibration.json").read_text())["held_out_parts"]
    return [Path(row["part"]).name for row in rows]


@pytest.mark.slow
def test_a_seeded_hold_out_is_never_trained_on(tmp_path: Path) -> None:
    data = plain_folder(tmp_path / "good")
    first = rgb_on(data, tmp_path / "a", holdout=0.25)
    names = held_out_names(first)
    _, holdout = split_holdout(open_dataset(data, mode="rgb").train, fraction=0.25, seed=5)
    assert names == [sample.name.name for sample in holdout]
    assert len(names) == 3
    for turns, name in enumerate(names):
        Image.linear_gradient("L").resize((64, 64)).rotate(90 * turns).convert("RGB").save(data / name)
    second = rgb_on(data, tmp_path / "b", holdout=0.25)
    for name in ("weights.safetensors", "trunk.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert calibration_scores(first) != calibration_scores(second)


def weights_of(run: Path, target: Path) -> Path:
    """The run's backbone as a file with timm's names."""
    save_file(
        {
            re.sub(r"\.conv\.(weight|bias)$", r".\1", name.removeprefix("body.")): tensor
            for name, tensor in load_file(run / "trunk.safetensors").items()
        },
        target,
    )
    return target


@pytest.mark.slow
def test_runs_that_hold_out_others_do_not_read_each_others_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both see the same pictures through the same backbone, but in another order."""
    data = plain_folder(tmp_path / "good")
    first = rgb_on(data, tmp_path / "a")
    weights, config = weights_of(first, tmp_path / "b.safetensors"), Run(first).config().train
    train(TrainRequest(data, tmp_path / "b", config, weights))
    reseeded = changed(config, {"seed": 6})
    second = train(TrainRequest(data, tmp_path / "c", reseeded, weights)).path
    monkeypatch.setenv("AST_EDGE_CACHE", str(tmp_path / "another cache"))
    assert_same_result(second, train(TrainRequest(data, tmp_path / "d", reseeded, weights)).path)
    assert held_out_names(second) != held_out_names(first)
    data_of = [Run(run).spec().training_data for run in (first, second)]
    assert data_of[0].fingerprint == data_of[1].fingerprint
    assert data_of[0].seen != data_of[1].seen  # which pictures were trained on


# What is refused


def test_resume_without_a_run(product: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run: contains no run to resume"):
        resume(Run(tmp_path / "run"), product)


def test_a_complete_run_is_left_alone(rgb_run: Path, tmp_path: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in rgb_run.iterdir()}
    assert resume(Run(rgb_run), tmp_path / "gone").path == rgb_run
    assert {path.name: path.stat().st_mtime_ns for path in rgb_run.iterdir()} == before


def test_a_folder_with_a_run_is_not_trained_over(rgb_run: Path, product: Path) -> None:
    with pytest.raises(UsageError, match=r"already holds a run; continue it with --resume"):
        tiny_run(product, rgb_run)


def test_a_run_folder_that_cannot_be_made(product: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UsageError, match=r"cannot become a run folder"):
            tiny_run(product, folder)


@pytest.fixture
def unfinished(product: Path, tmp_path: Path) -> tuple[Run, Path]:
    """A run that lacks only its last file, and a copy of its data."""
    data = Path(shutil.copytree(product, tmp_path / "data"))
    run = Run(tiny_run(data, tmp_path / "run"))
    run.spec_file.unlink()
    return run, data


@pytest.mark.slow
@pytest.mark.parametrize("change", ["content", "name", "fewer", "mode"])
def test_resume_with_other_data(unfinished: tuple[Run, Path], change: str) -> None:
    run, data = unfinished
    good = data / "train" / "good"
    if change == "content":
        shutil.copy(good / "xyz" / "001.tiff", good / "xyz" / "000.tiff")
    for folder, suffix in (("rgb", "png"), ("xyz", "tiff")):
        if change == "name":
            (good / folder / f"000.{suffix}").rename(good / folder / f"900.{suffix}")
        if change == "fewer":
            (good / folder / f"000.{suffix}").unlink()
    if change == "mode":
        shutil.rmtree(good / "xyz")
        with pytest.raises(DataError, match="xyz"):
            resume(run, data)
        return
    with pytest.raises(RunError, match=r"data: is not the data that .*run was started with"):
        resume(run, data)


@pytest.mark.slow
def test_resume_with_the_same_data_elsewhere(unfinished: tuple[Run, Path], product: Path) -> None:
    run, _ = unfinished
    assert resume(run, product).complete


def test_resume_without_the_trunk(rgb_run: Path, product: Path, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(rgb_run, tmp_path / "run")))
    run.spec_file.unlink()
    run.trunk_file.unlink()
    with pytest.raises(RunError, match=r"trunk\.safetensors: cannot be read"):
        resume(run, product)


def test_too_few_parts_to_hold_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 good parts are too few"):
        rgb_on(plain_folder(tmp_path / "good", count=3), tmp_path / "run")


def test_the_log_tells_why_a_run_stopped(product: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="loss became"):
        tiny_run(product, tmp_path / "run", lr=1e30)
    assert "ERROR stopped: the teacher's loss became" in (tmp_path / "run" / "train.log").read_text()
