"""Results to real OPC UA clients: the values they see, and their permissions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from ast_edge.line.events import Event
from ast_edge.line.outputs.opcua import OpcUaOptions, OpcUaOutput
from ast_edge.line.status import Surroundings
from tests.line.outputs.opcua_client import NAMESPACE, as_client, node, opcua, read
from tests.line.parts import StillStation, part_result
from tests.waiting import free_port, wait_for


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[int, OpcUaOutput]]:
    """A server without security that most tests look at; parts are put by them."""
    port = free_port()
    with opcua(port) as output:
        yield port, output


@pytest.mark.slow
def test_a_client_sees_the_station_and_the_last_result(shared: tuple[int, OpcUaOutput]) -> None:
    port, output = shared
    part = part_result(41, "reject", encoder=-7, external_id="A7")
    delivered = output.status.delivered
    output.put(part_result(40))
    output.put(part)
    output.note(Event("drift", {}, 0.0))
    wait_for(lambda: output.status.delivered == delivered + 2)
    names = ("State", "Recipe", "Threshold", "Camera", "Warnings", "Failures", "Open")
    assert read(port, *names, "Triggers", "Passed", "Rejected", "Faults") == {
        **dict(zip(names, ("running", "first", 1.0, "live", [], 0, 0), strict=True)),
        **{"Triggers": 12, "Passed": 9, "Rejected": 2, "Faults": 1},
    }
    last = ("PartId", "Number", "Verdict", "Reason", "Score", "Threshold", "Recipe", "LatencyMs")
    found = read(port, *(f"LastResult.{name}" for name in (*last, "Json", "Time")))
    values = ("run-0000041", 41, "reject", "", 2.0, 1.0, "first", 4.2)
    assert [found[f"LastResult.{name}"] for name in last] == list(values)
    assert json.loads(found["LastResult.Json"]) == part.as_dict()
    assert found["LastResult.Time"].timestamp() == pytest.approx(part.trigger.wall_s, abs=1e-3)
    assert (output.status.undelivered, output.status.queued) == (0, 0)


def test_a_fault_has_no_score(shared: tuple[int, OpcUaOutput]) -> None:
    port, output = shared
    delivered = output.status.delivered
    output.put(part_result(50, "fault"))
    wait_for(lambda: output.status.delivered == delivered + 1)
    found = read(port, "LastResult.Score", "LastResult.Reason")
    assert math.isnan(found["LastResult.Score"])
    assert found["LastResult.Reason"] == "no frame arrived in time (camera lost)"


class Hearing:
    """Takes what a subscription brings."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:  # noqa: ARG002
        self.heard.append(value)

    def status_change_notification(self, status: Any) -> None:
        pass


async def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.01)


def test_a_subscriber_sees_every_part_once_and_in_order(shared: tuple[int, OpcUaOutput]) -> None:
    port, output = shared

    async def work(client: Client) -> list[str]:
        hearing = Hearing()
        subscription = await client.create_subscription(50, hearing)
        await subscription.subscribe_data_change(await node(client, "LastResult.Json"), queuesize=1000)
        await until(lambda: hearing.heard)
        for number in range(1001, 1201):
            output.put(part_result(number, "reject"))
        await until(lambda: len(hearing.heard) >= 201)
        await subscription.delete()
        return [json.loads(each)["part_id"] for each in hearing.heard[1:]]

    assert as_client(port, work) == [f"run-{number:07d}" for number in range(1001, 1201)]


@pytest.mark.parametrize("path", ["State", "Passed", "LastResult.Verdict"])
def test_no_client_may_write(shared: tuple[int, OpcUaOutput], path: str) -> None:
    port, _ = shared

    async def work(client: Client) -> None:
        found = await node(client, path)
        before = await found.read_value()
        with pytest.raises(UaStatusCodeError, match="Denied"):
            await found.write_value(before)
        with pytest.raises(UaStatusCodeError, match="Denied"):
            await found.set_writable()

    as_client(port, work)
    as_client(port, work, prepare=as_admin)


async def as_admin(client: Client) -> None:
    """asyncua's own server makes this name an administrator; ours has no tokens for names."""
    client.set_user("admin")
    client._username = None


