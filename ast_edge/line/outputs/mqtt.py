"""Results to an MQTT broker: a message per part, events, and a status with a last will."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from ast_edge.errors import LineError
from ast_edge.line.config.options import Name, Seconds
from ast_edge.line.events import Event
from ast_edge.line.links.mqtt import Answer, Broker, Link, MqttConnection, Session, Topic
from ast_edge.line.links.waker import Waker
from ast_edge.line.outputs.base import OutputStatus
from ast_edge.line.outputs.queued import QueuedOutput
from ast_edge.line.part import PartResult
from ast_edge.line.status import StationStatus

_EVENTS_WAITING = 100
_EVENT_CHARS = 8192
_LOOK_S = 0.5  # how often the status is compared with the last one sent
_GOODBYE_S = 0.5


class MqttOutputOptions(MqttConnection):
    """Results to an MQTT broker.

    `topic`: prefix of all topics, by default `ast-edge/<station>`, followed by `status` (retained), `part`
    and `event`. `status_every_s`: the status is repeated after this time without a change. `room`: maximum
    number of waiting results; beyond it the oldest is dropped and counted. `window`: messages in flight.
    `acknowledge_s`: a broker that acknowledges nothing for this time is considered dead.
    """

    kind: Literal["mqtt"]
    name: Name = "mqtt"
    topic: Topic | None = None
    status_every_s: Seconds = 10.0
    room: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    window: Annotated[int, Field(ge=1, le=20)] = 20
    acknowledge_s: Annotated[Seconds, Field(le=600)] = 10.0


@dataclass
class _Sent:
    """A message in flight: content, number, and time; `item` None is the status."""

    item: PartResult | Event | None
    mid: int
    at_s: float


class MqttOutput(QueuedOutput):
    """A result is delivered when the broker has acknowledged it.

    Results that were not acknowledged when the connection died are sent again, in order, so the broker may
    receive a part twice; both messages have the same `part_id`. A result that the broker refuses permanently
    (no permission to publish) is counted as undelivered.
    """

    def __init__(self, options: MqttOutputOptions) -> None:
        """Raises LineError for an unreadable secret or certificate, or if paho-mqtt is missing."""
        super().__init__(options.name, room=options.room)
        self._options = options
        self.grace_s = 1.0 + options.connect_timeout_s
        self._broker = Broker(options, f"output {options.name}")
        self._waker = Waker()
        self._link: Link | None = None
        self._flying: deque[_Sent] = deque()
        self._topic = ""
        self._sent_status: dict[str, object] = {}
        self._status_at = self._looked_at = 0.0

    # ---- Output --------------------------------------------------------------------------------------------

    def note(self, event: Event) -> None:
        """Queue an event; dropped if a hundred items wait, so that no result is lost because of events."""
        with self._news:
            waiting = sum(isinstance(item, Event) for item in self._queue)
        if waiting < _EVENTS_WAITING:
            self._add(event)

    @property
    def status(self) -> OutputStatus:
        """Return the status; messages in flight count as queued."""
        with self._news:
            known, flying = super().status, self._flying_results()
        return replace(known, queued=known.queued + flying)

    def close(self, timeout_s: float) -> None:
        """Close the output; the retained status is "stopped" afterwards."""
        with self._news:
            if self._end is None:
                self._end = time.monotonic() + timeout_s
        self._waker.wake()
        super().close(timeout_s)
        with self._news:
            self._undelivered += self._flying_results()
            self._flying.clear()
        if not self._thread.is_alive():
            self._waker.close()

    def _add(self, item: PartResult | Event) -> None:
        super()._add(item)
        self._waker.wake()

    def _busy(self) -> bool:
        return bool(self._flying)

    # ---- on the output's own thread ------------------------------------------------------------------------

    def _connect(self) -> None:
        station = self._station()
        safe = re.sub(r"[^A-Za-z0-9_.-]", "_", station.name)
        self._topic = self._options.topic or f"ast-edge/{safe}"
        will = _packed({"station": station.name, "online": False, "state": "offline"})
        client_id = self._options.client_id or f"ast-edge-{safe}"
        self._link = Link(self._broker, Session(client_id, f"{self._topic}/status", will), self._waker)
        self._link.open(self._over)
        self._sent_status = {}

    def _serve(self) -> None:
        """Keep up to a window of messages in flight until the output is closed; errors end the connection."""
        link = self._open_link()
        self._set_connected(connected=True)
        while not self._over():
            self._send_status(link)
            while (item := self._next(min(self._options.window, link.window))) is not None:
                self._send(link, item)
            self._turn(link, _LOOK_S if self._end is None else 0.05)
            self._check_silence()
        self._say_stopped(link)

    def _disconnect(self) -> None:
        link, self._link = self._link, None
        with self._news:
            # Back to the front of the queue, in order.
            self._queue.extendleft(sent.item for sent in reversed(self._flying) if sent.item is not None)
            self._flying.clear()
        if link is not None:
            link.drop()

    # ---- messages ------------------------------------------------------------------------------------------

    def _next(self, window: int) -> _Sent | None:
        """Take the next item from the queue, if the window allows it."""
        with self._news:
            if not self._queue or len(self._flying) >= window:
                return None
            sent = _Sent(self._queue.popleft(), 0, time.monotonic())
            self._flying.append(sent)
            return sent

    def _send(self, link: Link, sent: _Sent) -> None:
        if isinstance(sent.item, PartResult):
            sent.mid = link.publish(f"{self._topic}/part", sent.item.as_json().encode())
        elif isinstance(sent.item, Event):
            sent.mid = link.publish(f"{self._topic}/event", _event_json(sent.item))

    def _turn(self, link: Link, timeout_s: float) -> None:
        try:
            link.turn(timeout_s)
        finally:
            self._hear(link)  # the last acknowledgements arrive together with the end

    def _hear(self, link: Link) -> None:
        """Process acknowledgements."""
        while link.inbox:
            answer = link.inbox.popleft()
            if not isinstance(answer, Answer):
                continue  # nothing was subscribed
            if answer.refused and not answer.final:
                raise LineError(f"{self._broker.where}: a message was refused: {answer.refused}.")
            self._backoff.reset()
            with self._news:
                self._count(answer)

    def _count(self, answer: Answer) -> None:
        for sent in self._flying:
            if sent.mid == answer.mid:
                self._flying.remove(sent)
                if isinstance(sent.item, PartResult):
                    self._delivered += not answer.refused
                    self._undelivered += bool(answer.refused)
                break
        if answer.refused:
            self._last_error = f"{self._broker.where}: a message was refused for good: {answer.refused}."

    def _check_silence(self) -> None:
        oldest = self._flying[0].at_s if self._flying else time.monotonic()
        if time.monotonic() - oldest > self._options.acknowledge_s:
            raise LineError(
                f"{self._broker.where}: nothing was acknowledged for {self._options.acknowledge_s:g} s."
            )

    # ---- status --------------------------------------------------------------------------------------------

    def _send_status(self, link: Link) -> None:
        """Send the status when it changed or was not sent for long; at most one in flight."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_S and self._sent_status:
            return
        self._looked_at = now
        facts = _facts(self._station())
        due = facts != self._sent_status or now - self._status_at >= self._options.status_every_s
        room = len(self._flying) < link.window and not any(sent.item is None for sent in self._flying)
        if due and room:
            self._publish_status(link, facts)
            self._sent_status, self._status_at = facts, now

    def _publish_status(self, link: Link, facts: dict[str, object]) -> None:
        station = self._station()
        moment = {
            "time": round(time.time(), 3),
            "frame_age_s": station.frame_age_s,
            "waiting": station.waiting,
        }
        mid = link.publish(f"{self._topic}/status", _packed({**facts, **moment}), retain=True)
        with self._news:
            self._flying.append(_Sent(None, mid, time.monotonic()))

    def _say_stopped(self, link: Link) -> None:
        """Send the last status, and disconnect so that the will is not published."""
        self._publish_status(link, _facts(self._station().at_end()))
        end = time.monotonic() + _GOODBYE_S
        while time.monotonic() < end and any(sent.item is None for sent in self._flying):
            self._turn(link, 0.05)
        link.close()

    def _station(self) -> StationStatus:
        if self.station is None:
            raise LineError(f"output {self.name}: it was not started; this is a bug of ast-edge.")
        return self.station.status()

    def _open_link(self) -> Link:
        if self._link is None:
            raise LineError(f"{self._broker.where}: there is no connection.")
        return self._link

    def _flying_results(self) -> int:
        return sum(isinstance(sent.item, PartResult) for sent in self._flying)


def _facts(station: StationStatus) -> dict[str, object]:
    """Return the parts of the station's status that are sent when they change."""
    return {**station.as_dict(), "online": station.state != "stopped"}


def _event_json(event: Event) -> bytes:
    """Return an event as a message, shortened if it is too long."""
    content = {"kind": event.kind, "time": round(event.wall_s, 3)}
    try:
        text = json.dumps({**content, "details": dict(event.details)}, default=str, allow_nan=False)
    except (TypeError, ValueError):
        text = ""
    if not 0 < len(text) <= _EVENT_CHARS:
        text = json.dumps({**content, "details": {"shortened": str(event.details)[: _EVENT_CHARS // 2]}})
    return text.encode()


def _packed(content: dict[str, object]) -> bytes:
    return json.dumps(content).encode()
