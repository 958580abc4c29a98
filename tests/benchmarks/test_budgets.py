"""Budgets that are kept: import, first verdict, and the size of the wheel (in test_imports.py)."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from ast_edge.train.config import preset
from benchmarks.common.command import module
from benchmarks.common.untrained import write_model
from benchmarks.speed import startup
from tests.paths import ROOT
from tests.test_imports import MAX_WHEEL_BYTES

pytestmark = [pytest.mark.slow, pytest.mark.alone]


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preset `nano` at its full size, with random weights."""
    folder = tmp_path_factory.mktemp("nano")
    write_model("nano", preset("nano", "rgb"), folder)
    return folder / "nano.onnx"


def test_importing_the_runtime_costs_little() -> None:
    assert startup.import_ratio("ast_edge.inspector", 5) < startup.MAX_IMPORT_RATIO


def test_the_first_verdict_of_nano_comes_soon(nano: Path) -> None:
    found = startup.first_verdict(nano, "onnxruntime", 3)
    assert found["min_s"] < startup.MAX_FIRST_VERDICT_S
    assert 20e6 < found["resident_bytes"] < 1e9


def test_an_expensive_import_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second of work at import breaks the budget, half a second of sleep costs nothing."""
    body = "import ast_edge.inspector, time\nend = time.process_time() + 0.5\n"
    (tmp_path / "busy.py").write_text(body + "while time.process_time() < end: pass\n")
    (tmp_path / "idle.py").write_text("import time\ntime.sleep(0.5)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert startup.import_ratio("busy", 1) > startup.MAX_IMPORT_RATIO
    assert startup.import_cpu_s("idle", 1) < 0.2


def test_the_wheel_is_as_large_as_what_it_holds(tmp_path: Path) -> None:
    assert startup.MAX_WHEEL_BYTES == MAX_WHEEL_BYTES
    size = startup.wheel_bytes(tmp_path)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = sum(entry.compress_size for entry in archive.infolist())
    assert packed < size < MAX_WHEEL_BYTES


def test_installed_sizes_hold_what_an_extra_brings() -> None:
    bare, cpu = startup.installed(""), startup.installed("cpu")
    assert {"numpy", "pillow", "pydantic", "typer"} <= set(bare)
    assert "onnxruntime" not in bare
    assert cpu["onnxruntime"] > 1e7
    assert cpu["all"] == sum(size for name, size in cpu.items() if name != "all")


def test_the_dry_run_writes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "startup.json"
    command = [*module("speed.startup"), "-o", str(output), "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not output.exists()
    assert json.loads(done.stdout)["first_verdict"]["nano openvino"]["min_s"] > 0


def test_the_sizes_of_an_install_are_those_of_its_packages(tmp_path: Path) -> None:
    output = tmp_path / "installed.json"
    subprocess.run([*module("speed.startup"), "--sizes", "-o", output], check=True, cwd=ROOT)
    sizes = json.loads(output.read_text())["installed_bytes"]
    assert list(sizes) == ["cpu", "cpu,line", "cpu,train,line"]
    for found in sizes.values():
        assert found["all"] == sum(size for name, size in found.items() if name != "all")
    assert sizes["cpu"]["numpy"] > 10e6
    assert "torch" not in sizes["cpu,line"]
    assert sizes["cpu,train,line"]["torch"] > 100e6
    assert sizes["cpu"].keys() < sizes["cpu,line"].keys() < sizes["cpu,train,line"].keys()
