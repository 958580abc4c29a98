"""The broker of the benchmarks: mosquitto, with a subscriber that records messages."""

from __future__ import annotations

import json
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.common.counterparts import Mosquitto


class Broker(Mosquitto):
    """A broker whose subscriber records every message about a part."""

    def __init__(self, folder: Path, topic: str = "storm/part") -> None:
        super().__init__(folder, "allow_anonymous true")
        self.parts: list[dict[str, object]] = []
        self._topic = topic
        self._ear = mqtt.Client(CallbackAPIVersion.VERSION2, clean_session=True)
        self._ear.reconnect_delay_set(min_delay=1, max_delay=1)
        self._ear.on_connect = self._connected
        self._ear.on_message = self._heard

    def start(self) -> None:
        """Start to serve and to listen. Raises RuntimeError as `Mosquitto.start` does."""
        super().start()
        self._ear.connect("127.0.0.1", self.port)
        self._ear.loop_start()

    def kill(self) -> None:
        """Kill the broker, as in a power cut; a second call does nothing."""
        self._ear.loop_stop()
        super().kill()

    def close(self) -> None:
        """Release subscriber and broker."""
        self._ear.disconnect()
        self.kill()

    def _connected(self, client: mqtt.Client, *_: object) -> None:
        client.subscribe(self._topic, qos=1)

    def _heard(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self.parts.append(json.loads(message.payload))
