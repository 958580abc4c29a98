"""Failures around a training run: one sentence each, and nothing lost or left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from ast_edge.errors import AstEdgeError, RunError
from ast_edge.train.run import Run
from tests.disks import small_disk
from tests.paths import ROOT
from tests.small import OPTIONS, start_training
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

DEPTH = ("--mode", "depth", *OPTIONS)


def sentence(process: subprocess.Popen[str]) -> str:
    """The one sentence of a process that failed."""
    _, err = process.communicate(timeout=240)
    assert process.returncode == 1, (process.returncode, err)
    assert "Traceback" not in err
    assert "internal error" not in err
    last = err.splitlines()[-1]
    assert last.startswith("ast-edge: error: ")
    return last.removeprefix("ast-edge: error: ")


# Two processes, one folder


@pytest.fixture
def living(product: Path, tmp_path: Path) -> Iterator[Path]:
    """The folder of a run that is being trained by another process for as long as the test lasts."""
    run = tmp_path / "living"
    process = start_training(product, "-o", run, *DEPTH, "--epochs", 100_000, cache=tmp_path / "cache")
    try:
        wait_for(lambda: process.poll() is not None or (run / "history.json").exists(), 240)
        assert process.poll() is None, process.communicate()
        yield run
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


def test_a_run_that_is_being_trained_is_left_alone(living: Path, product: Path, tmp_path: Path) -> None:
    again = start_training(product, "-o", living, "--resume", cache=tmp_path / "cache")
    assert sentence(again).startswith(f"{living}: another process is training in this folder")


def test_of_two_that_start_in_one_folder_one_trains(product: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    both = [start_training(product, "-o", run, *DEPTH, cache=tmp_path / f"cache{n}") for n in range(2)]
    ended = [(process.wait(240), process.communicate()[1]) for process in both]
    assert sorted(code != 0 for code, _ in ended) == [False, True]
    (said,) = (err.splitlines()[-1] for code, err in ended if code)
    assert "another process is training in this folder" in said or "already holds a run" in said
    assert Run(run).load_network()


# A disk that fills


def test_a_cache_on_a_full_disk_is_refused_before_it_is_mapped(product: Path, tmp_path: Path) -> None:
    """Writing to a mapped hole of a full disk kills the process with SIGBUS."""
    with small_disk(tmp_path / "disk", 512) as disk:
        process = start_training(product, "-o", tmp_path / "run", *DEPTH, cache=disk)
        said = sentence(process)
        assert str(disk) in said
        assert "No space left on device" in said
        assert "AST_EDGE_CACHE" in said
        assert not list(disk.rglob("*.npy"))


@pytest.mark.parametrize("kib", [16, 96, 1024, 4096])
def test_a_run_folder_on_a_full_disk(product: Path, tmp_path: Path, kib: int) -> None:
    """Wherever the disk ends: within the log, the trunk or a checkpoint."""
    with small_disk(tmp_path / "disk", kib) as disk:
        run = disk / "run"
        process = start_training(
            product, "-o", run, *OPTIONS, "--set", "student.width=512", cache=tmp_path / "cache"
        )
        said = sentence(process)
        assert "No space left on device" in said
        assert str(disk) in said
        assert not list(disk.rglob("*.tmp"))
        assert Run(run).started or not run.exists()


# Damaged files


@pytest.fixture
def copy(depth_run: Path, tmp_path: Path) -> Run:
    """A complete run of one's own."""
    return Run(Path(shutil.copytree(depth_run, tmp_path / "copy")))


def flip(path: Path, at: float) -> None:
    """Flip one bit at this fraction of a file."""
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "name", ["spec.json", "config.json", "weights.safetensors", "references.safetensors"]
)
@pytest.mark.parametrize("at", [0.3, 0.6, 0.9, 0.98])
def test_a_flipped_bit_in_a_complete_run_is_refused(copy: Run, name: str, at: float) -> None:
    flip(copy.path / name, at)
    with pytest.raises(AstEdgeError, match=name):
        copy.config(), copy.spec(), copy.references(), copy.load_network()


def test_an_edited_spec_is_refused(copy: Run) -> None:
    text = copy.spec_file.read_text()
    threshold = f'"value": {copy.spec().threshold.value}'
    assert threshold in text
    copy.spec_file.write_text(text.replace(threshold, '"value": 1e9'))
    with pytest.raises(RunError, match=r"spec\.json: was changed after the run was complete"):
        copy.spec()


def test_a_run_without_its_seal_is_refused(copy: Run) -> None:
    copy.seal_file.unlink()
    with pytest.raises(RunError, match=r"seal\.json: is missing or damaged"):
        copy.spec()


def test_a_run_of_an_earlier_version_has_no_seal(copy: Run) -> None:
    copy.seal_file.unlink()
    text = copy.config_file.read_text()
    copy.config_file.write_text(text.replace('"sealed": true', '"sealed": false'))
    assert copy.spec().mode == "depth"


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9])
def test_a_flipped_bit_in_a_checkpoint_is_not_trained_on(product: Path, tmp_path: Path, at: float) -> None:
    run = tmp_path / "run"
    process = start_training(product, "-o", run, *DEPTH, "--epochs", 100_000, cache=tmp_path / "cache")
    wait_for(lambda: process.poll() is not None or (run / "checkpoint.safetensors").exists(), 240)
    process.kill()
    process.communicate()
    flip(run / "checkpoint.safetensors", at)
    said = sentence(start_training(product, "-o", run, "--resume", cache=tmp_path / "cache"))
    assert said.startswith(f"{run / 'checkpoint.safetensors'}: ")
    assert "damaged" in said or "cannot be read" in said


