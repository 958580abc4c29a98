"""An OPC UA output and a client that reads it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from asyncua.client.client import Client

from ast_edge.line.outputs.opcua import OpcUaOptions, OpcUaOutput
from tests.line.parts import StillStation
from tests.waiting import wait_for

NAMESPACE = "urn:ast-edge"


@contextmanager
def opcua(
    port: int, station: StillStation | None = None, *, listening: bool = True, **options: Any
) -> Iterator[OpcUaOutput]:
    """An output that runs while the block does, and ends with it."""
    before = set(threading.enumerate())
    output = OpcUaOutput(OpcUaOptions(**{"kind": "opcua", "port": port, **options}))
    output.start(station or StillStation())
    try:
        wait_for(lambda: output.status.connected or not listening, 60)
        yield output
    finally:
        output.close(10)
        output.close(10)
        assert not set(threading.enumerate()) - before


def url(port: int) -> str:
    return f"opc.tcp://127.0.0.1:{port}/ast-edge/"


def as_client(port: int, work: Callable[[Client], Awaitable[Any]], **how: Any) -> Any:
    """Do some work as a client without security, or as `prepare` makes one."""

    async def run() -> Any:
        client = Client(url(port), timeout=how.get("timeout", 20))
        if "prepare" in how:
            await how["prepare"](client)
        async with client:
            return await work(client)

    return asyncio.run(run())


async def node(client: Client, path: str, station: str = "bench") -> Any:
    index = await client.get_namespace_index(NAMESPACE)
    return client.get_node(f"ns={index};s={station}.{path}")


def read(port: int, *paths: str, **how: Any) -> dict[str, Any]:
    async def work(client: Client) -> dict[str, Any]:
        return {path: await (await node(client, path)).read_value() for path in paths}

    found: dict[str, Any] = as_client(port, work, **how)
    return found
