"""Results to real OPC UA clients: the values they see, and their permissions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.uaerrors import UaError, UaStatusCodeError
from pydantic import ValidationError

from ast_edge.errors import LineError
from ast_edge.line.events import Event
from ast_edge.line.outputs.opcua import OpcUaOptions, OpcUaOutput
from ast_edge.line.status import Surroundings
from tests.line.certificates import Authority, Pair
from tests.line.parts import StillStation, part_result
from tests.waiting import free_port, wait_for

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


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[int, OpcUaOutput]]:
    """A server without security that most tests look at; parts are put by them."""
    port = free_port()
    with opcua(port) as output:
        yield port, output


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


def test_closing_at_any_moment() -> None:
    never = OpcUaOutput(OpcUaOptions(kind="opcua", port=free_port()))
    never.put(part_result())
    never.close(1)
    assert never.status.undelivered == 1
    with opcua(free_port(), listening=False) as output:
        output.put(part_result(1))
    assert output.status.delivered + output.status.undelivered == 1


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """Certificates of a server and of a client."""
    authority = Authority(tmp_path_factory.mktemp("opcua"))
    return {
        "server": authority.sign("server", password="of the key", uri="urn:hall:station-7"),  # noqa: S106
        "client": authority.sign("client", uri="urn:hall:client"),
        "curve": authority.sign("curve"),
    }


def client_of(pairs: dict[str, Pair], policy: str, **user: str) -> Callable[[Client], Awaitable[None]]:
    async def prepare(client: Client) -> None:
        own = pairs["client"]
        client.application_uri = "urn:hall:client"
        if policy:
            await client.set_security_string(f"Basic256Sha256,{policy},{own.certificate},{own.key}")
        if user:
            client.set_user(user["name"])
            client.set_password(user["password"])

    return prepare


def be_careless(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on clients do not care whether the server offers what they use."""

    def first(endpoints: list[Any], *_: object) -> Any:
        return endpoints[0]

    monkeypatch.setattr(Client, "find_endpoint", staticmethod(first))


REFUSED = (UaError, ConnectionError, asyncio.TimeoutError, ValueError)