def test_leftovers_of_a_kill_are_removed(product: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / ".trunk.safetensors.1234.tmp").write_bytes(b"cut off")
    process = start_training(product, "-o", run, *DEPTH, cache=tmp_path / "cache")
    process.communicate()
    assert process.returncode == 0
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("lr", ["1e38", "1e30"])
def test_a_learning_rate_that_overflows(product: Path, tmp_path: Path, lr: str) -> None:
    said = sentence(
        start_training(product, "-o", tmp_path / "run", *DEPTH, "--lr", lr, cache=tmp_path / "cache")
    )
    assert said.startswith("the teacher's loss became ")
    assert "--lr" in said


def test_a_backbone_with_nan_in_it(product: Path, rgb_run: Path, tmp_path: Path) -> None:
    state = load_file(rgb_run / "trunk.safetensors")
    weights = {name.removeprefix("body."): tensor for name, tensor in state.items()}
    first = next(name for name in weights if name.endswith("conv1.weight"))
    weights[first][0] = torch.nan
    save_file(weights, tmp_path / "nan.safetensors")
    options = [word for word in OPTIONS if word not in {"--weights", "seeded"}]
    said = sentence(
        start_training(
            *(product, "-o", tmp_path / "run", *options, "--weights", tmp_path / "nan.safetensors"),
            cache=tmp_path / "cache",
        )
    )
    assert "yields NaN or infinity" in said


# Where it runs


def test_a_user_without_a_home_or_a_name(product: Path) -> None:
    """As in a container under a number: no HOME, no entry in the list of users."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    folder = Path(tempfile.mkdtemp())
    try:
        data = shutil.copytree(product, folder / "product")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o777)
        script = (
            "import os, sys, torch, timm, onnx, sklearn, FrEIA;"
            "import ast_edge.train.pipeline, ast_edge.train.options, ast_edge.verdict.scoring;"
            "from ast_edge.cli import main;"
            "os.setgid(54321); os.setuid(54321);"
            "sys.exit(main())"
        )
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in {"HOME", "XDG_CACHE_HOME", "AST_EDGE_CACHE", "USER", "LOGNAME"}
        }
        environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "export")])}
        environment |= {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
        words = ["train", str(data), "-o", str(folder / "run"), *DEPTH]
        done = subprocess.run(
            [sys.executable, "-c", script, *words],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        (said,) = (line for line in done.stderr.splitlines() if "AST_EDGE_CACHE" in line)
        assert str(folder / "ast-edge-54321") in said
        assert list((folder / "ast-edge-54321" / "features").iterdir())
    finally:
        shutil.rmtree(folder)


def test_names_that_are_not_utf_8(product: Path, tmp_path: Path) -> None:
    """File names are bytes: older cameras write them in their own encoding."""
    for kind, count in (("good", 12), ("bad", 4)):
        folder = tmp_path / os.fsdecode(b"K\xfcche") / kind
        folder.mkdir(parents=True)
        source = product / ("train/good/rgb" if kind == "good" else "test/dent/rgb")
        for number, path in enumerate(sorted(source.iterdir())[:count]):
            shutil.copy(path, folder / os.fsdecode(b"T\xfcr%d.png" % number))
        if kind == "bad":
            shutil.copy(sorted(source.iterdir())[0], tmp_path / "x.png")
    data = tmp_path / os.fsdecode(b"K\xfcche")
    run = tmp_path / os.fsdecode(b"L\xe4ufe")
    process = start_training(data / "good", "-o", run, *OPTIONS, cache=tmp_path / "cache")
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert "K\\xfcche" in Run(run).config().data_path
    script = "import sys; from ast_edge.cli import main; sys.exit(main())"
    test = product / "test" / "good" / "rgb"
    done = subprocess.run(
        [
            *(sys.executable, "-c", script, "evaluate", run, test, "--defective", data / "bad"),
            *("--json", tmp_path / "f.json", "--report", tmp_path / "r.html"),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "export")])},
        capture_output=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "T\\\\xfcr0.png" in (tmp_path / "f.json").read_text()
    assert "T\\xfcr" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_files_get_the_mode_that_the_umask_leaves(product: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        process = start_training(product, "-o", tmp_path / "run", *DEPTH, cache=tmp_path / "cache")
    finally:
        os.umask(before)
    process.communicate()
    assert process.returncode == 0
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_all_black_pictures(product: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dark"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / f"{number:02}.png")
    said = sentence(start_training(folder, "-o", tmp_path / "run", *OPTIONS, cache=tmp_path / "cache"))
    assert said.startswith("12 of 12 good parts cannot be used: ")
    assert "00.png: all its pixels are equal (RGB 0, 0, 0), so it shows no part" in said
    assert not (tmp_path / "run").exists()
