"""A client of Siemens S7 PLCs with exact deadlines that validates every answer.

python-snap7 encodes and decodes. The socket is our own, because the library's deadlines hold for each piece
of an answer and not for the whole, and its client connects with a time limit that cannot be set.

Every request fits into the shortest message that an S7 PLC negotiates, so none is split.
"""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from ast_edge.errors import LineError, sentence
from ast_edge.line.config.options import Port, host_port
from ast_edge.line.links.plc import PlcOptions, dial
from ast_edge.line.links.s7_address import Area, Place
from ast_edge.wording import install_hint

if TYPE_CHECKING:
    from snap7.connection import ISOTCPConnection
    from snap7.datatypes import S7WordLen
    from snap7.s7protocol import S7Protocol

_LEAST_PDU = 112  # bytes of the longest message that this module sends or receives
_ACCESS = (
    "in TIA Portal allow 'Permit access with PUT/GET communication from remote partner' and full access "
    "(CPU properties, Protection & Security), and load the hardware configuration"
)
_STANDARD = (
    "clear 'Optimized block access' in its properties (Attributes), compile and load it; `ast-edge run "
    "--example s7-db` prints the source of one that fits"
)
# Codes of one item of an answer: what each means, and for a data block what to do.
_ITEMS = {
    0x01: ("the CPU reports a hardware error", ""),
    0x03: (
        f"the CPU refuses access; {_ACCESS}",
        f"the data block must not be write-protected, only in load memory, or optimised: {_STANDARD}",
    ),
    0x05: (
        "it ends before that address",
        f"make the data block longer; if its access is optimised, {_STANDARD}",
    ),
    0x06: ("this type of data is not supported", ""),
    0x07: ("it is of another type", ""),
    0x0A: ("it does not exist", f"load the data block; if its access is optimised, {_STANDARD}"),
}
_ITEM = re.compile(r"\(0x([0-9a-f]{2})\)$")
# Classes of errors in the header of an answer.
_HEADERS = {0x81: _ACCESS, 0x83: "no resources: close other connections to the CPU", 0x85: _ACCESS}
_PROTECTED = {0xD0A1, 0xD241}


class S7Options(PlcOptions):
    """A Siemens S7 PLC. `port`: of ISO-on-TCP.

    `rack` and `slot` of its CPU: 0 and 1 for S7-1200 and S7-1500, 0 and 2 for S7-300.
    """

    port: Port = 102
    rack: Annotated[int, Field(ge=0, le=7)] = 0
    slot: Annotated[int, Field(ge=0, le=31)] = 1


