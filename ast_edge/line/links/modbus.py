"""A Modbus TCP client with exact deadlines that validates every answer.

pymodbus encodes and decodes; the socket is our own, because some supported versions of the library read
without a deadline, others accept answers to other requests, and it reconnects by itself, which must not go
unnoticed. The one difference between versions 3.8.2 and 3.16 is handled: the keyword of the device id
(`slave` until 3.9, `device_id` since).
"""

from __future__ import annotations

import inspect
import logging
import socket
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from ast_edge.errors import LineError, sentence
from ast_edge.line.config.options import Port, host_port
from ast_edge.line.links.plc import PlcOptions, dial, receive
from ast_edge.wording import install_hint

if TYPE_CHECKING:
    from pymodbus.pdu import ModbusPDU

Address = Annotated[int, Field(ge=0, le=65_535)]
WordOrder = Literal["big", "little"]
Table = Literal["holding", "input"]
BitTable = Literal["coil", "discrete"]
MOST_READ = 125  # registers in one request, by the protocol
_HEADER = 7  # transaction, protocol, length, device
_LONGEST = 254  # device and PDU after the length
_WRITES = (5, 16)  # one coil, several registers
_EXCEPTIONS = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    5: "acknowledged, not done",
    6: "busy",
    10: "gateway path unavailable",
    11: "gateway target does not respond",
}


class ModbusOptions(PlcOptions):
    """A PLC with Modbus TCP. `port`: of Modbus TCP. `device_id`: the unit that must answer."""

    port: Port = 502
    device_id: Annotated[int, Field(ge=0, le=255)] = 1


