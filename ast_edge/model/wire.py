"""The subset of the protobuf wire format that a model file needs: fields of a message, without payloads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

VARINT, _FIXED64, BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


class WireError(Exception):
    """The bytes are not a protobuf message; `cut` if they may be the start of one."""

    def __init__(self, message: str, *, cut: bool = False) -> None:
        super().__init__(message)
        self.cut = cut


class Field(NamedTuple):
    """One field: its tag begins at byte `start`, its payload at `payload`, the next field at `end`."""

    number: int
    wire_type: int
    start: int
    payload: int
    end: int


def scan(stream: BinaryIO, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the protobuf message in bytes `start` to `end`, without reading payloads."""
    position = start
    while position < end:
        tag, payload = _varint(stream, position, end)
        number, wire_type = tag >> 3, tag & 7
        if not 1 <= number < 1 << 29:
            raise WireError(f"byte {position} starts no field")
        if wire_type == VARINT:
            _, stop = _varint(stream, payload, end)
        elif wire_type == BYTES:
            length, payload = _varint(stream, payload, end)
            stop = payload + length
        elif wire_type in (_FIXED32, _FIXED64):
            stop = payload + (4 if wire_type == _FIXED32 else 8)
        else:
            raise WireError(f"byte {position} has the unknown wire type {wire_type}")
        if stop > end:
            raise WireError(f"field {number} should end at byte {stop}", cut=True)
        yield Field(number, wire_type, position, payload, stop)
        position = stop


def _varint(stream: BinaryIO, position: int, end: int) -> tuple[int, int]:
    """Return the variable-length integer at `position` and the position after it."""
    stream.seek(position)
    data = stream.read(min(_LONGEST_VARINT, end - position))
    value = 0
    for index, byte in enumerate(data):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    if len(data) < _LONGEST_VARINT:
        raise WireError(f"a number is truncated at byte {position + len(data)}", cut=True)
    raise WireError(f"the number at byte {position} is longer than 64 bits")


def bytes_field(number: int, payload: bytes) -> bytes:
    """Encode a length-delimited field."""
    return _encode_varint(number << 3 | BYTES) + _encode_varint(len(payload)) + payload


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