class S7Link:
    """One connection to a PLC; see `ast_edge.line.links.plc.PlcLink`."""

    def __init__(self, options: S7Options) -> None:
        self._options = options
        self.where = host_port(options.host, options.port)
        self._plug: _Plug | None = None
        self._connection: ISOTCPConnection
        self._protocol: S7Protocol

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that has had no error."""
        return self._plug is not None

    def open(self) -> None:
        """Connect; an existing connection is closed."""
        self.close()
        lib, options = _library(), self._options
        timeout_s = options.timeout_ms / 1000
        self._plug = plug = _Plug(dial(self.where, options.host, options.port, timeout_s), timeout_s)
        # PG connections (type 1) are those that every CPU accepts.
        called = 1 << 8 | options.rack << 5 | options.slot
        self._connection = lib.opened(plug, options.host, options.port, called)
        self._protocol = lib.protocol()
        try:
            plug.begin()
            self._connection.connect(timeout_s)
        except Exception as exc:
            self.close()
            raise LineError(
                f"PLC {self.where}: it accepts no connection at rack {options.rack}, slot {options.slot} "
                f"({sentence(exc)}); S7-1200 and S7-1500 are at slot 1, S7-300 at slot 2; or all of its "
                "connections are taken."
            ) from exc
        answer = self._ask("the connection", self._protocol.build_setup_communication_request(pdu_length=480))
        length = (answer.get("parameters") or {}).get("pdu_length", 0)
        if length < _LEAST_PDU:
            raise self._error(f"invalid answer (messages of {length} bytes, not the {_LEAST_PDU} needed)")

    def close(self) -> None:
        """Close the connection, if any."""
        plug, self._plug = self._plug, None
        if plug is not None:
            plug.close()

    def read(self, places: Sequence[Place]) -> list[bytes]:
        """Return the bytes at each place, in one request."""
        lib = _library()
        what = ", ".join(map(str, places))
        items = [(lib.areas[place.area], place.db, place.byte, place.size) for place in places]
        answer = self._ask(what, self._built().build_multi_read_request(items))
        try:
            found = self._protocol.extract_multi_read_data(answer, len(places))
        except Exception as exc:
            raise self._failure(what, exc) from exc
        if [len(data) for data in found] != [place.size for place in places]:
            raise self._error("invalid answer (data of another length)")
        return [bytes(data) for data in found]

    def write(self, place: Place, data: bytes) -> None:
        """Write bytes from a place on, in one request."""
        self._write(place, _library().byte, place.byte, data)

    def write_bit(self, place: Place, *, on: bool) -> None:
        """Write one bit; its neighbours stay as they are."""
        self._write(place, _library().bit, 8 * place.byte + (place.bit or 0), bytes([on]))

    def _write(self, place: Place, kind: S7WordLen, start: int, data: bytes) -> None:
        lib = _library()
        request = self._built().build_write_request(lib.areas[place.area], place.db, start, kind, data)
        answer = self._ask(str(place), request)
        try:
            self._protocol.check_write_response(answer)
        except Exception as exc:
            raise self._failure(str(place), exc) from exc

    def _built(self) -> S7Protocol:
        if self._plug is None:
            raise LineError(f"PLC {self.where}: not connected.")
        return self._protocol

    def _ask(self, what: str, request: bytes) -> dict[str, Any]:
        """Send a request; return its answer, which reports no error in its header."""
        plug = self._plug
        assert plug is not None  # noqa: S101 (the request was built for it)
        try:
            plug.begin()
            self._connection.send_data(request)
            answer: dict[str, Any] = self._protocol.parse_response(self._connection.receive_data())
            self._protocol.validate_pdu_reference(answer["sequence"])
            plug.expect_silence()
        except Exception as exc:
            # Also any exception of the library's decoder on invalid data.
            raise self._failure(what, exc) from exc
        return answer

    def _failure(self, what: str, exc: Exception) -> LineError:
        """Close the connection and say what the library found: lost, refused by the CPU, or invalid."""
        lib, code = _library(), getattr(exc, "error_code", None)
        said = str(exc) if isinstance(exc, lib.errors) else sentence(exc)
        item = _ITEM.search(said)
        if item is not None:
            why, advice = _ITEMS.get(int(item[1], 16), (said, ""))
            hint = f"; {advice}" if advice and "DB" in what else ""
            return self._error(f"{what} cannot be accessed: {why}{hint}")
        if code in _PROTECTED:
            return self._error(f"the CPU's protection level forbids access to {what}: {_ACCESS}")
        if code:
            hint = _HEADERS.get(code >> 8, "check the addresses in line.toml and the PLC's data blocks")
            return self._error(f"{what} was refused with error 0x{code:04x}: {hint}")
        if isinstance(exc, (TimeoutError, lib.timeout)):
            return self._error("it did not answer in time")
        if isinstance(exc, (OSError, lib.lost)):
            return self._error(f"the connection failed ({said})")
        return self._error(f"invalid answer ({said})")

    def _error(self, why: str) -> LineError:
        self.close()
        return LineError(f"PLC {self.where}: {why}.")


class _Plug:
    """A socket with one deadline for a request and its whole answer."""

    def __init__(self, plug: socket.socket, timeout_s: float) -> None:
        self._plug, self._timeout_s = plug, timeout_s
        self._end = 0.0

    def begin(self) -> None:
        """Start the time of a request."""
        self._end = time.monotonic() + self._timeout_s

    def sendall(self, data: bytes) -> None:
        """Send within the deadline."""
        self._plug.settimeout(self._left())
        self._plug.sendall(data)

    def recv(self, size: int) -> bytes:
        """Receive within the deadline."""
        self._plug.settimeout(self._left())
        return self._plug.recv(size)

    def expect_silence(self) -> None:
        """Raise LineError if more arrived than was asked for."""
        self._plug.settimeout(0)
        try:
            if self._plug.recv(1, socket.MSG_PEEK):
                raise LineError("it answered more than was requested")
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close the connection."""
        self._plug.close()

    def _left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("it did not answer in time")
        return left


@lru_cache(maxsize=1)
def _library() -> SimpleNamespace:
    """Return the parts of the library that are needed. Raises LineError if it is not installed."""
    try:
        from snap7.connection import ISOTCPConnection  # noqa: PLC0415 (only where S7 is used)
        from snap7.datatypes import S7Area, S7WordLen  # noqa: PLC0415
        from snap7.error import S7ConnectionError, S7Error, S7TimeoutError  # noqa: PLC0415
        from snap7.s7protocol import S7Protocol  # noqa: PLC0415
    except ImportError as exc:
        raise LineError(f"S7 needs python-snap7, which is not installed; run: {install_hint('s7')}") from exc
    logger = logging.getLogger("snap7")
    if logger.level == logging.NOTSET:
        # The library logs each failure in several lines; ours is raised, counted and reported once.
        logger.setLevel(logging.CRITICAL)

    class Connection(ISOTCPConnection):
        """Uses a socket that is connected already."""

        def __init__(self, plug: _Plug, host: str, port: int, called: int) -> None:
            super().__init__(host, port, remote_tsap=called)
            self._given: Any = plug

        def _tcp_connect(self) -> None:
            self.socket = self._given

    areas: dict[Area, S7Area] = {"DB": S7Area.DB, "I": S7Area.PE, "Q": S7Area.PA, "M": S7Area.MK}
    return SimpleNamespace(
        opened=Connection,
        protocol=S7Protocol,
        areas=areas,
        bit=S7WordLen.BIT,
        byte=S7WordLen.BYTE,
        errors=S7Error,
        lost=S7ConnectionError,
        timeout=S7TimeoutError,
    )
