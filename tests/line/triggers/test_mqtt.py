"""Triggers from a real broker: one part per message, whatever its content and the state of the connection."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from ast_edge.line.triggers.mqtt import MqttTrigger, MqttTriggerOptions
from tests.line.brokers import Listener, broker, listening, proxy, raw_server
from tests.line.rig import rig
from tests.line.sink import Sink
from tests.waiting import wait_for

TOPIC = "hall/7/trigger"


def sink_of_mqtt() -> Sink:
    return Sink("mqtt")


def now() -> bytes:
    return json.dumps({"sent_ms": time.time() * 1e3}).encode()


def names(sink: Sink) -> list[str | None]:
    return [trigger.external_id for trigger in sink.triggers]


@contextmanager
def mqtt_trigger(
    port: int, sink: Any, *, connected: bool = True, report: Any = None, **options: Any
) -> Iterator[MqttTrigger]:
    """A trigger source that listens while the block runs."""
    given_options = {
        "kind": "mqtt",
        "host": "127.0.0.1",
        "port": port,
        "topic": TOPIC,
        "max_age_ms": 60_000,
        **options,
    }
    source = MqttTrigger(MqttTriggerOptions(**given_options))
    if report is not None:
        source.report = report
    source.start(sink)
    try:
        wait_for(lambda: source.status.connected or not connected)
        yield source
    finally:
        source.close()
        source.close()
        assert "ast-edge-trigger-mqtt" not in {thread.name for thread in threading.enumerate()}
        assert not source.status.connected


def say(listener: Listener, *messages: object) -> None:
    for message in messages:
        stamped = {"sent_ms": time.time() * 1e3, **message} if isinstance(message, dict) else message
        listener.say(TOPIC, stamped if isinstance(stamped, bytes) else json.dumps(stamped).encode())


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_every_message_is_a_part(tmp_path: Path, protocol: str) -> None:
    sink, before_ns = sink_of_mqtt(), time.monotonic_ns()
    with (
        broker(tmp_path) as mosquitto,
        listening(mosquitto.port) as listener,
        mqtt_trigger(mosquitto.port, sink, protocol=protocol) as source,
    ):
        say(listener, {}, {"id": "A7", "encoder": -12}, {"encoder": 2**40}, {}, {}, {"id": 8})
        listener.say(TOPIC, now(), qos=0)
        listener.say(f"{TOPIC}/other")
        listener.say(TOPIC, now(), retain=True)  # received live, so not flagged as old
        wait_for(lambda: len(sink.triggers) == 8)
        assert source.status.triggers == 8
        assert (source.status.missed, source.status.ignored, source.status.last_error) == (0, 0, "")
    assert names(sink) == [None, "A7", None, None, None, "8", None, None]
    assert [trigger.encoder for trigger in sink.triggers] == [None, -12, 2**40, *[None] * 5]
    assert {trigger.source for trigger in sink.triggers} == {"mqtt"}
    assert sink.triggers == sorted(sink.triggers, key=lambda trigger: trigger.at_ns)
    assert before_ns < sink.triggers[0].at_ns <= time.monotonic_ns()
    assert sink.count("missed") == 0


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_retained_message_is_no_part(tmp_path: Path, protocol: str) -> None:
    sink = sink_of_mqtt()
    with broker(tmp_path) as mosquitto, listening(mosquitto.port) as listener:
        listener.say(TOPIC, b'{"id": 1}', retain=True)
        with mqtt_trigger(mosquitto.port, sink, protocol=protocol):
            say(listener, {"id": 2})
            wait_for(lambda: sink.triggers)
    assert names(sink) == ["2"]
    assert sink.count("missed") == 0


def test_a_message_that_cannot_be_read_is_a_part_that_was_there(tmp_path: Path) -> None:
    sink, reported = sink_of_mqtt(), []

    def hear(kind: str, details: Mapping[str, object]) -> None:
        reported.append((kind, details.get("missed")))

    rubbish = [b"\xff", b"7", b"[]", b'{"id": 1, "x": 2}', b'{"id": ""}', b" " * 2000 + b"1", b"[" * 1024]
    with (
        broker(tmp_path) as mosquitto,
        listening(mosquitto.port) as listener,
        mqtt_trigger(mosquitto.port, sink, report=hear) as source,
    ):
        say(listener, *rubbish, b"x" * 500_000, {"id": 5})
        wait_for(lambda: sink.triggers)
        assert source.status.missed == len(rubbish) + 1
        assert "bytes" in source.status.last_error
    assert sink.count("missed") == len(rubbish) + 1
    assert reported.count(("trigger", 1)) == len(rubbish) + 1


def test_parts_whose_ids_repeat_are_parts_of_their_own(tmp_path: Path) -> None:
    """A sender that calls every part by its kind: what is not marked as sent again is no redelivery."""
    sink = sink_of_mqtt()
    with (
        broker(tmp_path) as mosquitto,
        listening(mosquitto.port) as listener,
        mqtt_trigger(mosquitto.port, sink) as source,
    ):
        say(listener, *({"id": each} for each in (1, 1, 2, 1, 1, 1, 3)), {}, {}, {"id": 3})
        wait_for(lambda: len(sink.triggers) == 10)
        assert source.status.ignored == 0
    assert names(sink) == ["1", "1", "2", "1", "1", "1", "3", None, None, "3"]
    assert sink.count("missed") == 0


def cut_and_back(reported: Callable[[], object], source: MqttTrigger, line: Any) -> None:
    """The connection dies, something happens, and the connection is back."""
    line.cut()
    wait_for(lambda: not source.status.connected)
    reported()
    line.broken = False
    wait_for(lambda: source.status.connected)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_parts_that_went_by_while_the_connection_was_down_are_faults(tmp_path: Path, protocol: str) -> None:
    """More than the broker sends at once, so that they come in several portions."""
    sink = sink_of_mqtt()
    with (
        broker(tmp_path) as mosquitto,
        listening(mosquitto.port) as listener,
        proxy(mosquitto.port) as line,
        mqtt_trigger(line.port, sink, protocol=protocol) as source,
    ):
        say(listener, {"id": "before"})
        wait_for(lambda: sink.triggers)
        cut_and_back(lambda: say(listener, *({"id": each} for each in range(70))), source, line)
        assert (sink.count("missed"), source.status.missed) == (70, 70)
        say(listener, {"id": "after"})
        wait_for(lambda: len(sink.triggers) == 2)
    missed = [("missed", str(number)) for number in range(70)]
    assert sink.given == [("trigger", "before"), *missed, ("trigger", "after")]


def test_what_the_broker_sends_again_is_the_same_part(tmp_path: Path) -> None:
    """The broker does not hear the acknowledgements, then the connection dies: it sends all again."""
    sink = sink_of_mqtt()
    with (
        broker(tmp_path) as mosquitto,
        listening(mosquitto.port) as listener,
        proxy(mosquitto.port) as line,
        mqtt_trigger(line.port, sink) as source,
    ):
        line.deaf = True
        say(listener, *({"id": each} for each in range(10)), {"encoder": 5})
        wait_for(lambda: len(sink.triggers) == 11)

        def hear_again() -> None:
            line.deaf = False

        cut_and_back(hear_again, source, line)
        assert source.status.ignored == 10
        say(listener, {"id": "after"})
        wait_for(lambda: len(sink.triggers) == 12)
    # Without an id a repeated message cannot be recognised: it counts as another part, which is a fault.
    assert sink.count("missed") == 1
    assert names(sink) == [*map(str, range(10)), None, "after"]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_what_came_before_the_station_started_is_no_part_of_this_run(tmp_path: Path, protocol: str) -> None:
    sink = sink_of_mqtt()
    with broker(tmp_path) as mosquitto, listening(mosquitto.port) as listener:
        with (
            proxy(mosquitto.port) as line,
            mqtt_trigger(line.port, sink_of_mqtt(), protocol=protocol) as before,
        ):
            line.cut()
            wait_for(lambda: not before.status.connected)
        say(listener, b"", b"", b"")
        with mqtt_trigger(mosquitto.port, sink, protocol=protocol):
            say(listener, {"id": "after"})
            wait_for(lambda: sink.triggers)
    assert names(sink) == ["after"]
    assert sink.count("missed") == 0


@pytest.mark.parametrize("how", ["orderly", "cut"])
def test_an_orderly_end_leaves_nothing_at_the_broker(tmp_path: Path, how: str) -> None:
    with broker(tmp_path) as mosquitto, proxy(mosquitto.port) as line:
        port = line.port if how == "cut" else mosquitto.port
        with mqtt_trigger(port, sink_of_mqtt(), client_id="station-7") as source:
            if how == "cut":
                line.cut()
                wait_for(lambda: not source.status.connected)
        present: list[bool] = []
        client = Client(CallbackAPIVersion.VERSION2, "station-7", protocol=MQTTProtocolVersion.MQTTv5)
        client.on_connect = lambda _c, _d, flags, *_: present.append(flags.session_present)
        client.connect("127.0.0.1", mosquitto.port, clean_start=False)
        client.loop_start()
        wait_for(lambda: present)
        client.disconnect()
        client.loop_stop()
    assert present == [how == "cut"]


def test_a_broker_that_dies_and_forgets_is_taken_again(tmp_path: Path) -> None:
    sink = sink_of_mqtt()
    with broker(tmp_path) as mosquitto:
        mosquitto.kill()
        with mqtt_trigger(mosquitto.port, sink, connected=False) as source:
            wait_for(lambda: "cannot be reached" in source.status.last_error)
            for number in range(2):
                mosquitto.start()
                wait_for(lambda: source.status.connected)
                with listening(mosquitto.port) as listener:
                    say(listener, {"id": number})
                wait_for(lambda: str(number) in names(sink))  # noqa: B023 (called at once)
                mosquitto.kill()
                wait_for(lambda: not source.status.connected)
            mosquitto.start()
            wait_for(lambda: source.status.connected)
            assert "has lost our session" in source.status.last_error
            assert len(sink.gaps) == 2
    assert names(sink) == ["0", "1"]


CONNACK = b"\x20\x03\x00\x00\x00"
COUNTERPARTS = {
    "silence": (b"", "did not answer in time"),
    # What a broker that speaks 3.1.1 alone answers to a CONNECT of MQTT 5, by section 3.1.2.2 of 3.1.1.
    "3.1.1 alone": (b"\x20\x02\x00\x01", 'set protocol = "3.1.1"'),
    "http": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is it an MQTT broker?"),
    "a refused subscription": (CONNACK + b"\x90\x04\x00\x01\x00\x87", "Not authorized"),
    "a subscription with QoS 0": (CONNACK + b"\x90\x04\x00\x01\x00\x00", "Granted QoS 0"),
    "QoS 2": (CONNACK + b"\x34\x06\x00\x01t\x00\x01\x00", "QoS 2"),
    "a topic that is no text": (CONNACK + b"\x32\x07\x00\x01\xff\x00\x01\x00x", ""),
}


@pytest.mark.parametrize(("bytes_", "error"), COUNTERPARTS.values(), ids=COUNTERPARTS.keys())
def test_a_counterpart_that_talks_rubbish_is_left(bytes_: bytes, error: str) -> None:
    with (
        raw_server(lambda client: answer(client, bytes_)) as port,
        mqtt_trigger(port, sink_of_mqtt(), connected=False, connect_timeout_s=0.3) as source,
    ):
        wait_for(lambda: source.status.last_error)
        wait_for(lambda: error in source.status.last_error)


def test_the_error_of_a_broker_that_hangs_up_on_mqtt_5_names_the_option() -> None:
    with (
        raw_server(lambda client: client.recv(1000)) as port,
        mqtt_trigger(port, sink_of_mqtt(), connected=False) as source,
    ):
        wait_for(lambda: 'set protocol = "3.1.1"' in source.status.last_error)


def test_a_packet_of_256_megabytes_is_not_read() -> None:
    sink = sink_of_mqtt()
    announced = CONNACK + b"\x30\xff\xff\xff\x7f\x00\x01t"
    with (
        raw_server(lambda client: answer(client, announced)) as port,
        mqtt_trigger(port, sink, connected=False) as source,
    ):
        wait_for(lambda: sink.count("missed"))
        assert source.status.missed >= 1


def answer(client: socket.socket, bytes_: bytes) -> None:
    """Say it once the client said something, then listen until it goes; forgetting is answered properly."""
    first = client.recv(1000)
    client.sendall(CONNACK if first and wants_to_forget(first) else bytes_)
    while client.recv(1000):
        pass


def wants_to_forget(connect: bytes) -> bool:
    """Whether this CONNECT of MQTT 5 has the flag clean start."""
    return bool(connect[9] & 2)


def test_from_message_to_verdict(tmp_path: Path) -> None:
    with (
        broker(tmp_path) as mosquitto,
        listening(mosquitto.port) as listener,
        rig(software_trigger=True, deadline_ms=10_000.0) as bench,
        mqtt_trigger(mosquitto.port, bench.station),
    ):
        for number in range(20):
            say(listener, {"id": number, "encoder": number * 10})
            bench.settle(number + 1)
        say(listener, b"rubbish")
        bench.settle(21)
    found = [(each.trigger.external_id, each.trigger.encoder, each.verdict) for each in bench.results[:20]]
    assert found == [(str(each), each * 10, "pass") for each in range(20)]
    assert bench.results[20].verdict == "fault"


def test_a_network_that_stalls_makes_faults_of_the_parts_that_went_by(tmp_path: Path) -> None:
    """The connection lives all the while: what is late comes as if it were new."""
    sink = sink_of_mqtt()
    with (
        broker(tmp_path) as mosquitto,
        listening(mosquitto.port) as listener,
        mqtt_trigger(mosquitto.port, sink, max_age_ms=150, keepalive_s=60) as source,
    ):
        say(listener, {"id": "before"})
        wait_for(lambda: sink.triggers)
        stalled = [
            json.dumps({"id": f"during {number}", "sent_ms": time.time() * 1e3}) for number in range(3)
        ]
        mosquitto.signal(signal.SIGSTOP)
        for message in stalled:
            listener.client.publish(TOPIC, message.encode(), 1)
        time.sleep(0.6)
        mosquitto.signal(signal.SIGCONT)
        wait_for(lambda: len(sink.given) == 4)
        say(listener, {"id": "after"})
        wait_for(lambda: len(sink.given) == 5)
        assert source.status.connected
    assert [kind for kind, _ in sink.given] == ["trigger", *["missed"] * 3, "trigger"]
    assert all("ms old" in reason for reason in sink.reasons)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"", "no sent_ms"),
        (b'{"id": 1}', "no sent_ms"),
        (b'{"sent_ms": 1}', "ms old"),
        (b'{"sent_ms": 99999999999999}', "in the future"),
    ],
)
def test_a_message_that_proves_no_freshness_is_a_fault(tmp_path: Path, message: bytes, said: str) -> None:
    sink = sink_of_mqtt()
    with (
        broker(tmp_path) as mosquitto,
        listening(mosquitto.port) as listener,
        mqtt_trigger(mosquitto.port, sink),
    ):
        say(listener, message)
        wait_for(lambda: sink.given)
    assert sink.count("missed") == 1
    assert said in sink.reasons[0]
