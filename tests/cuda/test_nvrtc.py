"""The kernels compile with NVRTC for the GPUs of TensorRT for RTX; no GPU is needed for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from ast_edge.cuda import compile as compiler
from ast_edge.cuda.nvrtc import compile_cubin, find_nvrtc
from ast_edge.errors import BackendError
from ast_edge.trt.gpus import CAPABILITIES


@pytest.fixture
def nvrtc() -> Path:
    found = find_nvrtc()
    if found is None:
        pytest.skip('nvidia-cuda-nvrtc is not installed: pip install ".[rtx]"')
    return found


@pytest.mark.slow
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_the_kernels_compile_where_there_is_no_nvcc(
    nvrtc: Path, capability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "find_nvcc", lambda: None)
    kernels = compiler.compile_kernels("sm_" + capability.replace(".", ""))
    assert kernels.startswith(b"\x7fELF")
    for name in (b"ast_edge_rows", b"ast_edge_levels", b"ast_edge_depth_foreground"):
        assert name in kernels


def test_a_source_that_does_not_compile_is_refused_in_the_compilers_words(nvrtc: Path) -> None:
    with pytest.raises(
        BackendError, match=r'does not compile the kernels: .*identifier "nothing" is undefined'
    ):
        compile_cubin(nvrtc, "int x = nothing;", {}, ("--gpu-architecture=sm_89",))


def test_a_library_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "libnvrtc.so.13").write_bytes(b"no library")
    with pytest.raises(BackendError, match="cannot be loaded"):
        compile_cubin(tmp_path / "libnvrtc.so.13", "", {}, ())


def test_without_both_compilers_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "find_nvcc", lambda: None)
    monkeypatch.setattr(compiler, "find_nvrtc", lambda: None)
    with pytest.raises(BackendError, match=r"neither nvcc nor NVRTC: .*pip install nvidia-cuda-nvrtc"):
        compiler.compile_kernels("sm_89")
