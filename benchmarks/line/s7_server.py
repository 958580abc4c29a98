"""The PLC as a separate process that speaks S7: python-snap7's server around a conveyor.

    python -m benchmarks.line.s7_server --port 5020 --journal plc.jsonl

DB1 has the conveyor's registers, two bytes each; M0.0 is the reject bit, I0.0 the sensor. DB2 is of 10 bytes
only, to be too short. See `benchmarks/line/conveyor.py` for commands and journal.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

from snap7.server import Server
from snap7.type import SrvArea

from benchmarks.line import conveyor
from benchmarks.line.conveyor import HOLDING, REJECT_COIL, Conveyor
from benchmarks.line.relay import RelayedPlc

_SEQUENCE, _ERROR = 11, 17  # in an answer, from its TPKT header on
_DATA = 3  # kind of an answer with data


def _header_error(data: bytes, code: int) -> bytes:
    """Report an error for the whole request."""
    if len(data) < _ERROR + 2 or data[8] != _DATA:
        return data
    return data[:_ERROR] + code.to_bytes(2, "big") + data[_ERROR + 2 :]


def _item_error(data: bytes, code: int) -> bytes:
    """Report an error for the item, as a real CPU does, without data."""
    if len(data) < _ERROR + 5 or data[19] not in (4, 5):
        return data
    item = bytes([code, 0, 0, 0]) if data[19] == 4 else bytes([code])
    size = 21 + len(item)
    return data[:2] + size.to_bytes(2, "big") + data[4:15] + len(item).to_bytes(2, "big") + data[17:21] + item


# How outgoing answers are spoiled.
_SPOILERS: dict[str, Callable[[bytes], bytes]] = {
    "busy": lambda data: _header_error(data, 0x8302),
    "denied": lambda data: _header_error(data, 0x8104),
    "protected": lambda data: _header_error(data, 0xD241),
    "optimised": lambda data: _item_error(data, 0x0A),
    "refused": lambda data: _item_error(data, 0x03),
    "scrambled": lambda data: data[:13] + os.urandom(len(data) - 13),
    "silent": lambda _: b"",
    "wrong_id": lambda data: data[:_SEQUENCE] + bytes([data[_SEQUENCE] ^ 0xFF]) + data[_SEQUENCE + 1 :],
    "short": lambda data: data[:-1],
    "long": lambda data: data + b"\0",
    "rubbish": lambda _: os.urandom(40),
    "flood": lambda _: os.urandom(1 << 20),
}


class _Registers(bytearray):
    """DB1: the library reads and writes slices of it."""

    def __init__(self, conveyor: Conveyor, lock: threading.Lock) -> None:
        super().__init__(2 * HOLDING)
        self._conveyor, self._lock = conveyor, lock

    def __getitem__(self, at: Any) -> Any:
        with self._lock:
            words = list(self._conveyor.registers)
            for register, value in self._conveyor.live().items():
                words[register] = value
        return bytearray(b"".join(word.to_bytes(2, "big") for word in words))[at]

    def __setitem__(self, at: Any, data: Any) -> None:
        given = bytes(data)
        words = [int.from_bytes(given[each : each + 2], "big") for each in range(0, len(given), 2)]
        with self._lock:
            self._conveyor.store(at.start // 2, words)


class _Bits(bytearray):
    """The memory bits, of which the reject bit is one, or the inputs, of which the sensor is one."""

    def __init__(self, conveyor: Conveyor, lock: threading.Lock) -> None:
        super().__init__(4)
        self._conveyor, self._lock = conveyor, lock

    def __getitem__(self, at: Any) -> Any:
        return bytearray([self._conveyor.sensor, 0, 0, 0])[at]

    def __setitem__(self, at: Any, data: Any) -> None:
        with self._lock:
            self._conveyor.switch(REJECT_COIL, on=bool(data[0]))


class Plc(RelayedPlc):
    """The server."""

    head = 4
    spoilers = _SPOILERS

    def rest(self, head: bytes) -> int:
        """Return the number of bytes after the head of a message."""
        return int.from_bytes(head[2:], "big") - len(head)

    def listen(self, port: int) -> None:
        """Start the server on threads."""
        lock, server = threading.Lock(), Server(log=False)
        server.register_area(SrvArea.DB, 1, _Registers(self.conveyor, lock))
        server.register_area(SrvArea.DB, 2, bytearray(10))
        for area in (SrvArea.MK, SrvArea.PE):
            server.register_area(area, 0, _Bits(self.conveyor, lock))
        server.start_to("127.0.0.1", port)


if __name__ == "__main__":
    asyncio.run(conveyor.run(Plc, __doc__))
