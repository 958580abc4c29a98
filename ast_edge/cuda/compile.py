"""The kernels as machine code for one GPU: compiled by nvcc or NVRTC, kept by the digest of their source."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from ast_edge.cuda.nvrtc import compile_cubin, find_nvrtc
from ast_edge.cuda.sources import SOURCE, SOURCES, digest_of
from ast_edge.errors import BackendError
from ast_edge.files import cache_root, write_bytes

# Contracted multiplications and additions would round depths differently from the reference.
_OPTIONS = ("-cubin", "-O3", "-fmad=false", "-std=c++14")
_SECONDS = 300


def source_sha256() -> str:
    """Digest of the kernels' source and of how it is compiled."""
    return digest_of(SOURCES, _OPTIONS)


def find_nvcc() -> Path | None:
    """The path of nvcc: on the PATH, or in the folder of NVIDIA's packages."""
    found = shutil.which("nvcc")
    usual = Path("/usr/local/cuda/bin/nvcc")
    return Path(found) if found else usual if usual.exists() else None


def compiled_kernels(architecture: str) -> bytes:
    """The kernels for `architecture` ("sm_87") from the cache, or compiled and kept there.

    Raises BackendError when they must be compiled and the compiler is missing or fails.
    """
    cached = cache_root() / "kernels" / f"{source_sha256()[:24]}-{architecture}.cubin"
    if cached.exists():
        return cached.read_bytes()
    kernels = compile_kernels(architecture)
    write_bytes(cached, kernels)
    return kernels


def compile_kernels(architecture: str) -> bytes:
    """Run nvcc, or NVRTC where there is none. Raises BackendError when both are missing or one fails."""
    nvcc = find_nvcc()
    if nvcc is None and (library := find_nvrtc()):
        headers = {path.name: path.read_text(encoding="utf-8") for path in SOURCES if path != SOURCE}
        options = (f"--gpu-architecture={architecture}", "--fmad=false", "--std=c++14")
        return compile_cubin(library, SOURCE.read_text(encoding="utf-8"), headers, options)
    if nvcc is None:
        raise BackendError(
            "the kernels that prepare frames on the GPU must be compiled, and this machine has neither nvcc "
            "nor NVRTC: on a Jetson `sudo apt install nvidia-jetpack`, on a desktop "
            "`pip install nvidia-cuda-nvrtc`."
        )
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "preprocess.cubin"
        command = [str(nvcc), *_OPTIONS, f"-arch={architecture}", "-o", str(target), str(SOURCE)]
        try:
            done = subprocess.run(  # noqa: S603 (nvcc on our own source)
                command, capture_output=True, text=True, timeout=_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise BackendError(f"{nvcc} cannot be run: {exc}.") from exc
        if done.returncode:
            words = " ".join((done.stderr or done.stdout).split())[-500:]
            raise BackendError(f"{nvcc} does not compile the kernels for {architecture}: {words}.")
        return target.read_bytes()
