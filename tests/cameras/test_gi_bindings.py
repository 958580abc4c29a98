"""The system's PyGObject in an environment that does not see the system's packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ast_edge.cameras.gi_bindings import load
from ast_edge.errors import CameraError
from tests.paths import ROOT


def fresh(script: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def system() -> None:
    try:
        load("GLib", "2.0")
    except CameraError as exc:
        pytest.skip(str(exc))


def test_only_the_one_package_is_taken_from_the_system(system: None) -> None:
    script = """
import sys
before = list(sys.path)
from ast_edge.cameras.gi_bindings import load
assert load("GLib", "2.0").MAJOR_VERSION == 2
assert sys.path == before
seen = {str(getattr(m, "__file__", None)) for name, m in sys.modules.items() if name.split(".")[0] != "gi"}
print([path for path in seen if "dist-packages" in path and not any(path.startswith(p) for p in before if p)])
"""
    assert fresh(script).strip() == "[]"


def test_two_threads_may_load_at_once(system: None) -> None:
    script = """
import threading
from ast_edge.cameras.gi_bindings import load
failed = []
def run():
    try:
        load("GLib", "2.0").MainLoop
    except BaseException as exc:
        failed.append(exc)
threads = [threading.Thread(target=run) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(failed)
"""
    assert fresh(script).strip() == "[]"


def test_what_is_missing_is_said_with_what_to_install(tmp_path: Path) -> None:
    package = tmp_path / "gi"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('of another Python')", encoding="utf-8")
    script = f"""
import sys
from pathlib import Path
from ast_edge.cameras import gi_bindings
from ast_edge.errors import CameraError
sys.meta_path.insert(0, type("NoGi", (), {{"find_spec": staticmethod(
    lambda name, *_: (_ for _ in ()).throw(ImportError(name)) if name == "gi" else None)}}))
gi_bindings._SYSTEM = Path({str(tmp_path)!r})
for _ in range(2):
    try:
        gi_bindings.load("Aravis", "0.8")
    except CameraError as exc:
        print(exc)
    (Path({str(package)!r}) / "_gi.abi3.so").touch()
assert "gi" not in sys.modules
"""
    first, second = fresh(script).splitlines()
    assert "sudo apt install python3-gi gir1.2-aravis-0.8" in first
    assert "--system-site-packages" in first
    assert "does not load in this Python: of another Python" in second


def test_a_library_that_is_missing_is_said_with_its_package(system: None) -> None:
    with pytest.raises(
        CameraError, match=r"Aravis 9\.9 is missing: .*sudo apt install python3-gi gir1.2-ara"
    ):
        load("Aravis", "9.9")
