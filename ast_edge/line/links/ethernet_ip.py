"""A client of Logix controllers (Rockwell) over EtherNet/IP: exact deadlines, every answer validated.

pycomm3 opens session and connection and encodes paths. The socket is our own, because the library's deadlines
hold for each piece of an answer, and it takes any answer for the one to its request. Its tag services need
the list of all tags, whose upload takes seconds at every connection; here the name of a tag and the type that
it must have are enough.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Annotated, Any, Literal

from pydantic import Field

from ast_edge.errors import LineError, sentence
from ast_edge.line.config.options import Port, host_port
from ast_edge.line.links.plc import PlcOptions, dial, receive
from ast_edge.wording import install_hint

Kind = Literal["BOOL", "INT", "DINT"]
_WORD, _INDEX = r"[A-Za-z_][A-Za-z0-9_]{0,39}", r"(\[[0-9]{1,6}\])?"
TagName = Annotated[
    str,
    Field(
        max_length=200,
        pattern=rf"^(Program:{_WORD}\.)?{_WORD}{_INDEX}(\.{_WORD}{_INDEX})*$",
    ),
]
_TYPES: dict[Kind, tuple[int, ...]] = {"BOOL": (0xC1,), "INT": (0xC3, 0xC7), "DINT": (0xC4, 0xC8, 0xD3)}
_NAMES = {0xC1: "BOOL", 0xC2: "SINT", 0xC3: "INT", 0xC4: "DINT", 0xC5: "LINT", 0xC7: "UINT", 0xC8: "UDINT"}
SIZES: dict[Kind, int] = {"BOOL": 1, "INT": 2, "DINT": 4}
_READ, _WRITE, _SEVERAL, _REPLY = 0x4C, 0x4D, 0x0A, 0x80
_HEADER, _CONNECTED = 24, 0x70
_SEQUENCE, _SERVICE, _STATUS, _DATA = 44, 46, 48, 50  # in a message over the connection
_LONGEST = 1000
_GENERAL = 0xFF
_LAYOUT = "`ast-edge run --example ethernet-ip-tags` prints tags that fit"
# The status of an answer, or the extended one of a general error: what it means for a tag.
_STATUSES = {
    0x02: "the controller has no resources left: close other connections to it",
    0x04: f"there is no such tag, or its External Access is None; {_LAYOUT}",
    0x05: f"there is no such tag, or its External Access is None; {_LAYOUT}",
    0x08: "the device does not serve tags: is it a Logix controller, and is slot right?",
    0x0F: "it may not be accessed: set External Access of the tag to Read/Write in Logix Designer",
    0x10: "the controller's state forbids it: check its mode and key switch",
    0x2105: f"the tag has too few elements; {_LAYOUT}",
    0x2107: f"the tag is of another type; {_LAYOUT}",
}


class EthernetIpOptions(PlcOptions):
    """A Logix controller with EtherNet/IP. `port`: of EtherNet/IP.

    `slot` of the controller in its chassis: 0 for CompactLogix.
    """

    port: Port = 44_818
    slot: Annotated[int, Field(ge=0, le=16)] = 0


@dataclass(frozen=True)
class Tag:
    """A tag, or a run of elements of an array from `name` on, of one type."""

    name: str
    kind: Kind
    count: int = 1


class EthernetIpLink:
    """One connection to a controller; see `ast_edge.line.links.plc.PlcLink`."""

    def __init__(self, options: EthernetIpOptions) -> None:
        self._options = options
        self.where = host_port(options.host, options.port)
        self._plug: _Plug | None = None
        self._driver: Any = None
        self._sequence = 0

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that has had no error."""
        return self._plug is not None

    def open(self) -> None:
        """Connect; an existing connection is closed."""
        self.close()
        lib, options = _library(), self._options
        timeout_s = options.timeout_ms / 1000
        plug = _Plug(dial(self.where, options.host, options.port, timeout_s), timeout_s)
        # The address is not used: the socket is connected already.
        self._driver, self._plug = lib.driver(f"0.0.0.0/bp/{options.slot}"), plug
        self._driver._sock = plug
        try:
            self._driver.open()
            # The first message opens the connection, and this one every device answers: who made it.
            answer = self._driver.generic_message(service=0x0E, class_code=1, instance=1, attribute=1)
        except Exception as exc:
            why = _cause(exc)
            if not isinstance(_first(exc), (LineError, OSError)):
                why = (
                    f"it accepts no connection to slot {options.slot}; check the slot of the controller, and "
                    "whether all of its connections are taken"
                )
            raise self._error(why) from exc
        if answer.error:
            raise self._error(f"slot {options.slot} does not answer as a controller ({answer.error})")
        self._sequence = 0

    def close(self) -> None:
        """Close the connection, if any, and the session in the controller."""
        plug, self._plug = self._plug, None
        driver, self._driver = self._driver, None
        if plug is not None:
            with suppress(Exception):  # what is dead may die noisily
                driver.close()
            plug.close()

    def read(self, tags: Sequence[Tag]) -> list[bytes]:
        """Return the values of each tag, little-endian, in one request."""
        messages = [bytes([_READ]) + _path(tag.name) + tag.count.to_bytes(2, "little") for tag in tags]
        if len(tags) == 1:
            found = [self._ask(tags[0].name, messages[0])]
        else:
            names = ", ".join(tag.name for tag in tags)
            found = self._several(tags, self._ask(names, _joined(messages)))
        return [self._values(tag, data) for tag, data in zip(tags, found, strict=True)]

    def write(self, tag: Tag, data: bytes) -> None:
        """Write the values of a tag, little-endian, in one request."""
        kind = _TYPES[tag.kind][0].to_bytes(2, "little")
        count = tag.count.to_bytes(2, "little")
        self._ask(tag.name, bytes([_WRITE]) + _path(tag.name) + kind + count + data)

    def _ask(self, what: str, message: bytes) -> bytes:
        """Send a message over the connection; return the data of its answer."""
        driver = self._driver
        if driver is None:
            raise LineError(f"PLC {self.where}: not connected.")
        # Above those of the library's own messages.
        self._sequence = self._sequence % 60_000 + 1
        request = _library().packet(5_000 + self._sequence).add(message)
        try:
            raw = driver.send(request).raw
        except Exception as exc:
            raise self._error(_cause(exc)) from exc
        if len(raw) < _DATA:
            raise self._error(f"invalid answer ({len(raw)} bytes)")
        return self._checked(what, raw[_STATUS:])

    def _checked(self, what: str, answer: bytes) -> bytes:
        """Return the data of an answer that begins with its status. Raises LineError for a bad status."""
        status, extended = answer[0], answer[2 : 2 + 2 * answer[1]]
        # Of several requests some failed: which, is in the data.
        if status == 0 or (status == 0x1E and what.count(",")):
            return answer[2 + 2 * answer[1] :]
        code = int.from_bytes(extended[:2], "little") if status == _GENERAL and extended else status
        known = _STATUSES.get(code, "check the tags in line.toml and in the controller")
        raise self._error(
            f"{what} cannot be accessed, status 0x{status:02x} {extended.hex()}".rstrip() + f": {known}"
        )

    def _several(self, tags: Sequence[Tag], data: bytes) -> list[bytes]:
        """Return the data of each answer in a common one."""
        try:
            parts = split_answers(data, len(tags))
        except LineError as exc:
            raise self._error(str(exc)) from exc
        return [self._checked(tag.name, part) for tag, part in zip(tags, parts, strict=True)]

    def _values(self, tag: Tag, data: bytes) -> bytes:
        kind, values = int.from_bytes(data[:2], "little"), data[2:]
        if kind not in _TYPES[tag.kind]:
            is_of = _NAMES.get(kind, f"0x{kind:x}")
            raise self._error(f"{tag.name} is of type {is_of}, not {tag.kind}; {_LAYOUT}")
        if len(values) != tag.count * SIZES[tag.kind]:
            raise self._error("invalid answer (data of another length)")
        return values

    def _error(self, why: str) -> LineError:
        """Drop the connection without a word."""
        plug, self._plug, self._driver = self._plug, None, None
        if plug is not None:
            plug.close()
        return LineError(f"PLC {self.where}: {why}.")


