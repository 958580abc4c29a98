"""The PLC as a separate process that speaks EtherNet/IP: cpppo's server around a conveyor.

    python -m benchmarks.line.ethernet_ip_server --port 5020 --journal plc.jsonl

Tags: AstEdge is the station's array, which is journalled as registers from 100 on; Count, Count16, Encoder,
Encoder16, Sensor and Reject; Short is an array that is too short. See `benchmarks/line/conveyor.py` for
commands and journal.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

from cpppo.server.enip import device
from cpppo.server.enip.main import main as serve_tags

from ast_edge.line.outputs.block import FIELDS
from benchmarks.line import conveyor
from benchmarks.line.conveyor import REJECT_COIL, Conveyor
from benchmarks.line.plc import BLOCK
from benchmarks.line.relay import RelayedPlc

_TAGS = (
    *(f"AstEdge=DINT[{len(FIELDS)}]", "Short=DINT[4]", "Count=DINT", "Count16=INT", "Encoder=DINT"),
    *("Encoder16=INT", "Sensor=BOOL", "Reject=BOOL"),
)
_CONTEXT, _SERVICE, _STATUS, _CONNECTED = 12, 46, 48, 0x70


def _status(data: bytes, code: int) -> bytes:
    """Report a status for a request over the connection; without data, as a controller does."""
    if data[0] != _CONNECTED:
        return data
    body = data[24:42] + (6).to_bytes(2, "little") + data[44:_STATUS] + bytes([code, 0])
    return data[:2] + len(body).to_bytes(2, "little") + data[4:24] + body


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :] if len(data) > at else data


# How outgoing answers are spoiled.
_SPOILERS: dict[str, Callable[[bytes], bytes]] = {
    "busy": lambda data: _status(data, 0x02),
    "denied": lambda data: _status(data, 0x0F),
    "missing": lambda data: _status(data, 0x05),
    "program": lambda data: _status(data, 0x10),
    "scrambled": lambda data: data[:_SERVICE] + os.urandom(len(data[_SERVICE:])),
    "silent": lambda _: b"",
    "wrong_id": lambda data: _flipped(data, _CONTEXT),
    "wrong_sequence": lambda data: _flipped(data, 44) if data[0] == _CONNECTED else data,
    "wrong_service": lambda data: _flipped(data, _SERVICE) if data[0] == _CONNECTED else data,
    "short": lambda data: data[:-1],
    "long": lambda data: data + b"\0",
    "rubbish": lambda _: os.urandom(40),
    "flood": lambda _: os.urandom(1 << 20),
}


def _signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


def _signed16(value: int) -> int:
    return (value + 0x8000) % 0x10000 - 0x8000


class _Tags:
    """The values of the tags, from the conveyor; several connections have a thread each."""

    def __init__(self, belt: Conveyor) -> None:
        self._belt = belt
        self._lock = threading.Lock()

    def read(self, name: str) -> list[int]:
        """Return all elements of a tag."""
        belt = self._belt
        with self._lock:
            if name == "AstEdge":
                words = [belt.registers[BLOCK + field.at : BLOCK + field.end] for field in FIELDS]
                return [each[0] if len(each) == 1 else _signed(each[0] << 16 | each[1]) for each in words]
            values = {"Count": _signed(belt.counter), "Count16": _signed16(belt.counter)}
            values |= {"Encoder": _signed(belt.encoder), "Encoder16": _signed16(belt.encoder)}
            values |= {"Sensor": int(belt.sensor), "Reject": int(belt.coils[REJECT_COIL])}
            return [values[name]] if name in values else [0] * 4

    def write(self, name: str, first: int, values: list[int]) -> None:
        """Write elements of a tag from `first` on."""
        with self._lock:
            if name == "Reject":
                self._belt.switch(REJECT_COIL, on=bool(values[0]))
            elif name == "AstEdge":
                words: list[int] = []
                for field, value in zip(FIELDS[first:], values, strict=False):
                    whole = field.wrapped(value)
                    words += [whole >> 16, whole & 0xFFFF] if field.words == 2 else [whole]
                self._belt.store(BLOCK + FIELDS[first].at, words)


def _attributes(tags: _Tags) -> type:
    """Return the class of a tag."""

    class Attribute(device.Attribute):  # type: ignore[misc]
        def __getitem__(self, key: Any) -> Any:
            self._validate_key(key)
            return tags.read(self.name)[key]

        def __setitem__(self, key: Any, values: Any) -> None:
            self._validate_key(key)
            tags.write(self.name, key.start, [int(value) for value in values])

    return Attribute


class Plc(RelayedPlc):
    """The server."""

    head = 24
    spoilers = _SPOILERS

    def rest(self, head: bytes) -> int:
        """Return the number of bytes after the head of a message."""
        return int.from_bytes(head[2:4], "little")

    def listen(self, port: int) -> None:
        """Start the server on threads."""
        arguments = ["--no-config", "--no-udp", "--address", f"127.0.0.1:{port}", *_TAGS]
        options = {"argv": arguments, "attribute_class": _attributes(_Tags(self.conveyor))}
        threading.Thread(target=serve_tags, kwargs=options, daemon=True).start()


if __name__ == "__main__":
    asyncio.run(conveyor.run(Plc, __doc__))
