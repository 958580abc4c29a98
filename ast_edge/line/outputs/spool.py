"""A folder of entries to send: one file per entry, written atomically, in order, and bounded.

It survives a kill -9. An entry that the disk refuses is kept in memory, which is counted and reported.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ast_edge.errors import LineError, reason
from ast_edge.files import claim, write_bytes

MAX_ENTRY_BYTES = 64 * 1024
_NAME = re.compile(r"([0-9]{12})-([A-Za-z0-9_.-]{1,128})\.json")
_TORN = re.compile(r"\.[0-9]{12}-[A-Za-z0-9_.-]{1,128}\.json\..*\.tmp")
_LOCK = ".lock"
_BLOCK_BYTES = 4096
_HELD_IN_MEMORY = 1000
_TRY_AGAIN_S = 1.0


@dataclass(frozen=True, eq=False)
class Entry:
    """An entry to send; in the file `path` or, if that is None, in `body`."""

    part_id: str
    room_bytes: int
    path: Path | None
    body: bytes = b""
    since_s: float = field(default_factory=time.monotonic)  # when it was added, or found at the start


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Waiting entries, of these those set aside and those only in memory; ones dropped for lack of room
    or as too old; unreadable ones; unfinished or foreign files in the folder; and why the disk is not used,
    if it is not.
    """

    waiting: int
    aside: int
    in_memory: int
    dropped: int
    damaged: int
    foreign: int
    error: str


