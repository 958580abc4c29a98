"""`ast-edge doctor`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ast_edge import __version__
from tests.cli.conftest import Cli

EVERYWHERE = ("Python", "ast-edge", "ONNX Runtime", "GPU", "TensorRT", "OpenCV", "GStreamer", "Aravis")
MACHINE = ("Jetson", "clocks", "cameras", "network buffer", "gpiod", "GPIO", "memory", "disk", "time")


@pytest.mark.slow
def test_this_machine_as_text(cli: Cli) -> None:
    done = cli("doctor")
    assert (done.code, done.err) == (0, "")
    heads = [line for line in done.out.splitlines() if not line.startswith(" ")]
    reported = {line[9:28].strip(): line for line in heads}
    assert {*EVERYWHERE, *MACHINE} <= set(reported)
    assert {line[:9].strip() for line in heads} <= {"ok", "note", "warning", "problem"}
    assert reported["ast-edge"].endswith(__version__)
    assert reported["ONNX Runtime"].startswith("ok ")
    assert heads[-1].startswith("ok       inspection         possible, by ONNX Runtime")


@pytest.mark.slow
def test_this_machine_as_json(cli: Cli) -> None:
    done = cli("doctor", "--json")
    assert (done.code, done.err) == (0, "")
    content = json.loads(done.out)
    assert content["inspection"] is True
    assert {*EVERYWHERE, *MACHINE} <= {one["what"] for one in content["findings"]}
    for one in content["findings"]:
        assert set(one) == {"level", "what", "found", "fix"}
        assert one["found"]
        assert bool(one["fix"]) == (one["level"] != "ok")


@pytest.mark.slow
def test_without_any_engine(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that do not load, found before those installed, and every GPU hidden from the driver."""
    for name in ("onnxruntime", "cv2", "gi"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('broken on purpose')\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = cli("doctor", "--json")
    assert done.code == 1
    assert "neither ONNX Runtime nor TensorRT is usable" in done.error
    content = json.loads(done.out)
    assert content["inspection"] is False
    level = {one["what"]: one["level"] for one in content["findings"]}
    assert (level["ONNX Runtime"], level["OpenCV"], level["inspection"]) == ("problem", "problem", "problem")
    assert level["memory"] != "problem"


def test_help(cli: Cli) -> None:
    assert "doctor" in cli("--help").out
    assert "--json" in cli("doctor", "--help").out