def test_no_client_may_add_call_or_register(shared: tuple[int, OpcUaOutput]) -> None:
    port, _ = shared

    async def work(client: Client) -> None:
        index = await client.get_namespace_index(NAMESPACE)
        with pytest.raises(UaStatusCodeError, match="Denied"):
            await client.nodes.objects.add_object(index, "mine")
        with pytest.raises(UaStatusCodeError, match="Denied"):
            await client.nodes.server.call_method("0:GetMonitoredItems", ua.UInt32(1))
        with pytest.raises(UaStatusCodeError, match="Denied"):
            await client.delete_nodes([await node(client, "State")])
        server = ua.RegisteredServer(ServerUri="urn:evil", ServerNames=[ua.LocalizedText("evil")])
        with pytest.raises(UaStatusCodeError, match=r"Unsupported|Denied"):
            await client.uaclient.register_server(server)
        assert [each.ApplicationUri for each in await client.find_servers()] == ["urn:ast-edge:bench"]

    as_client(port, work)


RUBBISH = {
    "noise": bytes(range(256)) * 16,
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "4 GB announced": b"MSGF\xff\xff\xff\xff" + b"x" * 100_000,
    "no size": b"HELF\x00\x00\x00\x00",
    "a hello that is none": b"HELF\x10\x00\x00\x00" + b"\xff" * 8,
    "a message without a channel": b"MSGF\x20\x00\x00\x00" + b"\x00" * 24,
    "nothing": b"",
}


@pytest.mark.parametrize("rubbish", RUBBISH.values(), ids=RUBBISH.keys())
def test_rubbish_does_no_harm(shared: tuple[int, OpcUaOutput], rubbish: bytes) -> None:
    port, output = shared
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port), 20) as client:
            client.sendall(rubbish)
    delivered = output.status.delivered
    output.put(part_result(7))
    wait_for(lambda: output.status.delivered == delivered + 1)
    assert read(port, "LastResult.PartId") == {"LastResult.PartId": "run-0000007"}
    assert output.status.connected
    assert output.status.last_error == ""


@pytest.mark.slow
def test_a_change_is_shown_and_the_end_is_too() -> None:
    station, port = StillStation(), free_port()
    station.now = replace(station.now, name="hall 7/a", surroundings=Surroundings(warnings=("drift",)))
    hearing = Hearing()

    async def work(client: Client) -> None:
        state = await node(client, "State", "hall_7_a")
        await until_value(await node(client, "Warnings", "hall_7_a"), ["drift"])
        station.now = replace(station.now, surroundings=Surroundings(), recipe="second")
        await until_value(await node(client, "Recipe", "hall_7_a"), "second")
        await until_value(await node(client, "Warnings", "hall_7_a"), [])
        subscription = await client.create_subscription(20, hearing)
        await subscription.subscribe_data_change(state)
        await until(lambda: hearing.heard)
        await asyncio.to_thread(output.close, 5)
        await until(lambda: hearing.heard[-1] == "stopped")
        client.uaclient.disconnect_socket()

    # The client's last message finds no server.
    with opcua(port, station) as output, contextlib.suppress(ConnectionError, UaError):
        as_client(port, work)
    assert hearing.heard == ["running", "stopped"]


async def until_value(found: Any, value: object) -> None:
    end = time.monotonic() + 30
    while await found.read_value() != value:
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.02)


@pytest.mark.slow
def test_a_port_that_is_taken_is_waited_for_and_nothing_is_lost() -> None:
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)) as taken,
        opcua(port, listening=False, room=50) as output,
    ):
        for number in range(1, 61):
            output.put(part_result(number))
        wait_for(lambda: f"port {port} of 127.0.0.1 cannot be opened" in output.status.last_error)
        assert (output.status.queued, output.status.undelivered) == (50, 10)
        assert not output.status.connected
        taken.close()
        wait_for(lambda: output.status.delivered == 50, 60)
        assert read(port, "LastResult.PartId") == {"LastResult.PartId": "run-0000060"}
        assert output.status.connected


@pytest.mark.slow
def test_closing_at_any_moment() -> None:
    never = OpcUaOutput(OpcUaOptions(kind="opcua", port=free_port()))
    never.put(part_result())
    never.close(1)
    assert never.status.undelivered == 1
    with opcua(free_port(), listening=False) as output:
        output.put(part_result(1))
    assert output.status.delivered + output.status.undelivered == 1


@pytest.mark.slow
def test_a_client_comes_by_ipv6() -> None:
    port = free_port()

    async def look() -> str:
        async with Client(f"opc.tcp://[::1]:{port}/ast-edge/", timeout=20) as client:
            endpoints = await client.get_endpoints()
            assert {endpoint.EndpointUrl for endpoint in endpoints} == {f"opc.tcp://[::1]:{port}/ast-edge/"}
            return str(await (await node(client, "State")).read_value())

    with opcua(port, host="::1"):
        assert asyncio.run(look()) == "running"
