"""Access to the OPC UA server: clients and the requests allowed to them."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast_edge.errors import LineError, sentence
from ast_edge.wording import install_hint

if TYPE_CHECKING:
    from asyncua.crypto.permission_rules import User
    from asyncua.server.server import Server

_MESSAGE_BYTES = 1 << 20
# Limits of asyncua 2 per server, far above what a few clients need.
_LIMITS: dict[str, object] = {
    "max_session_timeout_ms": 120_000.0,
    "max_connections": 64,
    "max_pending_messages_per_connection": 100,
    "max_pending_activation_seconds": 10.0,
    "max_subscriptions": 128,
    "max_monitored_item_queue_size": 1000,
    "max_unacked_messages_per_subscription": 100,
}
# Requests allowed within a session: none that writes, calls, or stores anything here.
_ALLOWED = (
    "Read",
    "Browse",
    "TranslateBrowsePathsToNodeIds",
    "RegisterNodes",
    "UnregisterNodes",
    "CreateSubscription",
    "ModifySubscription",
    "DeleteSubscriptions",
    "CreateMonitoredItems",
    "ModifyMonitoredItems",
    "DeleteMonitoredItems",
    "SetMonitoringMode",
    "SetPublishingMode",
    "Publish",
    "Republish",
    "CloseSession",
    "CloseSecureChannel",
)


@dataclass(frozen=True, repr=False)
class Identity:
    """The server's identity: certificate and key as DER, and the URI in the certificate, if any."""

    certificate: bytes
    key: bytes
    uri: str


@dataclass(frozen=True, repr=False)
class Access:
    """Who may connect. Without `identity` anyone, unencrypted; with it only with Basic256Sha256, signed and
    encrypted, and with `username` only with the password.
    """

    identity: Identity | None = None
    username: str = ""
    password: str = ""


def load_identity(certificate: Path, key: Path, password: str, what: str) -> Identity:
    """Read PEM files. Raises LineError if they are unreadable or do not match."""
    try:
        from cryptography import x509  # noqa: PLC0415 (comes with asyncua, which is optional)
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415
    except ImportError as exc:
        raise missing() from exc
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        secret = serialization.load_pem_private_key(key.read_bytes(), password.encode() or None)
    except (OSError, ValueError, TypeError) as exc:
        raise LineError(
            f"{what}: certificate {certificate} with key {key} cannot be used ({sentence(exc)}); give both "
            "as PEM, and key_password if the key is encrypted."
        ) from exc
    if not isinstance(secret, rsa.RSAPrivateKey) or secret.key_size < 2048:
        raise LineError(f"{what}: {key} is not an RSA key of 2048 bits or more, as OPC UA requires.")
    if secret.public_key() != found.public_key():
        raise LineError(f"{what}: {key} is not the key of certificate {certificate}.")
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    der = serialization.Encoding.DER
    return Identity(
        found.public_bytes(der),
        secret.private_bytes(der, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        uris[0] if uris else "",
    )


def missing() -> LineError:
    """Return the error if asyncua is not installed."""
    return LineError(f"OPC UA needs asyncua, which is not installed: {install_hint('line')}")


def types() -> Any:
    """Import asyncua's module of types. Raises LineError if it is missing."""
    try:
        from asyncua import ua  # noqa: PLC0415 (optional, and slow to import)
    except ImportError as exc:
        raise missing() from exc
    return ua


def bound(server: Server) -> None:
    """Set limits, and disable what strangers could do without a session.

    - No directory of other servers, which anyone could modify.
    - No session moves to another connection: asyncua moves it, for any client that guesses its token,
      before it checks permissions. A client whose connection died creates a new session.
    """
    from asyncua.common.utils import ServiceError  # noqa: PLC0415 (optional)

    ua = types()

    def refuse(*_: object) -> None:
        raise ServiceError(ua.StatusCodes.BadServiceUnsupported)

    server.limits.max_message_size = _MESSAGE_BYTES
    server.limits.max_chunk_count = _MESSAGE_BYTES // server.limits.max_recv_buffer + 1
    own: dict[str, object] = {
        **_LIMITS,
        "register_server": refuse,
        "register_server2": refuse,
        "lookup_external_session": lambda *_: None,
    }
    for name, value in own.items():
        if hasattr(server.iserver, name):
            setattr(server.iserver, name, value)


class Users:
    """Accepts users as `access` allows, never as administrator.

    asyncua opens an unsecured channel even if no such endpoint is offered, for clients that look for
    endpoints; a session over it has no client certificate and is refused here.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    def get_user(
        self,
        iserver: object,  # noqa: ARG002 (the signature of asyncua)
        username: str | None = None,
        password: str | None = None,
        certificate: object = None,
    ) -> User | None:
        """Return the user, or None to refuse."""
        from asyncua.crypto.permission_rules import User, UserRole  # noqa: PLC0415

        access = self._access
        known = not access.username or (
            _equal(username, access.username) and _equal(password, access.password)
        )
        secure = access.identity is None or bool(certificate)
        return User(role=UserRole.User) if known and secure else None


def _equal(given: object, expected: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(), expected.encode())


class ReadOnly:
    """Refuses every request that is not read-only."""

    def __init__(self) -> None:
        ua = types()
        self._allowed = {
            ua.NodeId(getattr(ua.ObjectIds, f"{name}Request_Encoding_DefaultBinary")) for name in _ALLOWED
        }

    def check_validity(self, user: object, action_type_id: object, body: object) -> bool:  # noqa: ARG002
        """Whether the request is allowed."""
        return action_type_id in self._allowed