def check_answer(asked: bytes, got: bytes) -> None:
    """Raise LineError if the bytes `got` so far cannot be the answer to the request `asked`."""
    if got[:2] != asked[: min(len(got), 2)]:
        raise LineError("invalid answer (another command)")
    length = int.from_bytes(got[2:4], "little")
    if len(got) >= 4 and length > _LONGEST:
        raise LineError(f"invalid answer (a length of {length})")
    if len(got) > _HEADER + length and len(got) >= 4:
        raise LineError("it answered more than was requested")
    if len(got) < _HEADER:
        return
    if got[12:20] != asked[12:20] or (any(asked[4:8]) and got[4:8] != asked[4:8]):
        raise LineError("it answered a different request (session or context)")
    if asked[0] != _CONNECTED or len(got) < _HEADER + length:
        return
    if any(got[8:12]):
        raise LineError(f"it refused the request (status {got[8:12].hex()} of its session)")
    # The connection's answer repeats the sequence number and the service.
    if len(got) < _DATA or got[_SEQUENCE:_SERVICE] != asked[_SEQUENCE:_SERVICE]:
        raise LineError("it answered a different request (sequence number)")
    if got[_SERVICE] != asked[_SERVICE] | _REPLY:
        raise LineError("invalid answer (another service)")


def split_answers(data: bytes, count: int) -> list[bytes]:
    """Return the answers to so many reads in a common one, each from its status on. Raises LineError."""
    offsets = [int.from_bytes(data[at : at + 2], "little") for at in range(2, 2 + 2 * count, 2)]
    parts = [data[begin:end] for begin, end in zip(offsets, [*offsets[1:], len(data)], strict=True)]
    found = int.from_bytes(data[:2], "little")
    if found != count or any(len(part) < 4 or part[0] != _READ | _REPLY for part in parts):
        raise LineError("invalid answer (to other requests)")
    return [part[2:] for part in parts]


