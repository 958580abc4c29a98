"""Limits of the OPC UA server: sizes, numbers, and clients that do not read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.line.links.guarded_loop import MAX_CHUNK_BYTES, MAX_CLIENTS, Guard, GuardedLoop
from tests.waiting import wait_for


class Inner(asyncio.Protocol):
    """Remembers what it hears; says `answer` to whatever it hears."""

    def __init__(self, answer: bytes = b"") -> None:
        self.heard = b""
        self.lost = False
        self._answer = answer
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard += data
        if self._transport is not None and self._answer:
            self._transport.write(self._answer)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.lost = True


class Wire(asyncio.Transport):
    """The end of a connection that only knows whether it was cut."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def abort(self) -> None:
        self.cut = True


def chunk(kind: bytes, size: int) -> bytes:
    return kind + b"F" + size.to_bytes(4, "little") + b"x" * (size - 8)


chunks = st.lists(
    st.builds(chunk, st.sampled_from([b"HEL", b"OPN", b"MSG", b"CLO"]), st.integers(8, 40)), max_size=6
)


@given(chunks, st.lists(st.integers(1, 9), min_size=1))
def test_whole_chunks_pass_however_they_are_cut(parts: list[bytes], cuts: list[int]) -> None:
    inner, wire, clients = Inner(), Wire(), set[Guard]()
    guard = Guard(inner, clients)
    guard.connection_made(wire)
    rest, turn = b"".join(parts), 0
    while rest:
        size = cuts[turn % len(cuts)]
        guard.data_received(rest[:size])
        rest, turn = rest[size:], turn + 1
    assert not wire.cut
    assert inner.heard == b"".join(parts)
    guard.connection_lost(None)
    assert inner.lost
    assert not clients


@given(chunks, st.binary(min_size=8), st.integers(1, 9))
def test_what_is_no_chunk_cuts_the_connection(parts: list[bytes], rubbish: bytes, size: int) -> None:
    inner, wire = Inner(), Wire()
    guard = Guard(inner, set())
    guard.connection_made(wire)
    stream = b"".join(parts) + rubbish
    for at in range(0, len(stream), size):
        guard.data_received(stream[at : at + size])
        if wire.cut:
            break
    kind, announced = rubbish[:3], int.from_bytes(rubbish[4:8], "little")
    fits = kind in (b"HEL", b"OPN", b"MSG", b"CLO", b"ERR") and 8 <= announced <= MAX_CHUNK_BYTES
    if not fits:
        assert wire.cut
        # Nothing behind the first eight bytes of rubbish is looked at.
        assert len(inner.heard) < len(b"".join(parts)) + 8 + size


@pytest.mark.parametrize("size", [0, 7, MAX_CHUNK_BYTES + 1, 2**32 - 1])
def test_a_chunk_that_announces_too_much_or_too_little(size: int) -> None:
    inner, wire = Inner(), Wire()
    guard = Guard(inner, set())
    guard.connection_made(wire)
    guard.data_received(b"MSGF" + size.to_bytes(4, "little"))
    assert wire.cut
    assert inner.heard == b""


@contextmanager
def served(answer: bytes = b"") -> Iterator[tuple[int, list[Inner]]]:
    """A guarded server on a thread of its own: its port, and who was behind it."""
    listener = socket.create_server(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    loop, inner, done = GuardedLoop(listener), [], asyncio.Event()

    def one() -> Inner:
        inner.append(Inner(answer))
        return inner[-1]

    async def serve() -> None:
        server = await loop.create_server(one)
        await done.wait()
        server.close()

    def work() -> None:
        loop.run(serve())
        loop.end()
        loop.end()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield port, inner
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()


def test_more_clients_than_that_are_turned_away() -> None:
    with served() as (port, inner), contextlib.ExitStack() as stack:

        def client() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", port), 20))

        clients = [client() for _ in range(MAX_CLIENTS)]
        for each in clients:
            each.sendall(chunk(b"HEL", 10))
        wait_for(lambda: sum(each.heard != b"" for each in inner) == MAX_CLIENTS)
        assert client().recv(1) == b""
        clients[0].close()
        wait_for(lambda: any(each.lost for each in inner))
        again = client()
        again.sendall(chunk(b"HEL", 11))
        wait_for(lambda: any(len(each.heard) == 11 for each in inner))


def test_a_client_that_does_not_read_is_cut_off() -> None:
    with (
        served(answer=b"x" * 65536) as (port, inner),
        socket.create_connection(("127.0.0.1", port)) as client,
    ):
        client.settimeout(20)

        def ask() -> bool:
            with contextlib.suppress(OSError):
                client.sendall(chunk(b"MSG", 8) * 100)
            return any(each.lost for each in inner)

        wait_for(ask)
