"""`ast-edge export --check-tensorrt` as typed; in processes of their own, which use one library each."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from ast_edge.wording import install_hint
from tests.cli.conftest import Cli

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason='tensorrt-rtx is not installed: pip install ".[rtx]"',
)
WITHOUT = "import sys; sys.modules['tensorrt_rtx'] = None"


@needs_rtx
def test_every_graph_is_built_and_its_types_are_reported(
    process: Cli, depth_run: Path, tmp_path: Path
) -> None:
    done = process("export", depth_run, "-o", tmp_path / "model.onnx", "--check-tensorrt")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert len(lines) == 8
    for first, precision in ((0, "FP32"), (4, "FP16")):
        assert lines[first + 1].startswith("  TensorRT for RTX 1.")
        assert ("FP16" in lines[first + 1]) == (precision == "FP16")
        assert lines[first + 2].startswith("  built for 8.0, 8.6, 8.9, 12.0, 12.1: ")
        assert lines[first + 3].startswith("  built for 7.5: ")
        assert lines[first + 3].endswith(f" convolutions of trunk and student in {precision}")


def test_without_the_package_nothing_is_exported(process: Cli, depth_run: Path, tmp_path: Path) -> None:
    done = process("export", depth_run, "-o", tmp_path / "model.onnx", "--check-tensorrt", before=WITHOUT)
    assert done.code == 2
    assert done.error == (
        f"--check-tensorrt: the Python package tensorrt-rtx is not installed; {install_hint('rtx')}."
    )
    assert not list(tmp_path.iterdir())
