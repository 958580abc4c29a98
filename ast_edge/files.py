"""Atomic writes, file locks, and SHA-256 without reading a file into memory."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from ast_edge.errors import UsageError

_BLOCK = 1 << 20


def cache_root() -> Path:
    """Return `$AST_EDGE_CACHE`, else `ast-edge` in the user's cache folder, else a temporary folder.

    The last is for a user without a writable home folder, as in many containers; a message on stderr reports
    it. Raises UsageError if that folder is not owned by the user.
    """
    if own := os.environ.get("AST_EDGE_CACHE"):
        return Path(own)
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ast-edge"
        root.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as exc:  # RuntimeError: neither HOME nor an entry in the list of users
        return _temporary_cache(str(exc))
    return root if os.access(root, os.W_OK) else _temporary_cache(f"{root} cannot be written")


@functools.cache
def _temporary_cache(why: str) -> Path:
    folder = Path(tempfile.gettempdir()) / f"ast-edge-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise UsageError(f"{folder}: is not private to this user; set AST_EDGE_CACHE to another folder.")
    sys.stderr.write(
        f"ast-edge: the cache is kept in {folder} ({why}); AST_EDGE_CACHE names another folder.\n"
    )
    return folder


def printable(path: Path) -> str:
    """Return a file's name as printable text: bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Let an OSError of the block that names no file name `path`: for a full disk, the system names none."""
    try:
        yield
    except OSError as exc:
        if exc.filename is None and exc.errno is not None:
            exc.filename = str(path)
        raise


def claim(lock: Path, *, wait: bool = False) -> IO[bytes]:
    """Lock the file `lock`, created with its folder if missing, until the returned stream is closed.

    Only one holder at a time, across all processes. Raises BlockingIOError while another holds it, unless
    `wait`; other OSErrors of the folder or the file system. Both name the file.
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

    A link is followed: the file that it names is replaced. An existing file keeps its mode and, if permitted,
    its owner; a new one gets the mode of the process's umask. Without `sync` the system decides when to write
    to disk: the file is complete after a crash of the process, but perhaps not after a power failure.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    temporary.touch(0o666, exist_ok=False)
    try:
        with named_errors(target):
            yield temporary
            if sync:
                with temporary.open("rb") as stream:
                    os.fsync(stream.fileno())
            _take_over(temporary, target)
            temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _take_over(temporary: Path, target: Path) -> None:
    """Give `temporary` the mode and owner of the file that it will replace."""
    try:
        old = target.stat()
    except FileNotFoundError:
        return
    with contextlib.suppress(PermissionError):  # only root may change the owner
        os.chown(temporary, old.st_uid, old.st_gid)
    temporary.chmod(stat.S_IMODE(old.st_mode))


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of `atomic_path` that a kill left in `folder`; nothing else may write to it."""
    for left_behind in folder.glob(".*.tmp"):
        left_behind.unlink(missing_ok=True)


def write_bytes(target: Path, data: bytes | memoryview, *, sync: bool = True) -> None:
    """Write `data` to `target` atomically; see `atomic_path`."""
    with atomic_path(target, sync=sync) as temporary:
        temporary.write_bytes(data)


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8 to `target` atomically."""
    write_bytes(target, text.encode())


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits, read block by block."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def part_sha256(files: Iterable[Path]) -> str:
    """Return a SHA-256 for a part: over the digests of its files' contents, independent of their names."""
    return hashlib.sha256(" ".join(map(sha256_file, files)).encode()).hexdigest()
