"""tests/gpu on stand-ins: the tests themselves work. What they compute here proves nothing of a GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_the_gpu_tests_run_through_on_stand_ins(depth_model: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu"],
        cwd=ROOT,
        env={**os.environ, "AST_EDGE_STANDIN": "1", "AST_EDGE_MODELS": str(depth_model.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "passed" in done.stdout


def test_the_gpu_tests_need_no_torch() -> None:
    """They run on a device, which has none of the packages of training, and no Pillow either."""
    absent = ("torch", "timm", "FrEIA", "onnxsim", "sklearn", "scipy", "safetensors", "tifffile", "PIL")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent})); "
        "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "-q", "-p", "no:cacheprovider", "--collect-only", "tests/gpu"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
