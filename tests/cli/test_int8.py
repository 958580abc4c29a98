"""`ast-edge export --precision int8`, and commands on its model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli

pytestmark = pytest.mark.usefixtures("own_cache", "one_thread")


def test_int8_is_exported_verified_and_inspects(
    cli: Cli, rgb_run: Path, product: Path, tmp_path: Path
) -> None:
    done = cli("export", rgb_run, "-o", tmp_path / "m.onnx", "--precision", "int8", "--data", product)
    assert done.code == 0, done.err
    assert "layers in INT8; held-out false rejects" in done.out.splitlines()[1]
    assert {path.name for path in tmp_path.iterdir()} == {
        *("m.onnx", "m.int8.onnx", "m.int8.json", "m.reference.safetensors"),
    }
    done = cli("verify", tmp_path / "m.int8.onnx")
    assert done.code == 0
    assert "allowed 0.05" in done.out
    picture = product / "test" / "good" / "rgb" / "000.png"
    assert cli("inspect", tmp_path / "m.int8.onnx", picture).code == 0
    assert cli("calibrate", tmp_path / "m.int8.onnx", picture.parent).code == 0
    assert cli("verify", tmp_path / "m.int8.onnx").code == 0


@pytest.mark.parametrize("precision", ["int4", "fp16,int4", "fp16,fp16", "", "fp16 int8"])
def test_no_such_precision(cli: Cli, rgb_run: Path, tmp_path: Path, precision: str) -> None:
    done = cli("export", rgb_run, "-o", tmp_path / "m.onnx", "--precision", precision)
    assert done.code == 2
    assert "expected fp32, fp16 or int8" in done.error


def test_data_is_for_int8_alone(cli: Cli, rgb_run: Path, product: Path, tmp_path: Path) -> None:
    done = cli("export", rgb_run, "-o", tmp_path / "m.onnx", "--data", product)
    assert (done.code, done.error) == (2, "--data is for --precision int8; leave it out.")
