"""Triggers from an MQTT broker: every message on a topic is exactly one part."""

from __future__ import annotations

import hashlib
import json
import platform
import threading
from collections import deque
from dataclasses import dataclass
from typing import Literal

from pydantic import model_validator
from typing_extensions import override

from ast_edge.backoff import Backoff
from ast_edge.errors import LineError
from ast_edge.line.config.options import Name
from ast_edge.line.links.mqtt import Broker, Link, Message, MqttConnection, OversizeError, Session, Topic
from ast_edge.line.links.reconnecting import Reconnecting
from ast_edge.line.links.waker import Waker
from ast_edge.line.triggers.base import CLOSE_S, TriggerSink, TriggerSource, TriggerStatus
from ast_edge.line.triggers.freshness import NEEDS_AGE, GapMs, StaleError, message_moment
from ast_edge.line.triggers.tap import Tap

MAX_PAYLOAD_BYTES = 1024
_MAX_ID_CHARS = 64
_ENCODER_LIMIT = 2**63
_KEPT_S = 3600
_REMEMBERED = 64
_SENT_LIMIT_MS = 1e14  # the year 5138: a time in microseconds is refused


class MqttTriggerOptions(MqttConnection):
    """Every message on `topic` is a part.

    The message is a JSON object of at most 1024 bytes with `sent_ms` (UNIX time in milliseconds at which the
    part was in place), and optionally `id` (a number or up to 64 printable characters) and `encoder` (a whole
    number, the conveyor's count). Publish with QoS 1. `max_age_ms`: a message that is older on arrival, or
    has no time, is a missed part; together with `timing.picture_within_ms` it must be less than a part stays
    in front of the camera. Sender and station must have synchronised clocks (NTP, PTP).
    """

    kind: Literal["mqtt"]
    name: Name = "mqtt"
    topic: Topic
    max_age_ms: GapMs | None = None

    @model_validator(mode="after")
    def _proves_freshness(self) -> MqttTriggerOptions:
        if self.max_age_ms is None:
            raise ValueError(NEEDS_AGE)
        return self


@dataclass(frozen=True)
class TriggerMessage:
    """The content of a message about its part."""

    id: str | None = None
    encoder: int | None = None
    sent_ms: float | None = None