class _Plug:
    """A connected socket as pycomm3 uses one, with one deadline for a request and its whole answer."""

    def __init__(self, plug: socket.socket, timeout_s: float) -> None:
        self._plug, self._timeout_s = plug, timeout_s
        self._asked = b""
        self._end = 0.0

    def connect(self, host: str, port: int) -> None:
        """Do nothing: it is connected."""

    def send(self, message: bytes, timeout: float = 0) -> int:  # noqa: ARG002 (the library's signature)
        """Send a request, whose time begins."""
        self._asked, self._end = bytes(message), time.monotonic() + self._timeout_s
        self._plug.settimeout(self._timeout_s)
        self._plug.sendall(self._asked)
        return len(message)

    def receive(self, timeout: float = 0) -> bytes:  # noqa: ARG002 (the library's signature)
        """Return the answer to the request that was sent last. Raises LineError if it is none."""
        got = b""
        while len(got) < _HEADER or len(got) < _HEADER + int.from_bytes(got[2:4], "little"):
            got += receive(self._plug, self._end, _HEADER + _LONGEST)
            check_answer(self._asked, got)
        return got

    def close(self) -> None:
        """Close the connection."""
        self._plug.close()


def _path(name: str) -> bytes:
    path: bytes = _library().path(name, {}, use_instance_ids=False)
    return path


def _joined(messages: Sequence[bytes]) -> bytes:
    """One message that contains several, for the controller's message router."""
    offset = 2 + 2 * len(messages)
    offsets = b""
    for message in messages:
        offsets += offset.to_bytes(2, "little")
        offset += len(message)
    router = bytes.fromhex("02 20 02 24 01")
    return bytes([_SEVERAL]) + router + len(messages).to_bytes(2, "little") + offsets + b"".join(messages)


def _first(exc: BaseException) -> BaseException:
    """What happened first: the library wraps errors several times."""
    found = exc
    while not isinstance(found, LineError) and found.__cause__ is not None:
        found = found.__cause__
    return found


def _cause(exc: BaseException) -> str:
    found = _first(exc)
    if isinstance(found, OSError):
        return f"the connection was lost ({sentence(found)})"
    return str(found) if isinstance(found, LineError) else f"invalid answer ({sentence(found)})"


@lru_cache(maxsize=1)
def _library() -> SimpleNamespace:
    """Return the parts of the library that are needed. Raises LineError if it is not installed."""
    try:
        from pycomm3 import CIPDriver  # noqa: PLC0415 (only where EtherNet/IP is used)
        from pycomm3.packets.ethernetip import SendUnitDataRequestPacket  # noqa: PLC0415
        from pycomm3.packets.util import tag_request_path  # noqa: PLC0415
    except ImportError as exc:
        raise LineError(
            f"EtherNet/IP needs pycomm3, which is not installed; run: {install_hint('ethernet-ip')}"
        ) from exc
    logger = logging.getLogger("pycomm3")
    if logger.level == logging.NOTSET:
        # The library logs each failure in several lines; ours is raised, counted and reported once.
        logger.setLevel(logging.CRITICAL)
    return SimpleNamespace(driver=CIPDriver, packet=SendUnitDataRequestPacket, path=tag_request_path)
