"""Ownership of a PLC's block: a single station, recorded in the block itself.

Two stations that write one block would overwrite each other's verdicts, and the PLC would see neither's. So
each block contains the number of its station, and a counter that moves as long as that station lives, ready
or not. A station that finds another's number at its start waits and watches; if the counter moves, it writes
nothing.
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Sequence

from ast_edge.errors import LineError

_LOOK_S = 0.05


def station_id(station: str, output: str) -> int:
    """Return a number that identifies this output of this station on this machine; never 0."""
    name = f"{platform.node()}\n{station}\n{output}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") or 1


class Claim:
    """The claim on one block, for the thread that writes it. `read` returns the block's station and life."""

    def __init__(self, where: str, own_id: int, read: Callable[[], Sequence[int]]) -> None:
        self.own_id = own_id
        self._where, self._read = where, read
        self._life = 0
        self._known: set[int] = set()  # values of the counter that this station may have written
        self._fresh = False  # whether nothing was written since the block was claimed
        self.held = False

    def take(self, watch_s: float, pause: Callable[[float], None]) -> None:
        """Make sure that no other station writes the block; if one did, watch it for up to `watch_s`.

        Raises LineError if one does.
        """
        self.held = False
        found, life = self._found()
        end = time.monotonic() + watch_s
        ours = found == self.own_id and life in self._known
        while found and not ours and time.monotonic() < end:
            pause(_LOOK_S)
            now = self._found()
            if now != (found, life):
                raise self._taken(now[0] or found)
        self._life = life
        self._fresh = self.held = True

    def check(self) -> None:
        """Raise LineError if another station has written since; a reset PLC does not count."""
        if self._fresh:
            return
        found, life = self._found()
        if found and (found != self.own_id or (self._known and life not in self._known)):
            self.held = False
            raise self._taken(found)

    def next_values(self) -> list[int]:
        """Return what to write now. A write may arrive although its answer is lost."""
        before, self._life = self._life, (self._life + 1) & 0xFFFF
        self._known = {before, self._life}
        self._fresh = False
        return [self.own_id, self._life]

    def released(self) -> list[int]:
        """Return what to write at the end: the block is free."""
        self.held = False
        self._known = set()
        return [0, self._life]

    def _found(self) -> tuple[int, int]:
        found, life = self._read()
        return found, life

    def _taken(self, other: int) -> LineError:
        who = "the same station, started twice" if other == self.own_id else f"station {other:08x}"
        return LineError(
            f"{self._where}: this block is written by {who} (this one is {self.own_id:08x}); give each "
            "station a block and a reject bit of its own, or stop the other."
        )
