"""`ast-edge build-engine` in a version that cannot build: what it checks and what it says."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

from ast_edge import engine_build
from tests.cli.conftest import Cli

on_a_machine_without_tensorrt = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed on this machine"
)


@on_a_machine_without_tensorrt
def test_what_is_missing_and_how_to_get_it(cli: Cli, tiny_rgb: Path) -> None:
    done = cli("build-engine", tiny_rgb)
    assert done.code == 1
    assert not done.out
    assert str(tiny_rgb.with_suffix(".engine")) in done.error
    for words in ("tensorrt is not installed", "nvidia-jetpack", 'pip install "ast-edge[tensorrt]"'):
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


@pytest.mark.skipif(
    shutil.which("cc") is None, reason="there is no C compiler to make a stand-in for the driver"
)
@on_a_machine_without_tensorrt
def test_a_driver_without_a_gpu_is_told_from_no_driver(process: Cli, tiny_rgb: Path, tmp_path: Path) -> None:
    source = tmp_path / "driver.c"
    source.write_text("int cuInit(unsigned flags) { return flags == 0 ? 100 : 1; }")
    subprocess.run(["cc", "-shared", "-o", tmp_path / "libcuda.so.1", source], check=True)
    done = process("build-engine", tiny_rgb, environment={"LD_LIBRARY_PATH": str(tmp_path)})
    assert done.code == 1
    assert "finds no usable GPU (cuInit answers 100)" in done.error


def test_where_nothing_is_missing_it_says_that_it_cannot_build_yet(
    cli: Cli, tiny_rgb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_build, "missing_for_tensorrt", tuple)
    done = cli("build-engine", tiny_rgb)
    assert done.code == 1
    assert "this version of ast-edge runs ONNX models only" in done.error
