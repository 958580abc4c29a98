"""What every connection to a PLC over TCP has in common."""

from __future__ import annotations

import socket
import time
from typing import Annotated, Protocol

from pydantic import Field

from ast_edge.errors import LineError, sentence
from ast_edge.line.config.options import Host, Options


class PlcOptions(Options):
    """The PLC. `host`: its name or address.

    `timeout_ms`: the time limit of a request, after which the connection counts as lost.
    """

    host: Host
    timeout_ms: Annotated[float, Field(ge=10, le=5_000)] = 200.0


class PlcLink(Protocol):
    """One connection to a PLC, for one thread.

    Every method raises LineError when the PLC is unreachable, late, refuses, or answers nonsense; the
    connection is then closed, and `open()` is required again.
    """

    where: str

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that has had no error."""

    def open(self) -> None:
        """Connect; an existing connection is closed."""

    def close(self) -> None:
        """Close the connection, if any."""


def dial(where: str, host: str, port: int, timeout_s: float) -> socket.socket:
    """Return a TCP connection that sends at once. Raises LineError."""
    try:
        plug = socket.create_connection((host, port), timeout_s)
    except OSError as exc:
        raise LineError(
            f"PLC {where}: no connection ({sentence(exc)}); check address, port and cable."
        ) from exc
    plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plug


def receive(plug: socket.socket, end: float, most: int) -> bytes:
    """Return what arrives next, at most `most` bytes, until `end` of `time.monotonic`. Raises LineError."""
    left_s = end - time.monotonic()
    if left_s <= 0:
        raise LineError("it did not answer in time")
    plug.settimeout(left_s)
    try:
        data = plug.recv(most)
    except TimeoutError as exc:
        raise LineError("it did not answer in time") from exc
    if not data:
        raise LineError("it closed the connection")
    return data
