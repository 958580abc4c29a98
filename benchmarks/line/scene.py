"""The part in front of the camera, readable by every process, and pictures that show it.

The PLC (or another process that moves the belt) writes a part's number and time into a file; the camera looks
it up at exposure and draws the number into the picture; the judge reads it from the picture behind a verdict.
A part stays for a while, and then the belt is empty, which is the number 0.
"""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

EMPTY = 0
_RECORD = struct.Struct("<QQqQ")  # sequence, number, moment, sequence again
_BITS, _SUM_BITS = 32, 8
_CELL = 8  # pixels
SIDE = 512  # of a view, like that of Aravis' fake camera
_DARK, _BRIGHT, _HALF = 48, 208, 128


class Scene:
    """The place in front of a camera; one process puts parts there, any number may look.

    `stay_ms` is how long a part stays in view, None: until the next one.
    """

    def __init__(self, file: Path, stay_ms: float | None = None) -> None:
        self._stay_ns = None if stay_ms is None else int(stay_ms * 1e6)
        if not file.exists():
            file.write_bytes(bytes(_RECORD.size))
        self._stream = file.open("r+b")
        self._memory = mmap.mmap(self._stream.fileno(), _RECORD.size)
        self._sequence = _RECORD.unpack_from(self._memory)[0]

    def put(self, number: int) -> int:
        """Put a part in place; return the time in nanoseconds of CLOCK_MONOTONIC."""
        at_ns = time.monotonic_ns()
        self._sequence += 1
        # A concurrent look sees two different sequence numbers, and looks again.
        struct.pack_into("<Q", self._memory, 0, self._sequence)
        struct.pack_into("<Qq", self._memory, 8, number, at_ns)
        struct.pack_into("<Q", self._memory, 24, self._sequence)
        return at_ns

    def look(self) -> int:
        """Return the number of the part in view, or EMPTY."""
        while True:
            first, number, at_ns, last = _RECORD.unpack_from(self._memory)
            if first == last:
                break
        gone = self._stay_ns is not None and time.monotonic_ns() - at_ns > self._stay_ns
        return EMPTY if gone else int(number)

    def close(self) -> None:
        """Close the file."""
        self._memory.close()
        self._stream.close()

    def __enter__(self) -> Scene:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def view(frames: int, number: int) -> NDArray[np.uint8]:
    """Return a camera's picture number `frames` [SIDE,SIDE]: a pattern that moves, and the part's number."""
    grey = np.add.outer(np.arange(SIDE), np.arange(SIDE))
    picture: NDArray[np.uint8] = ((grey + frames) % 255).astype(np.uint8)
    draw(picture, number)
    return picture


def draw(picture: NDArray[np.uint8], number: int) -> None:
    """Write a number into the top row of a grey picture [H,W], W at least 320."""
    bits = [number >> at & 1 for at in range(_BITS)] + [_sum(number) >> at & 1 for at in range(_SUM_BITS)]
    row = np.repeat(np.where(np.array(bits, bool), _BRIGHT, _DARK), _CELL)
    picture[:_CELL, : row.size] = row


def read(picture: NDArray[np.uint8]) -> int | None:
    """Return the number in a picture [H,W] or [H,W,C]; None if there is none."""
    grey = picture if picture.ndim == 2 else picture[..., 0]
    cells = grey[:_CELL, : _CELL * (_BITS + _SUM_BITS)]
    if cells.shape != (_CELL, _CELL * (_BITS + _SUM_BITS)):
        return None
    levels = cells.reshape(_CELL, -1, _CELL).mean(axis=(0, 2))
    bits = [int(level > _HALF) for level in levels]
    number = sum(bit << at for at, bit in enumerate(bits[:_BITS]))
    found = sum(bit << at for at, bit in enumerate(bits[_BITS:]))
    return number if found == _sum(number) else None


def _sum(number: int) -> int:
    """Return a checksum that an empty or broken picture does not match."""
    return (sum(number >> shift & 0xFF for shift in range(0, _BITS, 8)) + 0x5A) & 0xFF
