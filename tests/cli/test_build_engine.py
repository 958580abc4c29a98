"""`ast-edge build-engine` on a machine that cannot build: checks and errors."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from ast_edge.inspector import Inspector
from ast_edge.model.engine_file import read_engine_file
from tests.cli.conftest import Cli
from tests.standin.install import standins
from tests.tiny import grey, write_tiny_model

on_a_machine_without_tensorrt = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed on this machine"
)


@on_a_machine_without_tensorrt
def test_what_is_missing_and_how_to_get_it(cli: Cli, tiny_rgb: Path) -> None:
    done = cli("build-engine", tiny_rgb)
    assert done.code == 1
    assert not done.out
    assert str(tiny_rgb.with_suffix(".engine")) in done.error
    for words in ("not installed", "nvidia-jetpack", 'pip install ".[tensorrt]"'):
        assert words in done.error
    assert not tiny_rgb.with_suffix(".engine").exists()


@on_a_machine_without_tensorrt
def test_the_engine_file_asked_for_is_named(cli: Cli, tiny_rgb: Path, tmp_path: Path) -> None:
    assert (
        str(tmp_path / "other.engine") in cli("build-engine", tiny_rgb, "-o", tmp_path / "other.engine").error
    )


def test_the_model_is_checked_first(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("this is no model")
    done = cli("build-engine", path)
    assert done.code == 1
    assert "not an ONNX file" in done.error


def test_impossible_engine_files(cli: Cli, tiny_rgb: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.engine").mkdir()
    for output in (tmp_path / "model.plan", tmp_path / "folder.engine"):
        done = cli("build-engine", tiny_rgb, "-o", output)
        assert done.code == 2
        assert str(output) in done.error


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("cc") is None, reason="there is no C compiler to make a stand-in for the driver"
)
@on_a_machine_without_tensorrt
def test_a_driver_without_a_gpu_and_no_driver_have_different_errors(
    process: Cli, tiny_rgb: Path, tmp_path: Path
) -> None:
    source = tmp_path / "driver.c"
    source.write_text("int cuInit(unsigned flags) { return flags == 0 ? 100 : 1; }")
    subprocess.run(["cc", "-shared", "-o", tmp_path / "libcuda.so.1", source], check=True)
    done = process("build-engine", tiny_rgb, environment={"LD_LIBRARY_PATH": str(tmp_path)})
    assert done.code == 1
    assert "finds no usable GPU (cuInit answers 100)" in done.error


@pytest.mark.parametrize("batch", ["0", "-1", "one", "1:2", "4:2:8", "1:2:3:4", "", "1:2:x"])
def test_impossible_batches(cli: Cli, tiny_rgb: Path, batch: str) -> None:
    done = cli("build-engine", tiny_rgb, "--batch", batch)
    assert done.code == 2
    assert f"--batch {batch}" in done.error


@pytest.mark.driver
def test_on_a_stand_in_machine(cli: Cli, kernel_library: Path, own_cache: None, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path, "rgb")
    with standins(kernel_library):
        check_commands(cli, model)


def check_commands(cli: Cli, model: Path) -> None:
    done = cli("build-engine", model, "--precision", "fp32", "--json")
    assert done.code == 0
    assert json.loads(done.out)["proven"]["vectors"] > 0
    assert "workspace: up to 4096 MiB of 8192 MiB that are free" in done.err
    engine = model.with_suffix(".engine")
    done = cli("build-engine", model, "--precision", "fp32", "-o", engine, "--no-verify")
    assert "left out (--no-verify)" in done.out
    assert "reproduces the model" in cli("verify", engine).out
    assert json.loads(cli("info", engine, "--json").out)["manifest"]["mode"] == "rgb"
    picture = model.with_name("good.png")
    Image.fromarray(grey()).save(picture)
    assert "1 pass" in cli("inspect", engine, picture).out
    done = cli("inspect", engine, picture, "--threads", 2)
    assert (done.code, "leave out the number of threads" in done.error) == (2, True)
    done = cli("calibrate", engine, "--restore", 1)
    assert done.code in (1, 2)  # a tiny model has no calibration to go back to
    assert read_engine_file(engine).manifest.threshold.value == 0.1
    with Inspector.open(engine) as inspector:
        assert inspector.inspect(grey(), colour="rgb").verdict == "pass"
