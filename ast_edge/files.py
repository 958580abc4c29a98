"""Files that are whole or not there: atomic writes, locks, and SHA-256 without reading a file into memory."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_BLOCK = 1 << 20


def cache_root() -> Path:
    """`$AST_EDGE_CACHE`, else `ast-edge` in the user's cache folder."""
    if own := os.environ.get("AST_EDGE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ast-edge"


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Let an OSError of the block that names no file name `path`: a full disk says only that it is full."""
    try:
        yield
    except OSError as exc:
        if exc.filename is None and exc.errno is not None:
            exc.filename = str(path)
        raise


def claim(lock: Path, *, wait: bool = False) -> IO[bytes]:
    """Lock the file `lock`, made with its folder where there is none, until the returned stream is closed.

    Only one holder at a time, in this process and all others. Raises BlockingIOError while there is another,
    unless `wait`; any other OSError where the folder or the file system refuses. Both name the file.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    stream = lock.open("ab")
    try:
        with named_errors(lock):
            fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        stream.close()
        raise
    return stream


@contextlib.contextmanager
def atomic_path(target: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path in `target`'s folder; rename it to `target` on success, delete it on error.

    Without `sync` the system writes to the disk when it likes: whole after a crash of the process, perhaps
    not after a power failure.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        with named_errors(target):
            yield temporary
            if sync:
                with temporary.open("rb") as stream:
                    os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(target: Path, data: bytes | memoryview, *, sync: bool = True) -> None:
    """Write `data` to `target` atomically; see `atomic_path`."""
    with atomic_path(target, sync=sync) as temporary:
        temporary.write_bytes(data)


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8 to `target` atomically."""
    write_bytes(target, text.encode())


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content as 64 hexadecimal digits, read block by block."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
