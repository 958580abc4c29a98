"""One connection to an MQTT broker; paho-mqtt runs only on the thread that owns it.

Received messages are in `Link.inbox` in order of arrival, and are acknowledged only on request of the owner.
"""

from __future__ import annotations

import select
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from ast_edge.errors import LineError, sentence
from ast_edge.line.config.options import Host, Name, Options, Port, Seconds, Secret, host_port
from ast_edge.line.links.tls import TlsOptions
from ast_edge.line.links.waker import Waker
from ast_edge.wording import install_hint

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

Topic = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^+#$\x00-\x1f][^+#\x00-\x1f]*$")]
MAX_PACKET_BYTES = 1 << 20
_PLAIN_PORT, _TLS_PORT = 1883, 8883
_FINAL = (0x87, 0x90, 0x99)  # not authorized, topic name invalid, payload format invalid


class MqttConnection(Options):
    """Connection to the broker.

    `host`: the broker. `port`: default 1883, with a section `tls` 8883. `username` with `password`: the
    broker's account; without `tls` both are sent unencrypted. `client_id`: unique at the broker, by default
    derived from the station's name. `protocol`: "5" or "3.1.1". `keepalive_s`: a broker silent for so many
    seconds is pinged, and given up after the same time again. `connect_timeout_s`: seconds for TCP, for TLS
    and for the broker's answer, each.
    """

    host: Host
    port: Port | None = None
    tls: TlsOptions | None = None
    username: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    password: Secret | None = None
    client_id: Name | None = None
    protocol: Literal["5", "3.1.1"] = "5"
    keepalive_s: Annotated[int, Field(ge=1, le=600)] = 15
    connect_timeout_s: Annotated[Seconds, Field(le=30)] = 3.0

    @model_validator(mode="after")
    def _whose_password(self) -> MqttConnection:
        if self.password is not None and self.username is None:
            raise ValueError("password is given without username")
        return self


class Broker:
    """A connection's options, with secrets and certificates loaded. Raises LineError if that fails."""

    def __init__(self, options: MqttConnection, what: str) -> None:
        self.options = options
        port = _PLAIN_PORT if options.tls is None else _TLS_PORT
        self.port = options.port or port
        self.where = f"{what} {host_port(options.host, self.port)}"
        self.password = None if options.password is None else options.password.read(f"{what}: password")
        self.tls: ssl.SSLContext | None = None if options.tls is None else options.tls.context(what)
        _paho()


@dataclass(frozen=True)
class Session:
    """The client's session at the broker.

    When the connection dies the broker publishes `will` on `will_topic`, retained, and keeps messages for
    this client for `kept_s` seconds; `fresh` discards what was kept before.
    """

    client_id: str
    will_topic: str = ""
    will: bytes = b""
    kept_s: int = 0
    fresh: bool = True


@dataclass(frozen=True)
class Message:
    """A received message; `again` means that the broker may have sent it before."""

    payload: bytes
    retained: bool
    again: bool
    mid: int
    qos: int


@dataclass(frozen=True)
class Answer:
    """The broker's answer to the publication or subscription `mid`; `refused` is empty if it was accepted.

    `final`: retrying is pointless.
    """

    kind: Literal["published", "subscribed"]
    mid: int
    refused: str
    final: bool = False


