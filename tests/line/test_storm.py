"""A short run of `benchmarks.line.fault_storm`: every fault once, with the real counterparts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ast_edge.cameras.gi_bindings import load
from ast_edge.errors import CameraError
from benchmarks.common.command import module
from tests.paths import ROOT
from tests.waiting import program

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def test_every_part_has_one_verdict_whatever_fails(tmp_path: Path, tiny_rgb: Path) -> None:
    program("mosquitto", "mosquitto")
    try:
        load("Aravis", "0.8")
    except CameraError as exc:
        pytest.skip(str(exc))
    if os.geteuid() != 0:
        pytest.skip("a small disk of its own (tmpfs) takes root")
    second = tmp_path / "second"
    shutil.copytree(tiny_rgb.parent, second)
    result = tmp_path / "storm.json"
    command = [*module("line.fault_storm"), "--once", "--calm-s", "2"]
    models = ["--models", str(tiny_rgb), str(second / tiny_rgb.name)]
    done = subprocess.run(
        [*command, *models, "-o", str(result), "--log", str(tmp_path / "log")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )
    assert result.exists(), done.stderr
    found = json.loads(result.read_text())
    assert found["problems"] == []
    assert done.returncode == 0
    assert set(found["faults"]) == {
        "camera",
        "plc",
        "broker",
        "disk",
        "engine_raise",
        "engine_hang",
        "clock",
        "recipe",
        "SIGTERM",
        "SIGKILL",
        "stopped",
        "starved",
        "slow_plc",
        "silent_plc",
        "late_camera",
    }
    assert found["pictures"]["of_another_part"] == 0
    assert found["pictures"]["judged"] > 20
    assert found["parts"] == sum(found["verdicts"].values())
    assert found["verdicts"]["pass"] > 20
    assert found["verdicts"]["fault"] > 20
