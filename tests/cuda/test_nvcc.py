"""The kernels compile for the GPUs they are meant for; no GPU is needed for that."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ast_edge.cuda.sources import SOURCE

pytestmark = pytest.mark.slow

FLAGS = ("-fmad=false", "-Werror", "all-warnings", "-cubin")


@pytest.fixture(scope="module")
def nvcc() -> str:
    found = shutil.which("nvcc", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/cuda/bin")))
    if found is None:
        pytest.skip("nvcc is neither in PATH nor in /usr/local/cuda/bin")
    return found


@pytest.mark.parametrize("arch", ["sm_80", "sm_87", "sm_90", "sm_110"])
def test_kernels_compile_without_warnings(nvcc: str, arch: str, tmp_path: Path) -> None:
    known = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout
    if arch not in known.split():
        pytest.skip(f"{nvcc} does not know {arch}")
    cubin = tmp_path / "preprocess.cubin"
    command = [nvcc, *FLAGS, f"-arch={arch}", str(SOURCE), "-o", str(cubin)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert cubin.read_bytes().startswith(b"\x7fELF")
