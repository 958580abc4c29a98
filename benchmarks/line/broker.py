"""An MQTT broker to test and measure against: mosquitto, and somebody who hears everything."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.line.plc import free_port, listens

_START_S = 20.0


class Broker:
    """mosquitto on a port of its own, with a subscriber that remembers every message about a part."""

    def __init__(self, folder: Path, topic: str = "storm/part") -> None:
        self.port = free_port()
        self.parts: list[dict[str, object]] = []
        self._topic = topic
        self._file = folder / "mosquitto.conf"
        self._file.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n", encoding="ascii")
        self._process: subprocess.Popen[bytes] | None = None
        self._ear = mqtt.Client(CallbackAPIVersion.VERSION2, clean_session=True)
        self._ear.reconnect_delay_set(min_delay=1, max_delay=1)
        self._ear.on_connect = self._connected
        self._ear.on_message = self._heard

    def start(self) -> None:
        """Begin to serve. Raises RuntimeError where mosquitto is not installed or does not start."""
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if program is None:
            raise RuntimeError("mosquitto is not installed (Debian, Ubuntu: apt install mosquitto)")
        self._process = subprocess.Popen(
            [program, "-c", str(self._file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + _START_S
        while not listens(self.port):
            if time.monotonic() > end:
                raise RuntimeError("mosquitto did not start")
            time.sleep(0.02)
        self._ear.connect("127.0.0.1", self.port)
        self._ear.loop_start()

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP for a broker that takes and gives nothing, SIGCONT for one that does again."""
        if self._process is None:
            raise RuntimeError("the broker does not run")
        self._process.send_signal(number)

    def kill(self) -> None:
        """As a power cut; a second call does nothing."""
        process, self._process = self._process, None
        self._ear.loop_stop()
        if process is not None:
            process.kill()
            process.wait()

    def close(self) -> None:
        """The end."""
        self._ear.disconnect()
        self.kill()

    def _connected(self, client: mqtt.Client, *_: object) -> None:
        client.subscribe(self._topic, qos=1)

    def _heard(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self.parts.append(json.loads(message.payload))