class Spool:
    """Entries in the order of `add`, also across restarts; one thread adds, one takes.

    Entries that were set aside come after all others.

    At most `max_entries` using at most `max_bytes` of the disk are kept; beyond that the oldest is dropped.
    Only one process uses a folder at a time.
    """

    def __init__(self, folder: Path, max_entries: int, max_bytes: int) -> None:
        self._folder = folder
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque()
        self._aside: deque[Entry] = deque()
        self._bytes = self._in_memory = 0
        self._dropped = self._damaged = self._foreign = 0
        self._next = 1
        self._error = ""
        self._claim: IO[bytes] | None = None
        self._tried_at = -_TRY_AGAIN_S

    @property
    def counts(self) -> Counts:
        """Return the counts; from any thread, without waiting for the disk."""
        with self._lock:
            return Counts(
                waiting=len(self._entries) + len(self._aside),
                aside=len(self._aside),
                in_memory=self._in_memory,
                dropped=self._dropped,
                damaged=self._damaged,
                foreign=self._foreign,
                error=self._error,
            )

    # ---- for the thread that adds --------------------------------------------------------------------------

    def open(self) -> bool:
        """Lock the folder and find waiting entries; return whether that was possible. `add` retries it."""
        if self._claim is not None:
            return True
        if time.monotonic() - self._tried_at < _TRY_AGAIN_S:
            return False
        self._tried_at = time.monotonic()
        try:
            self._claim = claim(self._folder / _LOCK)
            found = self._find()
        except OSError as exc:
            self._let_go()
            taken = "another output or process uses it"
            why = taken if isinstance(exc, BlockingIOError) else reason(exc)
            self._set_error(f"the spool {self._folder} cannot be used ({why}); entries wait in memory only.")
            return False
        # They are older than entries added to memory since the start.
        self._insert(found, in_front=True)
        self._set_error("")
        return True

    def add(self, part_id: str, body: bytes) -> None:
        """Store an entry, on disk if possible. Raises LineError if it is too large."""
        if len(body) > MAX_ENTRY_BYTES:
            raise LineError(f"part {part_id}: {len(body)} bytes to send, at most {MAX_ENTRY_BYTES} are.")
        safe = re.sub(r"[^A-Za-z0-9_.-]", "_", part_id)[:128] or "_"
        entry = self._written(safe, body) if self.open() else None
        self._insert([entry or Entry(safe, 0, None, body)])

    # ---- for the thread that takes -------------------------------------------------------------------------

    def first(self) -> tuple[Entry, bytes] | None:
        """Return the next entry and its content; it stays until `remove`. Unreadable ones are counted."""
        while True:
            with self._lock:
                waiting = self._entries or self._aside
                if not waiting:
                    return None
                entry = waiting[0]
            if entry.path is None:
                return entry, entry.body
            body = _read(entry.path, entry.part_id)
            if body is not None:
                return entry, body
            with self._lock:
                # It may have been dropped, and counted, meanwhile.
                self._damaged += self._forget(entry)

    def set_aside(self, entry: Entry) -> bool:
        """Move this entry behind all others; return whether it was not set aside before."""
        with self._lock:
            new = entry in self._entries
            if new:
                self._entries.remove(entry)
            elif entry in self._aside:
                self._aside.remove(entry)
            else:
                return False  # dropped meanwhile
            self._aside.append(entry)
            return new

    def expire(self, age_s: float) -> int:
        """Drop entries that have waited for longer than this in this run; return how many."""
        end = time.monotonic() - age_s
        with self._lock:
            old = [entry for entry in (*self._entries, *self._aside) if entry.since_s < end]
            for entry in old:
                self._forget(entry)
            self._dropped += len(old)
        for entry in old:
            self._unlink(entry)
        return len(old)

    def remove(self, entry: Entry) -> None:
        """Remove an entry that was sent, or never will be."""
        with self._lock:
            if not self._forget(entry):
                self._dropped -= 1  # dropped while in flight, but it arrived
        self._unlink(entry)

    def close(self) -> int:
        """Release the folder; return how many entries were only in memory and are lost."""
        with self._lock:
            lost = self._in_memory
            self._entries = deque(entry for entry in self._entries if entry.path is not None)
            self._aside = deque(entry for entry in self._aside if entry.path is not None)
            self._in_memory = 0
        self._let_go()
        return lost

    # ---- inside --------------------------------------------------------------------------------------------

    def _find(self) -> list[Entry]:
        """Return the entries in the folder, oldest first; remains of interrupted writes are deleted."""
        found: list[tuple[int, Entry]] = []
        foreign = 0
        with os.scandir(self._folder) as files:
            for file in files:
                match = _NAME.fullmatch(file.name)
                if match and file.is_file(follow_symlinks=False):
                    room = _room(file.stat(follow_symlinks=False).st_size)
                    found.append((int(match[1]), Entry(match[2], room, Path(file.path))))
                elif file.name != _LOCK:
                    foreign += 1
                    if _TORN.fullmatch(file.name):
                        Path(file.path).unlink()
        found.sort(key=lambda numbered: (numbered[0], numbered[1].part_id))
        self._next = max(self._next, found[-1][0] + 1 if found else 1)
        with self._lock:
            self._foreign += foreign
        return [entry for _, entry in found]

    def _written(self, part_id: str, body: bytes) -> Entry | None:
        path = self._folder / f"{self._next:012d}-{part_id}.json"
        try:
            write_bytes(path, body)
        except OSError as exc:
            self._set_error(
                f"the spool {self._folder} takes nothing ({reason(exc)}); entries wait in memory only."
            )
            return None
        self._next += 1
        self._set_error("")
        return Entry(part_id, _room(len(body)), path)

    def _insert(self, entries: list[Entry], *, in_front: bool = False) -> None:
        """Insert entries, and drop the oldest if that makes too many."""
        surplus = []
        with self._lock:
            if in_front:
                self._entries.extendleft(reversed(entries))
            else:
                self._entries.extend(entries)
            self._bytes += sum(entry.room_bytes for entry in entries)
            self._in_memory += sum(entry.path is None for entry in entries)
            while (entry := self._surplus()) is not None:
                self._forget(entry)
                self._dropped += 1
                surplus.append(entry)
        for entry in surplus:
            self._unlink(entry)

    def _surplus(self) -> Entry | None:
        if self._in_memory > _HELD_IN_MEMORY:
            return next(entry for entry in (*self._aside, *self._entries) if entry.path is None)
        count = len(self._entries) + len(self._aside)
        if count > self._max_entries or (self._bytes > self._max_bytes and count > 1):
            return (self._aside or self._entries)[0]
        return None

    def _forget(self, entry: Entry) -> bool:
        """Forget an entry; return whether it was known."""
        if entry not in self._entries and entry not in self._aside:
            return False
        (self._entries if entry in self._entries else self._aside).remove(entry)
        self._bytes -= entry.room_bytes
        self._in_memory -= entry.path is None
        return True

    def _unlink(self, entry: Entry) -> None:
        try:
            if entry.path is not None:
                entry.path.unlink(missing_ok=True)
        except OSError as exc:
            self._set_error(
                f"the spool {self._folder} keeps what was sent ({reason(exc)}); it will be sent again."
            )

    def _set_error(self, error: str) -> None:
        with self._lock:
            self._error = error

    def _let_go(self) -> None:
        if self._claim is not None:
            self._claim.close()
            self._claim = None


def _room(size: int) -> int:
    """Return the disk space used by a file of this size."""
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


def _read(path: Path, part_id: str) -> bytes | None:
    """Return the entry, None if it is not what was written."""
    try:
        with path.open("rb") as stream:
            body = stream.read(MAX_ENTRY_BYTES + 1)
        entry = json.loads(body)
    except (OSError, ValueError, RecursionError):
        return None
    whole = len(body) <= MAX_ENTRY_BYTES and isinstance(entry, dict) and isinstance(entry.get("part_id"), str)
    return body if whole and re.sub(r"[^A-Za-z0-9_.-]", "_", entry["part_id"])[:128] == part_id else None
