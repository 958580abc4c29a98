"""The library looks nothing up: OpenVINO's telemetry is in its Python package alone."""

from __future__ import annotations

from pathlib import Path

from tests.telemetry.watched import Watched, compile_recorder


def test_the_library_looks_nothing_up(build: Path, tiny_rgb: Path, tmp_path: Path) -> None:
    watched = Watched(compile_recorder(tmp_path), tmp_path / "home")
    program = next(path for path in build.rglob("ast_edge_bench") if path.is_file())
    done = watched.executable(program, tiny_rgb, "--frame", "64x64", "--iterations", "2000")
    assert done.returncode == 0, done.stderr
    assert (watched.turned_to(), watched.left_at_home()) == ([], [])
