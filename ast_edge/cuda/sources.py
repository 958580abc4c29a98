"""The sources of the kernels; nothing is imported, so that a build of the wheel can read this."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

SOURCE = Path(__file__).with_name("preprocess.cu")
# All sources of a GPU's machine code; cpp_bridge/cmake/library.cmake takes them in the same order.
SOURCES = (SOURCE, *map(SOURCE.with_name, ("common.cuh", "depth.cuh", "image.cuh", "pixels.cuh")))

NOT_COMPILED = "not compiled"
LIBRARY = Path(__file__).with_name("host_kernels.so")  # made by host_build.py
HOST_SOURCE = SOURCE.with_name("host_kernels.cpp")
HOST_SOURCES = (HOST_SOURCE, SOURCE.with_name("host_shim.h"), *SOURCES)
# Multiplications and additions are rounded one by one, as NumPy does: the decisions of depth maps rest on it.
# Hidden: the loader takes inline variables of one name for one, in all libraries of a process.
_HIDDEN = ("-fvisibility=hidden", "-fvisibility-inlines-hidden", "-Wl,-Bsymbolic")
HOST_OPTIONS = ("-std=c++17", "-O3", "-ffp-contract=off", *_HIDDEN, "-fPIC", "-shared", "-s")


def host_sha256() -> str:
    """Digest of the sources of the library for the CPU and of how they are compiled."""
    return digest_of(HOST_SOURCES, HOST_OPTIONS)


def digest_of(sources: Iterable[Path], options: Iterable[str]) -> str:
    """SHA-256 of sources and of how they are compiled."""
    source = b"".join(path.read_bytes() for path in sources)
    return hashlib.sha256(source + " ".join(options).encode()).hexdigest()
