"""Checks of `ast-edge doctor` in separate processes: libraries that raise, crash, print or hang."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ast_edge.doctor import examining
from ast_edge.doctor.finding import Finding
from tests.doctor.test_doctor import levels
from tests.waiting import wait_for


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, code: str) -> None:
    """A module that is found before the one installed, in the process of the look only."""
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(code)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])


def test_a_library_that_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path / "lib", monkeypatch, "onnxruntime", "raise ImportError('libgomp.so.1 is\\nmissing')")
    (found,) = examining.look_apart("ONNX Runtime", 60)
    assert levels([found]) == ["problem"]
    assert found.found == "failed: ImportError: libgomp.so.1 is missing"


def test_a_library_that_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, sys; print('bad GPU', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)"
    stand_in(tmp_path / "lib", monkeypatch, "onnxruntime", code)
    (found,) = examining.look_apart("ONNX Runtime", 60)
    assert levels([found]) == ["problem"]
    assert "signal 9: bad GPU" in found.found


@pytest.mark.slow
def test_a_library_that_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import os; os.write(1, b'hello'); print('hello'); __version__ = '1.2'\n"
        "def get_available_providers(): return {}"
    )
    stand_in(tmp_path / "lib", monkeypatch, "onnxruntime", code.replace("{}", "['CPUExecutionProvider']"))
    assert examining.look_apart("ONNX Runtime", 60) == [Finding("ok", "ONNX Runtime", "1.2")]
    stand_in(tmp_path / "lib", monkeypatch, "onnxruntime", code)
    assert levels(examining.look_apart("ONNX Runtime", 60)) == ["problem"]


@pytest.mark.slow
def test_a_library_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = tmp_path / "pid"
    code = f"import os, time; open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    stand_in(tmp_path / "lib", monkeypatch, "onnxruntime", code)
    (found,) = examining.look_apart("ONNX Runtime", 5)
    assert levels([found]) == ["problem"]
    assert found.found == "did not answer within 5 s"
    if started.exists():  # else the machine was too slow to come so far
        wait_for(lambda: not Path(f"/proc/{started.read_text()}").exists())


def test_inspection_needs_one_engine_that_is_usable() -> None:
    good = [Finding("ok", name, "1.0") for name in examining.ENGINES]
    bad = [Finding("note", name, "not installed", "Install it.") for name in examining.ENGINES]
    assert examining.inspection([good[0], bad[1]]).found == "possible, by ONNX Runtime"
    assert examining.inspection([bad[0], good[1]]).found == "possible, by TensorRT"
    assert examining.inspection(good[:2]).found == "possible, by ONNX Runtime, TensorRT"
    assert examining.inspection(good).found == "possible, by ONNX Runtime, TensorRT, TensorRT for RTX"
    assert levels([examining.inspection([*bad, Finding("ok", "GPU", "there")])]) == ["problem"]
