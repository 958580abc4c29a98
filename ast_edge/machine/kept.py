"""What a library compiled for this machine, kept between starts in a bounded folder of the cache.

Each file begins with the SHA-256 of its content: a damaged one counts as none, and what it held is compiled
again. Its key stands for all that it depends on: network, version of the library, device, options.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from ast_edge.files import cache_root, write_bytes

_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class KeptFiles:
    """The files `folder`/KEY`suffix` of the cache, each at most `most_bytes`, together `most_bytes_together`.

    The ones not used for the longest go first. Nothing here raises for a folder that cannot be written or a
    full disk: that costs time at the next start and nothing else.
    """

    folder: str
    suffix: str
    most_bytes: int
    most_bytes_together: int

    def path(self, key: str) -> Path:
        """The file of `key`."""
        return cache_root() / self.folder / f"{key}{self.suffix}"

    def read(self, key: str) -> bytes:
        """The kept bytes; empty if there are none, they are damaged, or they cannot be read."""
        path = self.path(key)
        with contextlib.suppress(OSError):
            if path.stat().st_size <= self.most_bytes + _DIGEST_BYTES:
                found = path.read_bytes()
                path.touch()  # in use: others are removed first
                digest, content = found[:_DIGEST_BYTES], found[_DIGEST_BYTES:]
                return content if hashlib.sha256(content).digest() == digest else b""
        return b""

    def keep(self, key: str, content: bytes) -> None:
        """Keep `content`, unless it is too large."""
        if len(content) > self.most_bytes:
            return
        path = self.path(key)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, hashlib.sha256(content).digest() + content)
            self._bound(path.parent)

    def _bound(self, folder: Path) -> None:
        files = sorted(folder.glob(f"*{self.suffix}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        together = 0
        for path in files:
            together += path.stat().st_size
            if together > self.most_bytes_together:
                path.unlink(missing_ok=True)
