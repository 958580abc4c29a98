"""What needs a GPU, on the software driver: our kernels on the CPU, and the tests' stand-in for TensorRT.

It shows that our calls keep CUDA's rules; what they compute proves nothing of a GPU.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.standin import software_gpu

pytestmark = pytest.mark.slow
ON_THE_DRIVER = (
    "tests/gpu",
    "tests/backends/test_engine_build.py",
    "tests/backends/test_engine_files.py",
    "tests/backends/test_rtx.py",
    "tests/backends/test_gpu_errors.py",
    "tests/cli/test_build_engine.py",
)


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    if missing := software_gpu.why_not():
        pytest.skip(missing)
    return software_gpu.environment()


@pytest.mark.parametrize("tests", ON_THE_DRIVER)
def test_on_the_software_driver(tests: str, environment: dict[str, str], depth_model: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests],
        cwd=ROOT,
        env={
            **environment,
            "AST_EDGE_STANDIN": "1",
            "AST_EDGE_MODELS": str(depth_model.parent),
            "AST_EDGE_DEPTH_MODEL": str(depth_model),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search(r"\d+ passed", done.stdout)


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
        env={**os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
