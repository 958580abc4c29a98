"""Access to the OPC UA server: certificates, passwords, and options that are refused."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.uaerrors import UaError, UaStatusCodeError
from pydantic import ValidationError

from ast_edge.errors import LineError
from ast_edge.line.outputs.opcua import OpcUaOptions, OpcUaOutput
from tests.line.certificates import Authority, Pair
from tests.line.outputs.opcua_client import as_client, opcua, read, url
from tests.line.parts import part_result
from tests.waiting import free_port, wait_for

pytestmark = pytest.mark.slow


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
