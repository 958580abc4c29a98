"""The audit log's file: lines are appended and synced, a torn end is moved aside, full files are renamed."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from ast_edge.errors import LineError
from ast_edge.files import claim, named_errors, sha256_file, write_bytes
from ast_edge.line.audit.chain import MOST_LINE_BYTES, START, make_line, read_line, segments

# Time in seconds since the epoch, run, kind, details as JSON.
NewEntry = tuple[float, str, str, str]


class AuditFile:
    """For one thread; `head`, the digest of the last entry, may be read by any."""

    def __init__(self, path: Path, rotate_bytes: int, run: str) -> None:
        self._path = path
        self._run = run
        self._torn: list[NewEntry] = []
        self._rotate_bytes = rotate_bytes
        self._file: int | None = None
        self._lock_file: IO[bytes] | None = None
        self._size = 0
        self._n = 0
        self.head = START

    def append(self, entries: Sequence[NewEntry]) -> None:
        """Append the entries and sync them to disk: all of them or none.

        Raises OSError, or LineError if another process writes the log; the next call opens the file again.
        """
        try:
            with named_errors(self._path):
                self._open()
                self._write([*self._torn, *entries])
        except BaseException:
            self.close()
            raise
        self._torn.clear()
        if self._size >= self._rotate_bytes:
            with contextlib.suppress(OSError):  # the file then grows until it can be renamed
                self._rotate()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
        if self._lock_file is not None:
            self._lock_file.close()
        self._file = self._lock_file = None

    def _write(self, entries: Sequence[NewEntry]) -> None:
        assert self._file is not None  # noqa: S101 (opened by the caller)
        n, head, data = self._n, self.head, b""
        for wall_s, run, kind, details in entries:
            n += 1
            line, head = make_line(n, wall_s, run, kind, details, head)
            data += line
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
            os.fsync(self._file)
        except BaseException:
            # A partial line on a full disk is not an entry; if truncating fails too, the next start finds it.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise
        self._n, self.head, self._size = n, head, self._size + len(data)

    def _open(self) -> None:
        if self._file is not None:
            if self._same_file():
                return
            self.close()  # the file was removed or replaced: continue with the current one
        self._take_lock()
        self._put_aside()
        self._n, self.head = self._last()
        self._file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._file).st_size
        _sync_folder(self._path.parent)

    def _same_file(self) -> bool:
        assert self._file is not None  # noqa: S101
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        ours = os.fstat(self._file)
        return (found.st_dev, found.st_ino, found.st_size) == (ours.st_dev, ours.st_ino, self._size)

    def _take_lock(self) -> None:
        try:
            self._lock_file = claim(self._path.with_name(f".{self._path.name}.lock"))
        except BlockingIOError as exc:
            raise LineError(f"{self._path}: another process writes this log; give another file.") from exc

    def _put_aside(self) -> None:
        """Move an end without line feed to a separate file; an entry will record it."""
        tail = _tail(self._path)
        torn = tail[tail.rfind(b"\n") + 1 :]
        if not torn:
            return
        number = 1
        while (aside := self._path.with_name(f"{self._path.name}.torn-{number}")).exists():
            number += 1
        if len(torn) == len(tail):  # no line feed in the tail: the file has no complete entry
            self._path.rename(aside)
        else:
            write_bytes(aside, torn)
            os.truncate(self._path, self._path.stat().st_size - len(torn))
        facts = {"bytes": aside.stat().st_size, "sha256": sha256_file(aside), "kept_in": aside.name}
        self._torn.append((time.time(), self._run, "torn", json.dumps(facts, separators=(",", ":"))))

    def _last(self) -> tuple[int, str]:
        """Return number and digest of the last entry."""
        for file in reversed(segments(self._path)):
            tail = _tail(file).removesuffix(b"\n")
            if tail:
                return _numbered(tail.split(b"\n"))
        return 0, START

    def _rotate(self) -> None:
        numbers = [int(file.suffix[1:]) for file in segments(self._path) if file != self._path]
        target = self._path.with_name(f"{self._path.name}.{max(numbers, default=0) + 1:06d}")
        self._path.rename(target)
        _sync_folder(self._path.parent)
        self.close()


def _numbered(lines: list[bytes]) -> tuple[int, str]:
    """Return those of the last line; invalid lines count too, so that verification reports only them."""
    link = read_line(lines[-1]).link
    for distance, raw in enumerate(reversed(lines)):
        entry = read_line(raw).entry
        if entry is not None:
            return entry.n + distance, link
    return len(lines), link


def _tail(file: Path) -> bytes:
    """Return the end of a file, enough for its last lines; empty if the file does not exist."""
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(size - 4 * MOST_LINE_BYTES, 0))
            return stream.read()
    except FileNotFoundError:
        return b""


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