def test_with_certificates_and_a_password(pairs: dict[str, Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_PASSWORD", "of the key")
    monkeypatch.setenv("OPCUA_PASSWORD", "correct horse")
    port, server = free_port(), pairs["server"]
    right = {"name": "line", "password": "correct horse"}
    with opcua(
        port,
        certificate=server.certificate,
        key=server.key,
        key_password={"env": "KEY_PASSWORD"},
        username="line",
        password={"env": "OPCUA_PASSWORD"},
    ) as output:
        output.put(part_result(3))
        wait_for(lambda: output.status.delivered == 1)
        secure = client_of(pairs, "SignAndEncrypt", **right)
        assert read(port, "LastResult.Number", prepare=secure) == {"LastResult.Number": 3}
        strangers = {
            "wrong password": client_of(pairs, "SignAndEncrypt", name="line", password="wrong"),  # noqa: S106
            "wrong name": client_of(pairs, "SignAndEncrypt", name="admin", password="correct horse"),  # noqa: S106
            "anonymous": client_of(pairs, "SignAndEncrypt"),
            "signed only": client_of(pairs, "Sign", **right),
            "in clear": client_of(pairs, "", **right),
            "in clear, anonymous": client_of(pairs, ""),
        }
        for who, prepare in strangers.items():
            with pytest.raises(REFUSED):
                pytest.fail(f"{who} read {read(port, 'State', prepare=prepare)}")
        (endpoint,) = asyncio.run(Client(url(port)).connect_and_get_server_endpoints())
        assert endpoint.SecurityMode == ua.MessageSecurityMode.SignAndEncrypt
        assert endpoint.SecurityPolicyUri.endswith("#Basic256Sha256")
        assert [token.TokenType for token in endpoint.UserIdentityTokens] == [ua.UserTokenType.UserName]
        assert endpoint.Server.ApplicationUri == "urn:hall:station-7"
        be_careless(monkeypatch)
        for user in (right, {}):
            with pytest.raises(UaStatusCodeError, match=r"Denied|Rejected"):
                pytest.fail(f"in clear: {read(port, 'State', prepare=client_of(pairs, '', **user))}")
        signing = client_of(pairs, "Sign", **right)
        with pytest.raises(REFUSED):
            pytest.fail(f"signed only: {read(port, 'State', prepare=signing, timeout=2)}")
        assert read(port, "LastResult.Number", prepare=secure) == {"LastResult.Number": 3}


async def steal(victim: Client, port: int) -> Any:
    """Read in another client's session, whose token is easy to guess, over a separate connection."""
    thief = Client(url(port), timeout=20)
    await thief.connect_socket()
    try:
        await thief.send_hello()
        await thief.open_secure_channel()
        thief.uaclient.session.restore_authentication_token(victim.uaclient.session.authentication_token)
        with pytest.raises(UaStatusCodeError):
            await thief.uaclient.session.activate_session(ua.ActivateSessionParameters())
        return await thief.get_node("i=2261").read_value()
    finally:
        thief.disconnect_socket()


def test_with_certificates_alone(pairs: dict[str, Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_PASSWORD", "of the key")
    port, server = free_port(), pairs["server"]
    how: dict[str, Any] = {"certificate": server.certificate, "key": server.key}
    with opcua(port, **how, key_password={"env": "KEY_PASSWORD"}):
        secure = client_of(pairs, "SignAndEncrypt")
        assert read(port, "Passed", prepare=secure) == {"Passed": 9}
        with pytest.raises(UaStatusCodeError):
            pytest.fail(f"stolen: {as_client(port, lambda victim: steal(victim, port), prepare=secure)}")
        with pytest.raises(REFUSED):
            read(port, "Passed")
        be_careless(monkeypatch)
        with pytest.raises(UaStatusCodeError, match="Denied"):
            read(port, "Passed")


@pytest.mark.parametrize("broken", ["missing", "rubbish", "curve", "other", "locked", "password"])
def test_what_cannot_be_used_is_said_when_the_output_is_made(
    tmp_path: Path, pairs: dict[str, Pair], broken: str
) -> None:
    (tmp_path / "rubbish").write_bytes(b"\x00\xff")
    server, client, curve = pairs["server"], pairs["client"], pairs["curve"]
    given: dict[str, dict[str, Any]] = {
        "missing": {"certificate": tmp_path / "none", "key": client.key},
        "rubbish": {"certificate": client.certificate, "key": tmp_path / "rubbish"},
        "curve": {"certificate": curve.certificate, "key": curve.key},
        "other": {"certificate": server.certificate, "key": client.key},
        "locked": {"certificate": server.certificate, "key": server.key},
        "password": {
            "certificate": client.certificate,
            "key": client.key,
            "username": "u",
            "password": {"env": "AST_EDGE_NOT_SET"},
        },
    }
    with pytest.raises(LineError, match=r"^output opcua: "):
        OpcUaOutput(OpcUaOptions(kind="opcua", **given[broken]))


@pytest.mark.parametrize(
    "options",
    [
        {"port": 0},
        {"certificate": "c.pem"},
        {"username": "u"},
        {"username": "u", "password": {"env": "P"}},
        {"key_password": {"env": "P"}},
        {"namespace": ""},
        {"namespace": "a b"},
        {"host": "a b"},
        {"writable": True},
    ],
)
def test_options_that_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OpcUaOptions(**{"kind": "opcua", **options})


def test_without_asyncua_the_error_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['asyncua'] = None; sys.path_importer_cache.clear()\n"
        "from ast_edge.line.outputs.opcua import OpcUaOptions, OpcUaOutput\n"
        "OpcUaOutput(OpcUaOptions(kind='opcua'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert 'LineError: OPC UA needs asyncua, which is not installed: `pip install ".[line]"`' in done.stderr


def test_a_client_comes_by_ipv6() -> None:
    port = free_port()

    async def look() -> str:
        async with Client(f"opc.tcp://[::1]:{port}/ast-edge/", timeout=20) as client:
            endpoints = await client.get_endpoints()
            assert {endpoint.EndpointUrl for endpoint in endpoints} == {f"opc.tcp://[::1]:{port}/ast-edge/"}
            return str(await (await node(client, "State")).read_value())

    with opcua(port, host="::1"):
        assert asyncio.run(look()) == "running"
