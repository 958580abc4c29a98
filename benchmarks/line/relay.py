"""A relay before a PLC's server that has no means to be slow or to spoil its own answers."""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

from benchmarks.common.counterparts import free_port, listens
from benchmarks.line import conveyor

_LOOK_S = 0.02


class RelayedPlc(conveyor.Plc):
    """The station connects to the relay, the relay to the server.

    A message begins with `head` bytes; `spoilers` change answers, by mode.
    """

    head: ClassVar[int]
    spoilers: ClassVar[Mapping[str, Callable[[bytes], bytes]]]

    @abstractmethod
    def rest(self, head: bytes) -> int:
        """Return the number of bytes after the head of a message."""

    @abstractmethod
    def listen(self, port: int) -> None:
        """Start the server on threads."""

    async def serve(self) -> None:
        """Until cancelled."""
        behind = free_port()
        self.listen(behind)
        while not listens(behind):
            await asyncio.sleep(_LOOK_S)

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner, outer = await asyncio.open_connection("127.0.0.1", behind)
            await asyncio.gather(
                self._pass(reader, outer, answers=False), self._pass(inner, writer, answers=True)
            )

        async with await asyncio.start_server(relay, "127.0.0.1", self.port) as listener:
            await listener.serve_forever()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        """Pass messages on, answers late and spoiled where that is asked for."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(self.head)
                data = head + await reader.readexactly(self.rest(head))
                if answers and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                self.asked += not answers
                spoiler = self.spoilers.get(self.mode) if answers else None
                writer.write(data if spoiler is None else spoiler(data))
                await writer.drain()
        writer.close()
