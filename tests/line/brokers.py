"""A real MQTT broker on loopback, a subscriber, and servers that do not speak MQTT."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks.common import counterparts
from tests.waiting import program, wait_for


class Mosquitto(counterparts.Mosquitto):
    """The broker; skips the test where it is not installed."""

    def __init__(self, folder: Path, *settings: str) -> None:
        program("mosquitto", "mosquitto")
        super().__init__(folder, *settings)

    def remember(self, listener: Listener) -> None:
        """Have the broker save this listener's session for its next start."""
        self.signal(signal.SIGUSR1)
        file = self.file.with_name("mosquitto.db")
        wait_for(lambda: file.exists() and listener.name.encode() in file.read_bytes())


@contextmanager
def broker(folder: Path, *settings: str) -> Iterator[Mosquitto]:
    """A broker that runs while the block does."""
    found = Mosquitto(folder, *settings)
    found.start()
    try:
        yield found
    finally:
        found.kill()


@dataclass(frozen=True)
class Heard:
    topic: str
    payload: bytes
    retained: bool


class Listener:
    """Hears everything that the broker tells, with QoS 1, and may say something.

    The broker keeps its session: messages sent while it is away arrive when it is back.
    """

    def __init__(self, port: int, prepare: Callable[[Client], object] | None = None) -> None:
        self.name = f"listener-{id(self)}"
        self.heard: list[Heard] = []
        self._ready = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, self.name, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = lambda _client, _data, message: self.heard.append(
            Heard(message.topic, bytes(message.payload), message.retain)
        )
        if prepare is not None:
            prepare(self.client)
        kept = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        kept.SessionExpiryInterval = 3600
        self.client.connect("127.0.0.1", port, clean_start=False, properties=kept)
        self.client.loop_start()
        assert self._ready.wait(20)

    def parts(self) -> list[dict[str, object]]:
        return [json.loads(each.payload) for each in self.heard if each.topic.endswith("/part")]

    def states(self) -> list[str]:
        found = [json.loads(each.payload) for each in self.heard if each.topic.endswith("/status")]
        return [each["state"] for each in found]

    def say(self, topic: str, payload: bytes = b"", *, retain: bool = False, qos: int = 1) -> None:
        self.client.publish(topic, payload, qos, retain).wait_for_publish(20)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def listening(port: int, prepare: Callable[[Client], object] | None = None) -> Iterator[Listener]:
    """A client that records messages while the block runs."""
    found = Listener(port, prepare)
    try:
        yield found
    finally:
        found.close()


class Stingy:
    """A broker that takes every connection and message, but acknowledges the first `acknowledged` ones only.

    After `cut` messages it cuts the connection, once.
    """

    def __init__(self, *, acknowledged: int, cut: int) -> None:
        self.heard: list[bytes] = []
        self.connections = 0
        self._acknowledged, self._cut = acknowledged, cut

    def serve(self, client: socket.socket) -> None:
        self.connections += 1
        first, count = self.connections == 1, 0
        with client.makefile("rb") as stream:
            while head := stream.read(1):
                body = stream.read(_length(stream.read))
                if head[0] >> 4 == 1:
                    client.sendall(bytes([0x20, 3, 0, 0, 0]))
                elif head[0] >> 4 == 3:
                    at = 2 + int.from_bytes(body[:2], "big")
                    mid = body[at : at + 2]
                    count += 1
                    self.heard.append(body[at + 3 :])
                    if not first or count <= self._acknowledged:
                        client.sendall(bytes([0x40, 2]) + mid)
                    if first and count == self._cut:
                        # Closed with unread bytes, TCP would throw away the acknowledgements on their way.
                        client.shutdown(socket.SHUT_WR)
                        while client.recv(4096):
                            pass
                        return


class Proxy:
    """Stands between a client and a broker; may be deaf to the client, and may cut the connection."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.deaf = self.broken = self._over = False
        self._start(self._accept)

    def cut(self) -> None:
        """Cut every connection, and take no other until `broken` is False again."""
        self.broken = True
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._over = True
        self.cut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in [self._listener, *(end for pair in self._pairs for end in pair)]:
            end.close()

    def _start(self, work: Callable[..., object], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments))
        self._threads[-1].start()

    def _accept(self) -> None:
        while not self._over:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.broken:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            self._pairs.append((client, server))
            self._start(self._pump, client, server, True)
            self._start(self._pump, server, client, False)

    def _pump(self, source: socket.socket, target: socket.socket, from_client: bool) -> None:
        try:
            while data := source.recv(65536):
                if not (from_client and self.deaf):
                    target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """A proxy that stands while the block runs."""
    found = Proxy(target)
    try:
        yield found
    finally:
        found.close()


def _length(read: Callable[[int], bytes]) -> int:
    """A length as MQTT packs it: seven bits a byte."""
    length = shift = 0
    while byte := read(1):
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if not byte[0] & 0x80:
            break
    return length


@contextmanager
def raw_server(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """A TCP server that does what the test says with each client, one after the other; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        done = threading.Event()

        def run() -> None:
            while not done.is_set():
                try:
                    client, _ = listener.accept()
                except TimeoutError:
                    continue
                with client:
                    client.settimeout(5)
                    try:
                        serve(client)
                    except OSError:
                        continue

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            done.set()
            thread.join()