def read_trigger(payload: bytes) -> TriggerMessage:
    """Parse a message. Raises LineError for anything but an empty message or the documented object."""
    if not payload.strip():
        return TriggerMessage()
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise LineError(f"the message has {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} are accepted.")
    try:
        content = json.loads(payload, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        raise LineError(f"the message is not JSON ({exc}).") from exc
    if not isinstance(content, dict) or not content.keys() <= {"id", "encoder", "sent_ms"}:
        raise LineError('the message is not a JSON object with only "id", "encoder" and "sent_ms".')
    return TriggerMessage(
        _read_id(content.get("id")), _read_encoder(content.get("encoder")), _read_sent(content.get("sent_ms"))
    )


def _read_id(value: object) -> str | None:
    if value is None:
        return None
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if not 0 < len(text) <= _MAX_ID_CHARS or not text.isprintable():
        raise LineError(f"id must be a whole number or a text of 1 to {_MAX_ID_CHARS} printable characters.")
    return text


def _read_encoder(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not -_ENCODER_LIMIT <= value < _ENCODER_LIMIT:
        raise LineError("encoder is not a 64-bit whole number.")
    return value


def _read_sent(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < _SENT_LIMIT_MS:
        raise LineError("sent_ms is not a UNIX time in milliseconds.")
    return float(value)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("duplicate key")
    return content


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a number")


class MqttTrigger(Reconnecting, TriggerSource):
    """Every message is a trigger: an unreadable one is a part too, and becomes a fault.

    - Retained messages are never triggers.
    - The broker keeps messages while the connection is down (for an hour, if published with QoS 1). Those
      parts passed unseen: after reconnecting each becomes a fault (`missed`). Messages from before the
      station started are not parts of this run.
    - QoS 1 may deliver a message twice. One that the broker marks as a duplicate, and that equals one of the
      last 64 with its id, is the same part: it is counted in `ignored`. Every other message is a separate
      part, even if ids repeat; without an id a redelivered message is one more part, a fault.
    """

    def __init__(self, options: MqttTriggerOptions) -> None:
        """Raises LineError for an unreadable secret or certificate, or if paho-mqtt is missing."""
        super().__init__("trigger", options.name, f"ast-edge-trigger-{options.name}", Backoff(0.1, 5.0))
        self._options = options
        self._max_age_ms = options.max_age_ms or 0.0  # required by the options
        self._broker = Broker(options, f"trigger {options.name}")
        # Recognised after reconnecting; two stations on one machine that wait for the same topic need their
        # own client_id.
        own = hashlib.sha256(f"{platform.node()}\n{options.topic}".encode()).hexdigest()[:12]
        self._client_id = options.client_id or f"ast-edge-trigger-{own}"
        self._tap = Tap()
        self._waker = Waker()
        self._closing = threading.Event()
        self._link: Link | None = None
        self._lock = threading.Lock()
        self._forgotten = False
        self._kept, self._quiet = False, True  # see _listen
        self._triggers = self._missed = self._ignored = 0
        self._recent: deque[TriggerMessage] = deque(maxlen=_REMEMBERED)

    # ---- TriggerSource -------------------------------------------------------------------------------------

    @override
    def start(self, sink: TriggerSink) -> None:
        self._tap.open(sink)
        self._thread.start()

    @property
    @override
    def status(self) -> TriggerStatus:
        with self._lock:
            return TriggerStatus(
                connected=self._connected,
                triggers=self._triggers,
                missed=self._missed,
                ignored=self._ignored,
                last_error=self._last_error,
            )

    def close(self) -> None:
        """Stop; asks the broker to keep nothing for this client."""
        self._closing.set()
        self._waker.wake()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S)
        self._tap.shut()
        if not self._thread.is_alive():
            self._waker.close()

    # ---- the thread ----------------------------------------------------------------------------------------

    def _over(self) -> bool:
        return self._closing.is_set()

    def _pause(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def _connect(self) -> None:
        if not self._forgotten:
            self._forget()
        session = Session(self._client_id, kept_s=_KEPT_S, fresh=False)
        self._link = Link(self._broker, session, self._waker)
        self._link.open(self._over)
        if not self._link.resumed and self._triggers + self._missed:
            self._last_error = f"{self._broker.where}: the broker has lost our session; triggers may be lost."
            self._tap.uncounted(self.name, self._last_error)

    def _serve(self) -> None:
        link = self._link
        assert link is not None  # noqa: S101 (connected before)
        try:
            self._listen(link)
            link.unsubscribe(self._options.topic)
            link.close()
        except OversizeError as exc:
            self._lose(str(exc))
            self._forgotten = False  # otherwise the broker sends it again
            raise

    def _disconnect(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.drop()

    def _forget(self) -> None:
        """Discard what the broker kept for this client before this run."""
        link = Link(self._broker, Session(self._client_id), self._waker)
        try:
            link.open(self._closing.is_set)
            link.close()
        finally:
            link.drop()
        self._forgotten = True

    def _listen(self, link: Link) -> None:
        """Receive messages; those kept by the broker arrive before the answer to a subscription.

        The broker sends them as fast as they are acknowledged, so the last one has arrived when nothing came
        between a subscription and its answer.
        """
        self._kept, self._quiet = link.resumed, True
        link.subscribe(self._options.topic)
        while not self._closing.is_set():
            try:
                link.turn(1.0)
            finally:
                # Also those that arrived together with the end of the connection.
                self._hear(link)

    def _hear(self, link: Link) -> None:
        while link.inbox:
            found = link.inbox.popleft()
            if isinstance(found, Message):
                self._quiet = self._quiet and found.retained  # these are sent on every subscription
                self._take(found)
                link.accept(found)
                continue
            self._check_granted(found.refused)
            if self._kept and not self._quiet:
                self._quiet = True
                link.subscribe(self._options.topic)
            else:
                self._kept = False
                self._backoff.reset()
                self._set_connected(connected=True)

    def _check_granted(self, refused: str) -> None:
        if refused:
            raise LineError(
                f"{self._broker.where}: the subscription of {self._options.topic} with QoS 1 was refused "
                f"({refused}); allow it at the broker."
            )

    # ---- messages ------------------------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        """Process one message: a trigger, a missed part, or a duplicate."""
        if message.retained:
            self._ignore("it is retained")
            return
        try:
            content = read_trigger(message.payload)
        except LineError as exc:
            self._lose(f"{self._broker.where}: {self._options.topic}: {exc}")
            return
        if message.again and content.id is not None and content in self._recent:
            self._ignore(f"the broker sent part {content.id} again")
            return
        self._recent.append(content)
        if self._kept:
            self._lose(f"{self._broker.where}: a trigger came while the connection was down.", content.id)
            return
        try:
            moment = message_moment(content.sent_ms, self._max_age_ms)
        except StaleError as exc:
            self._lose(str(exc), content.id)
            return
        came = self._tap.trigger(
            moment.at_ns,
            until_ns=moment.until_ns,
            encoder=content.encoder,
            source=self.name,
            external_id=content.id,
        )
        with self._lock:
            self._triggers += came

    def _ignore(self, why: str) -> None:
        with self._lock:
            self._ignored += 1
            count = self._ignored
        if not count & (count - 1):  # the 1st, 2nd, 4th, 8th and so on
            self.report("trigger", {"trigger": self.name, "ignored": count, "why": why})

    def _lose(self, why: str, part_id: str | None = None) -> None:
        came = self._tap.missed(1, self.name, () if part_id is None else (part_id,), why)
        with self._lock:
            self._missed += came
            self._last_error = why
        self.report("trigger", {"trigger": self.name, "missed": 1, "error": why})
