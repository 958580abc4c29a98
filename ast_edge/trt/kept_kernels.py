"""Kernels that TensorRT for RTX compiled on this GPU, kept between starts: its runtime cache as files.

One file for every plan, GPU and version of the library. Together they take at most 256 MiB: the ones not used
for the longest go first. NVIDIA advises against a cache above 100 MB, which may take longer to read than it
saves.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from ast_edge.files import cache_root, write_bytes

SUFFIX = ".rtxcache"
MOST_BYTES = 100_000_000
MOST_BYTES_TOGETHER = 256 << 20


def kept_path(key: str) -> Path:
    """The file of the plan, GPU and version that `key` names."""
    return cache_root() / "rtx" / f"{key}{SUFFIX}"


def read_kept(key: str) -> bytes:
    """The kept bytes; empty if there are none or they cannot be read."""
    path = kept_path(key)
    with contextlib.suppress(OSError):
        if path.stat().st_size <= MOST_BYTES:
            content = path.read_bytes()
            path.touch()  # in use: others are removed first
            return content
    return b""


def keep(key: str, content: bytes) -> None:
    """Keep `content`, unless it is too large. A full disk costs time at the next start and nothing else."""
    if len(content) > MOST_BYTES:
        return
    path = kept_path(key)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
        _bound(path.parent)


def _bound(folder: Path) -> None:
    files = sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    together = 0
    for path in files:
        together += path.stat().st_size
        if together > MOST_BYTES_TOGETHER:
            path.unlink(missing_ok=True)