class ModbusLink:
    """One connection to a PLC; see `ast_edge.line.links.plc.PlcLink`."""

    def __init__(self, options: ModbusOptions) -> None:
        self._options = options
        self.where = host_port(options.host, options.port)
        self._client: Any = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that has had no error."""
        return self._client is not None

    def open(self) -> None:
        """Connect; an existing connection is closed."""
        self.close()
        timeout_s = self._options.timeout_ms / 1000
        client_class, _ = _library()
        client = client_class(self._options.host, port=self._options.port, timeout=timeout_s, retries=0)
        client.socket = dial(self.where, self._options.host, self._options.port, timeout_s)
        self._client = client

    def close(self) -> None:
        """Close the connection, if any."""
        client, self._client = self._client, None
        if client is not None and client.socket is not None:
            client.socket.close()
            client.socket = None

    def read_registers(self, table: Table, address: int, count: int) -> list[int]:
        """Return `count` registers, each 0 to 65535."""
        name = "read_holding_registers" if table == "holding" else "read_input_registers"
        answer = self._ask(name, address, count=count)
        values: list[int] = list(getattr(answer, "registers", []))
        if len(values) != count:
            self._rubbish(f"{len(values)} registers instead of {count}")
        return values

    def read_bit(self, table: BitTable, address: int) -> bool:
        """Return one coil or discrete input."""
        answer = self._ask("read_coils" if table == "coil" else "read_discrete_inputs", address, count=1)
        bits = list(getattr(answer, "bits", []))
        if not bits:
            self._rubbish("no bits")
        return bool(bits[0])

    def write_registers(self, address: int, values: Sequence[int]) -> None:
        """Write registers from `address` on, in one request."""
        self._ask("write_registers", address, list(values))

    def write_coil(self, address: int, *, on: bool) -> None:
        """Write one coil."""
        self._ask("write_coil", address, on)

    def _ask(self, name: str, *arguments: object, **keywords: object) -> ModbusPDU:
        client = self._client
        if client is None:
            raise LineError(f"PLC {self.where}: not connected.")
        _, device = _library()
        method: Callable[..., ModbusPDU] = getattr(client, name)
        try:
            answer = method(*arguments, **keywords, **{device: self._options.device_id})
        except LineError as exc:
            self.close()
            raise LineError(f"PLC {self.where}: {exc}") from exc
        except OSError as exc:
            self.close()
            raise LineError(f"PLC {self.where}: the connection was lost ({sentence(exc)}).") from exc
        except Exception as exc:
            # Any exception of the library's decoder on invalid data.
            self.close()
            raise LineError(f"PLC {self.where}: invalid answer ({sentence(exc)}).") from exc
        self._check(name, arguments[0], answer)
        return answer

    def _check(self, name: str, address: object, answer: ModbusPDU) -> None:
        if answer.isError():
            code = getattr(answer, "exception_code", 0)
            self.close()
            raise LineError(
                f"PLC {self.where}: {name} at address {address} was refused with exception {code} "
                f"({_EXCEPTIONS.get(code, 'unknown')}); check the addresses in line.toml and the PLC's map."
            )

    def _rubbish(self, what: str) -> None:
        self.close()
        raise LineError(f"PLC {self.where}: invalid answer ({what}).")


def to_words(value: int, order: WordOrder) -> list[int]:
    """Split a value into two registers, modulo 2^32; `order` "big" puts the high word first."""
    high, low = value >> 16 & 0xFFFF, value & 0xFFFF
    return [high, low] if order == "big" else [low, high]


def from_words(words: Sequence[int], order: WordOrder) -> int:
    """Combine one or two registers into a value; never negative."""
    if len(words) == 1:
        return words[0]
    high, low = words if order == "big" else reversed(words)
    return high << 16 | low


@lru_cache(maxsize=1)
def _library() -> tuple[Any, str]:
    """Return the client class with our own socket handling, and the device id's keyword. Raises LineError."""
    try:
        from pymodbus.client import ModbusTcpClient  # noqa: PLC0415 (only where Modbus is used)
    except ImportError as exc:
        raise LineError(
            f"Modbus needs pymodbus, which is not installed; run: {install_hint('line')}"
        ) from exc
    logger = logging.getLogger("pymodbus")
    if logger.level == logging.NOTSET:
        # The library logs each failure in several lines; ours is raised, counted and reported once.
        logger.setLevel(logging.CRITICAL)

    class Client(ModbusTcpClient):
        """Sends and reads with a deadline for the whole answer, and validates the header as it arrives."""

        def send(self, request: bytes, addr: object = None) -> int:  # noqa: ARG002 (the library's signature)
            self._asked, self._got = bytes(request), b""
            self._end = time.monotonic() + float(self.comm_params.timeout_connect or 1.0)
            _socket(self).settimeout(max(self._end - time.monotonic(), 0.001))
            _socket(self).sendall(request)
            return len(request)

        def recv(self, size: int | None) -> bytes:  # noqa: ARG002 (the library's signature)
            data = receive(_socket(self), self._end, _HEADER + _LONGEST)
            self._got += data
            check_answer(self._asked, self._got)
            return data

    keyword = "device_id" if "device_id" in inspect.signature(Client.write_coil).parameters else "slave"
    return Client, keyword


def _socket(client: Any) -> socket.socket:
    plug = client.socket
    if not isinstance(plug, socket.socket):
        raise LineError("not connected")
    return plug


def check_answer(asked: bytes, got: bytes) -> None:
    """Raise LineError if the bytes `got` so far cannot be the answer to the request `asked`."""
    if got[:4] != asked[: min(len(got), 4)]:
        raise LineError("it answered a different request (transaction or protocol id)")
    length = int.from_bytes(got[4:6], "big")
    if len(got) >= _HEADER and not 3 <= length <= _LONGEST:
        raise LineError(f"invalid answer (a length of {length})")
    if len(got) >= _HEADER and got[6] != asked[6]:
        raise LineError(
            f"it answered as device (unit) {got[6]}, not {asked[6]}: set device_id = {got[6]}, or the "
            "unit id in the PLC"
        )
    if len(got) >= _HEADER and len(got) > 6 + length:
        raise LineError("it answered more than was requested")
    if len(got) > _HEADER:
        function = got[_HEADER]
        if function & 0x7F != asked[_HEADER]:
            raise LineError("invalid answer (another function)")
        # An acknowledged write repeats its address and its value or count.
        if function in _WRITES and got[8:12] != asked[8 : min(len(got), 12)]:
            raise LineError("invalid answer (it wrote something else)")