class Link:
    """One connection: `open`, then `turn` repeatedly, then `close`; all from one thread.

    `window` is the number of messages that may be unacknowledged, `resumed` whether the broker kept the
    session.
    """

    def __init__(self, broker: Broker, session: Session, waker: Waker) -> None:
        self._broker, self._session, self._waker = broker, session, waker
        self.inbox: deque[Message | Answer] = deque()
        self.resumed = False
        self.window = 20
        self._answer = ""  # of the broker to CONNECT: "ok", or the reason
        self._why = ""  # reason why the connection ended
        self._client = self._make()

    # ---- for the owner -------------------------------------------------------------------------------------

    def open(self, stop: Callable[[], bool]) -> None:
        """Connect; gives up when `stop()` returns True. Raises LineError."""
        options, paho = self._broker.options, _paho()
        extra: dict[str, Any] = {}
        if options.protocol == "5":
            properties = paho.properties.Properties(paho.packettypes.PacketTypes.CONNECT)
            properties.SessionExpiryInterval = self._session.kept_s
            extra = {"clean_start": self._session.fresh, "properties": properties}
        self._client.connect_timeout = options.connect_timeout_s
        try:
            self._client.connect(options.host, self._broker.port, options.keepalive_s, **extra)
        except (OSError, ValueError) as exc:
            raise self._error(
                f"cannot be reached ({sentence(exc)}); is the broker running, and is its certificate trusted?"
            ) from exc
        end = time.monotonic() + options.connect_timeout_s
        while not self._answer:
            if stop() or time.monotonic() > end:
                raise self._error("did not answer in time; is it an MQTT broker?")
            self.turn(0.05)

    def turn(self, timeout_s: float) -> None:
        """Send and receive; return when something arrived, `wake` was called, or the timeout elapsed.

        Raises LineError when the connection is dead, or the data is not MQTT.
        """
        sock = self._client.socket()
        if sock is None:
            raise self._dead()
        readable = self._wait(sock, timeout_s)
        try:
            code = self._client.loop_read() if readable else 0
            code = code or (self._client.loop_write() if self._client.want_write() else 0)
            code = code or self._client.loop_misc()
        except Exception as exc:
            # On invalid data, paho raises arbitrary exceptions from its parser.
            raise self._error(f"sends data that is not MQTT ({sentence(exc)}).") from exc
        if code or self._client.socket() is None:
            raise self._dead()
        self._check_bounds()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Send with QoS 1; return the number of its acknowledgement. Raises LineError if disconnected."""
        sent = self._client.publish(topic, payload, qos=1, retain=retain)
        if sent.rc:
            raise self._dead()
        return sent.mid

    def subscribe(self, topic: str) -> int:
        """Subscribe with QoS 1, without retained messages; return the number of the answer."""
        options = _paho().subscribeoptions.SubscribeOptions(qos=1, retainHandling=2)
        how: dict[str, Any] = {"options": options} if self._broker.options.protocol == "5" else {"qos": 1}
        code, mid = self._client.subscribe(topic, **how)
        if code or mid is None:
            raise self._dead()
        return mid

    def unsubscribe(self, topic: str) -> None:
        """Unsubscribe from a topic."""
        self._client.unsubscribe(topic)

    def accept(self, message: Message) -> None:
        """Acknowledge a message, so that the broker does not send it again."""
        self._client.ack(message.mid, message.qos)

    def close(self) -> None:
        """Disconnect cleanly, so that no will is published and nothing is kept, and close."""
        client = self._client
        if client.socket() is not None and self._answer == "ok":
            client.disconnect(properties=self._forgetting())
            client.loop_write()
        self.drop()

    def drop(self) -> None:
        """Close without disconnecting cleanly."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()

    # ---- inside --------------------------------------------------------------------------------------------

    def _make(self) -> Client:
        options, session, paho = self._broker.options, self._session, _paho()
        five = options.protocol == "5"
        client: Client = paho.client.Client(
            paho.enums.CallbackAPIVersion.VERSION2,
            session.client_id,
            clean_session=None if five else session.fresh and session.kept_s == 0,
            protocol=paho.enums.MQTTProtocolVersion.MQTTv5
            if five
            else paho.enums.MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        if options.username is not None:
            client.username_pw_set(options.username, self._broker.password)
        if self._broker.tls is not None:
            client.tls_set_context(self._broker.tls)
        if session.will_topic:
            client.will_set(session.will_topic, session.will, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _wait(self, sock: Any, timeout_s: float) -> bool:
        """Whether something arrived in time; ends early on `wake` or when there is room to send."""
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return True
        poll = select.poll()
        poll.register(self._waker.fd, select.POLLIN)
        poll.register(sock, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        ready = dict(poll.poll(max(timeout_s, 0) * 1000))
        if self._waker.fd in ready:
            self._waker.clear()
        return bool(ready.get(sock.fileno(), 0) & ~select.POLLOUT)

    def _check_bounds(self) -> None:
        """Refuse a broker that announces a packet of 256 MB, or sends what was not requested.

        paho has no limit of its own and no public access to a partial packet.
        """
        client = self._client
        if client._in_packet["remaining_length"] > MAX_PACKET_BYTES:
            raise OversizeError(f"{self._broker.where}: a packet has more than {MAX_PACKET_BYTES} bytes.")
        if client._in_messages:
            raise self._error("sends with QoS 2, which was not asked for.")

    def _forgetting(self) -> Properties | None:
        if self._broker.options.protocol != "5":
            return None
        paho = _paho()
        properties: Properties = paho.properties.Properties(paho.packettypes.PacketTypes.DISCONNECT)
        if self._session.kept_s:
            properties.SessionExpiryInterval = 0
        return properties

    def _error(self, what: str) -> LineError:
        return LineError(f"{self._broker.where}: {what}")

    def _dead(self) -> LineError:
        why = self._why or "no reason given"
        other = "3.1.1" if self._broker.options.protocol == "5" else "5"
        if not self._answer:
            return self._error(
                f"did not accept the connection ({why}); is it an MQTT broker, and does it speak MQTT "
                f'{self._broker.options.protocol}? Else set protocol = "{other}".'
            )
        if "protocol version" in self._answer.lower():
            return self._error(f'refused the connection: {self._answer}; set protocol = "{other}".')
        if self._answer != "ok":
            return self._error(f"refused the connection: {self._answer}.")
        return self._error(f"the connection is lost ({why}).")

    # ---- called by paho, inside `turn` ---------------------------------------------------------------------

    def _on_connect(
        self,
        _client: Client,
        _data: object,
        flags: ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self.resumed = flags.session_present
        # paho would send more at once than the broker allows.
        self.window = min(self.window, getattr(properties, "ReceiveMaximum", self.window))
        self._answer = str(code) if code.is_failure else "ok"

    def _on_disconnect(self, *arguments: Any) -> None:
        self._why = str(arguments[3])

    def _on_publish(self, _client: Client, _data: object, mid: int, code: ReasonCode, _more: object) -> None:
        self.inbox.append(
            Answer("published", mid, str(code) if code.is_failure else "", code.value in _FINAL)
        )

    def _on_subscribe(
        self, _client: Client, _data: object, mid: int, codes: list[ReasonCode], _more: object
    ) -> None:
        # The code of an accepted subscription is the granted QoS.
        refused = ", ".join(str(code) for code in codes if code.value != 1)
        self.inbox.append(Answer("subscribed", mid, refused))

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.inbox.append(
            Message(bytes(message.payload), message.retain, message.dup, message.mid, message.qos)
        )


class OversizeError(LineError):
    """A packet too large to be read was announced; retrying would bring it again."""


def _paho() -> Any:
    """Import the library. Raises LineError if it is missing."""
    try:
        import paho.mqtt.client  # noqa: PLC0415 (optional, see the package)
        import paho.mqtt.enums  # noqa: PLC0415
        import paho.mqtt.packettypes  # noqa: PLC0415
        import paho.mqtt.properties  # noqa: PLC0415
        import paho.mqtt.subscribeoptions  # noqa: PLC0415
    except ImportError as exc:
        raise LineError(f"MQTT needs paho-mqtt 2, which is missing: {install_hint('line')}") from exc
    return paho.mqtt
