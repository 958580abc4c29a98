"""An event loop whose server bounds the number of clients and the size of messages.

asyncua limits messages, but buffers what a client announces before it checks them, and its send buffers for a
client that does not read grow without bound.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from typing_extensions import override

MAX_CLIENTS = 32
MAX_CHUNK_BYTES = 65_535
MAX_UNREAD_BYTES = 4 << 20
_KINDS = (b"HEL", b"OPN", b"MSG", b"CLO", b"ERR")
_HEAD_BYTES = 8
_T = TypeVar("_T")


class GuardedLoop(asyncio.SelectorEventLoop):
    """Its servers listen on `listener`, regardless of the address passed to them."""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__()
        self._listener = listener
        self.clients: set[Guard] = set()

    @override
    async def create_server(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.Protocol], *_: Any, **__: Any
    ) -> asyncio.AbstractServer:
        return await super().create_server(
            lambda: Guard(protocol_factory(), self.clients), sock=self._listener
        )

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run one coroutine; other tasks continue with the next call."""
        return self.run_until_complete(work)

    def end(self) -> None:
        """Cancel remaining tasks, join the threads, close."""
        if self.is_closed():
            return
        try:
            left = asyncio.all_tasks(self)
            for task in left:
                task.cancel()
            if left:
                self.run(_gone(left))
            self.run(self.shutdown_asyncgens())
            self.run(self.shutdown_default_executor())
        finally:
            self.close()
            self._listener.close()


async def _gone(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


class Guard(asyncio.Protocol):
    """Sits between a client and the OPC UA TCP protocol, whose chunks start with their kind and size."""

    def __init__(self, inner: asyncio.Protocol, clients: set[Guard]) -> None:
        self._inner, self._clients = inner, clients
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._left = 0  # remaining bytes of the chunk

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if len(self._clients) >= MAX_CLIENTS or not isinstance(transport, asyncio.Transport):
            transport.close()
            return
        self._clients.add(self)
        self._transport = transport
        transport.set_write_buffer_limits(MAX_UNREAD_BYTES)
        self._inner.connection_made(transport)

    @override
    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        if self._fits(data):
            self._inner.data_received(data)
        else:
            self._transport.abort()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        if self._transport is not None:
            self._transport.abort()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._transport = None
            self._clients.discard(self)
            self._inner.connection_lost(exc)

    def _fits(self, data: bytes) -> bool:
        """Follow the chunks through the stream; return False for an invalid or oversized one."""
        at = 0
        while at < len(data):
            skipped = min(self._left, len(data) - at)
            self._left -= skipped
            at += skipped
            if self._left or at == len(data):
                return True
            taken = data[at : at + _HEAD_BYTES - len(self._head)]
            self._head += taken
            at += len(taken)
            if not any(kind.startswith(self._head[:3]) for kind in _KINDS):
                return False
            if len(self._head) == _HEAD_BYTES:
                size = int.from_bytes(self._head[4:], "little")
                if self._head[:3] not in _KINDS or not _HEAD_BYTES <= size <= MAX_CHUNK_BYTES:
                    return False
                self._head, self._left = b"", size - _HEAD_BYTES
        return True
