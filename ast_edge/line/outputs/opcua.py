"""Results for OPC UA clients; the station is a server."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import re
import socket
import time
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ast_edge.errors import LineError, sentence
from ast_edge.line.config.options import Host, Name, Options, Port, Secret, host_port
from ast_edge.line.events import Event
from ast_edge.line.links.guarded_loop import GuardedLoop
from ast_edge.line.links.opcua import StationServer
from ast_edge.line.links.opcua_access import Access, load_identity, missing
from ast_edge.line.outputs.queued import QueuedOutput
from ast_edge.line.part import PartResult
from ast_edge.line.status import StationStatus

_LOOK_S = 0.5
_GOODBYE_S = 0.3  # lets subscribers see that the station stopped
_STOP_S = 5.0


class OpcUaOptions(Options):
    """An OPC UA server on `host` and `port`, by default only for this machine.

    With `certificate` and `key` (PEM, RSA, `key_password` if encrypted) only Basic256Sha256, signed and
    encrypted, is offered; `username` with `password` disables anonymous access, which requires a certificate.
    `namespace`: the URI of the station's nodes. `room`: maximum number of waiting results while the port is
    not available.
    """

    kind: Literal["opcua"]
    name: Name = "opcua"
    host: Host = "127.0.0.1"
    port: Port = 4840
    namespace: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[!-~]+$")] = "urn:ast-edge"
    certificate: Path | None = None
    key: Path | None = None
    key_password: Secret | None = None
    username: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    password: Secret | None = None
    room: Annotated[int, Field(ge=1, le=1_000_000)] = 1000

    @model_validator(mode="after")
    def _together(self) -> OpcUaOptions:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("give both certificate and key, or neither")
        if (self.username is None) != (self.password is None):
            raise ValueError("give both username and password, or neither")
        if self.username is not None and self.certificate is None:
            raise ValueError("a password needs a certificate and a key, else it crosses the network readable")
        if self.key_password is not None and self.key is None:
            raise ValueError("key_password is given without a key")
        return self


class OpcUaOutput(QueuedOutput):
    """A result is delivered when the server shows it as the last one.

    Results are shown one after the other; a client that must see each of them subscribes to `LastResult.Json`
    with a queue. Connected means that the server listens; a port that is not available is retried.
    """

    grace_s = 10.0  # building the address space takes a while and cannot be interrupted

    def __init__(self, options: OpcUaOptions) -> None:
        """Raises LineError for an unusable secret or certificate, or if asyncua is missing."""
        super().__init__(options.name, room=options.room)
        self._options = options
        self._access = _access(options)
        if importlib.util.find_spec("asyncua") is None:  # importing it takes a while
            raise missing()
        self._server: StationServer | None = None
        self._loop: GuardedLoop | None = None
        self._wake: asyncio.Event | None = None

    # ---- Output --------------------------------------------------------------------------------------------

    def note(self, event: Event) -> None:
        """Ignore events; warnings are part of the station's state."""

    def close(self, timeout_s: float) -> None:
        """Close the output; clients see the state "stopped" briefly, then the connection is closed."""
        with self._news:
            if self._end is None:
                self._end = time.monotonic() + timeout_s
        self._rouse()
        super().close(timeout_s)

    def _add(self, item: PartResult | Event) -> None:
        super()._add(item)
        self._rouse()

    def _rouse(self) -> None:
        with self._news:
            if self._loop is not None and self._wake is not None:
                self._loop.call_soon_threadsafe(self._wake.set)

    # ---- on the output's own thread ------------------------------------------------------------------------

    def _connect(self) -> None:
        loop = GuardedLoop(self._listen())
        station = self._status()
        safe = re.sub(r"[^A-Za-z0-9_-]", "_", station.name)
        self._server = StationServer(safe, self._options.namespace, self._access)
        with self._news:
            self._loop, self._wake = loop, asyncio.Event()
        where = host_port(self._options.host, self._options.port)
        loop.run(self._server.start(f"opc.tcp://{where}/ast-edge/"))

    def _serve(self) -> None:
        if self._loop is None or self._server is None or self._wake is None:
            raise LineError(f"output {self.name}: the server was not started; this is a bug of ast-edge.")
        self._set_connected(connected=True)
        self._loop.run(self._show(self._server, self._wake))

    def _disconnect(self) -> None:
        with self._news:
            loop, self._loop = self._loop, None
            server, self._server = self._server, None
        if loop is None:
            return
        try:
            if server is not None:
                loop.run(asyncio.wait_for(server.stop(), _STOP_S))
        finally:
            loop.end()

    async def _show(self, server: StationServer, wake: asyncio.Event) -> None:
        """Show results until the output is closed; clients are served meanwhile."""
        looked_at = 0.0
        while not self._over():
            wake.clear()
            while (item := self._first()) is not None:
                if isinstance(item, PartResult):
                    await server.show_result(item)
                self._settle(item)
                await asyncio.sleep(0)
            if time.monotonic() - looked_at >= _LOOK_S:
                looked_at = time.monotonic()
                await server.show_station(self._status())
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(wake.wait(), _LOOK_S)
        await server.show_station(self._status().at_end())
        await asyncio.sleep(_GOODBYE_S)

    def _first(self) -> PartResult | Event | None:
        with self._news:
            return self._queue[0] if self._queue and not self._over() else None

    def _listen(self) -> socket.socket:
        host, port = self._options.host, self._options.port
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            return socket.create_server(address[:2], family=family)
        except OSError as exc:
            raise LineError(
                f"output {self.name}: port {port} of {host} cannot be opened ({sentence(exc)}); stop what "
                "uses it, or choose another port."
            ) from exc

    def _status(self) -> StationStatus:
        if self.station is None:
            raise LineError(f"output {self.name}: it was not started; this is a bug of ast-edge.")
        return self.station.status()


def _access(options: OpcUaOptions) -> Access:
    what = f"output {options.name}"
    if options.certificate is None or options.key is None:
        return Access()
    secret = "" if options.key_password is None else options.key_password.read(f"{what}: key_password")
    identity = load_identity(options.certificate, options.key, secret, what)
    if options.username is None or options.password is None:
        return Access(identity)
    return Access(identity, options.username, options.password.read(f"{what}: password"))
