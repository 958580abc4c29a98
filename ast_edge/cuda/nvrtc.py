"""NVRTC, NVIDIA's compiler as a library: a package of some tens of MB instead of the CUDA toolkit."""

from __future__ import annotations

import ctypes
import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path

from ast_edge.errors import BackendError

# One for each major version of CUDA; from 13 on without the number.
PACKAGES = ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12")


def find_nvrtc() -> Path | None:
    """The library of an installed package, or None."""
    for package in PACKAGES:
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found = (Path(str(file.locate())) for file in files if file.name.startswith("libnvrtc.so"))
        if path := next((path for path in found if path.exists()), None):
            return path
    return None


def compile_cubin(library: Path, source: str, headers: Mapping[str, str], options: Sequence[str]) -> bytes:
    """Machine code of `source`, which may include `headers` by name; `options` must name a real architecture.

    Raises BackendError with the compiler's message if it refuses the source or an option.
    """
    try:
        # NVRTC loads this one by its bare name, which works once it is loaded.
        for part in sorted(library.parent.glob("libnvrtc-builtins.so*")):
            ctypes.CDLL(str(part))
        nvrtc = ctypes.CDLL(str(library))
    except OSError as exc:
        raise BackendError(f"{library} cannot be loaded: {exc}.") from exc
    program = ctypes.c_void_p()
    names, texts = (_strings(part) for part in (headers.keys(), headers.values()))
    _ask(
        nvrtc,
        "nvrtcCreateProgram",
        *(ctypes.byref(program), source.encode(), b"kernels.cu", ctypes.c_int(len(headers)), texts, names),
    )
    try:
        status = nvrtc.nvrtcCompileProgram(program, ctypes.c_int(len(options)), _strings(options))
        if status:
            words = " ".join(_bytes(nvrtc, "ProgramLog", program).decode(errors="replace").split()).strip(
                "\0 "
            )
            raise BackendError(f"{library} does not compile the kernels: {words[-500:] or status}.")
        return _bytes(nvrtc, "CUBIN", program)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _strings(texts: object) -> ctypes.Array[ctypes.c_char_p]:
    encoded = [str(text).encode() for text in texts]  # type: ignore[attr-defined]
    return (ctypes.c_char_p * len(encoded))(*encoded)


def _bytes(nvrtc: ctypes.CDLL, what: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _ask(nvrtc, f"nvrtcGet{what}Size", program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    _ask(nvrtc, f"nvrtcGet{what}", program, text)
    return text.raw


def _ask(nvrtc: ctypes.CDLL, call: str, *arguments: object) -> None:
    status = getattr(nvrtc, call)(*arguments)
    if status:
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise BackendError(f"{call} answers {nvrtc.nvrtcGetErrorString(status).decode()}.")
