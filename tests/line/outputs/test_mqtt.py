"""Results to a real broker that is absent, dies, freezes or refuses, and to a server that is no broker."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ast_edge.line.events import Event
from ast_edge.line.outputs.mqtt import MqttOutput, MqttOutputOptions
from ast_edge.line.status import Surroundings
from tests.line.brokers import Listener, Stingy, broker, listening, raw_server
from tests.line.certificates import Authority
from tests.line.parts import StillStation, part_result
from tests.waiting import free_port, program, wait_for


@contextmanager
def mqtt_output(port: int, station: StillStation | None = None, **options: Any) -> Iterator[MqttOutput]:
    """An output that runs while the block does, and ends with it."""
    output = MqttOutput(MqttOutputOptions(**{"kind": "mqtt", "host": "127.0.0.1", "port": port, **options}))
    output.start(station or StillStation())
    try:
        yield output
    finally:
        output.close(5)
        output.close(5)
        assert "ast-edge-mqtt" not in {thread.name for thread in threading.enumerate()}


def numbers(listener: Listener) -> list[object]:
    return [part["number"] for part in listener.parts()]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_every_part_arrives_once_and_the_status_stays(tmp_path: Path, protocol: str) -> None:
    with broker(tmp_path) as mosquitto, listening(mosquitto.port) as listener:
        with mqtt_output(mosquitto.port, protocol=protocol) as output:
            reported: list[object] = []
            output.report = lambda kind, details: reported.append((kind, details["connected"]))
            for number in range(1, 501):
                output.put(part_result(number, "reject" if number % 3 else "fault", encoder=number))
            wait_for(lambda: output.status.delivered == 500)
            assert output.status.connected
            assert (output.status.undelivered, output.status.queued) == (0, 0)
        assert output.status.delivered == 500
        wait_for(lambda: listener.states()[-1:] == ["stopped"])
        assert numbers(listener) == list(range(1, 501))
        assert listener.parts()[1] == {
            **part_result(2, "reject", encoder=2).as_dict(),
            "time": listener.parts()[1]["time"],
        }
        assert listener.parts()[2]["score"] is None
        assert listener.states()[0] == "running"
        assert reported[-1] == ("output", False)
        with listening(mosquitto.port) as later:
            wait_for(lambda: later.heard)
            assert later.heard[0].topic == "ast-edge/bench/status"
            assert later.heard[0].retained
            status = json.loads(later.heard[0].payload)
            assert (status["state"], status["online"], status["recipe"]) == ("stopped", False, "first")
            assert [status[key] for key in ("triggers", "passed", "rejected", "faults")] == [12, 9, 2, 1]


def test_only_a_change_is_sent_at_once(tmp_path: Path) -> None:
    station = StillStation()
    with (
        broker(tmp_path) as mosquitto,
        listening(mosquitto.port) as listener,
        mqtt_output(mosquitto.port, station, topic="hall/7", status_every_s=3600),
    ):
        wait_for(listener.states)
        time.sleep(1.2)
        assert listener.states() == ["running"]
        station.now = replace(station.now, surroundings=Surroundings(warnings=("the score drifts",)))
        wait_for(lambda: len(listener.heard) == 2)
        assert listener.heard[1].topic == "hall/7/status"
        assert json.loads(listener.heard[1].payload)["warnings"] == ["the score drifts"]


def test_the_status_is_sent_again_without_a_change(tmp_path: Path) -> None:
    with (
        broker(tmp_path) as mosquitto,
        listening(mosquitto.port) as listener,
        mqtt_output(mosquitto.port, status_every_s=0.1),
    ):
        wait_for(lambda: len(listener.states()) >= 3)


@pytest.mark.slow
def test_a_station_that_is_killed_is_offline(tmp_path: Path) -> None:
    with broker(tmp_path) as mosquitto, listening(mosquitto.port) as listener:
        script = textwrap.dedent(f"""
            import time
            from ast_edge.line.outputs.mqtt import MqttOutput, MqttOutputOptions
            from tests.line.parts import StillStation
            options = MqttOutputOptions(kind="mqtt", host="127.0.0.1", port={mosquitto.port})
            MqttOutput(options).start(StillStation())
            time.sleep(600)
        """)
        with subprocess.Popen([sys.executable, "-c", script]) as process:
            wait_for(listener.states)
            process.kill()
        wait_for(lambda: listener.states()[-1] == "offline")
        assert listener.states() == ["running", "offline"]


def test_a_broker_that_comes_late_gets_everything(tmp_path: Path) -> None:
    with broker(tmp_path) as mosquitto, listening(mosquitto.port) as listener:
        mosquitto.remember(listener)
        mosquitto.kill()
        with mqtt_output(mosquitto.port) as output:
            for number in range(1, 101):
                output.put(part_result(number))
            wait_for(lambda: "cannot be reached" in output.status.last_error)
            assert output.status.queued == 100
            assert not output.status.connected
            mosquitto.start()
            wait_for(lambda: output.status.delivered == 100)
        wait_for(lambda: len(listener.parts()) == 100)
        assert numbers(listener) == list(range(1, 101))


def test_a_broker_that_dies_under_load_loses_no_part(tmp_path: Path) -> None:
    with (
        broker(tmp_path) as mosquitto,
        listening(mosquitto.port) as listener,
        mqtt_output(mosquitto.port) as output,
    ):
        for number in range(1, 101):
            output.put(part_result(number))
        wait_for(lambda: len(listener.parts()) == 100)
        mosquitto.remember(listener)
        mosquitto.kill()
        for number in range(101, 201):
            output.put(part_result(number))
        wait_for(lambda: not output.status.connected)
        mosquitto.start()
        wait_for(lambda: output.status.delivered == 200)
        # QoS 1 on both sides of the broker: some may come twice.
        wait_for(lambda: set(numbers(listener)) == set(range(1, 201)))


def test_what_was_not_acknowledged_is_sent_again_in_order() -> None:
    """Acknowledged: the status and four parts. Twelve messages came; seven parts are uncertain."""
    stingy = Stingy(acknowledged=5, cut=12)
    with raw_server(stingy.serve) as port, mqtt_output(port) as output:
        wait_for(lambda: output.status.connected)
        for number in range(1, 31):
            output.put(part_result(number))
        wait_for(lambda: output.status.delivered == 30)
        assert stingy.connections == 2
        assert output.status.queued == 0
        reported = [json.loads(each) for each in stingy.heard]
    parts = [each["part_id"] for each in reported if "part_id" in each]
    first = [f"run-{number:07d}" for number in range(1, 12)]
    again = [f"run-{number:07d}" for number in range(5, 31)]
    assert parts == first + again


def test_more_than_a_window_is_not_on_its_way() -> None:
    stingy = Stingy(acknowledged=1, cut=1000)
    with raw_server(stingy.serve) as port, mqtt_output(port, window=5, acknowledge_s=600) as output:
        for number in range(1, 31):
            output.put(part_result(number))
        wait_for(lambda: len(stingy.heard) == 6)
        time.sleep(0.3)
        assert len(stingy.heard) == 6
        assert output.status.queued == 30
        assert output.status.delivered == 0
        output.close(0.2)
        assert output.status.undelivered == 30
        assert output.status.queued == 0


def test_a_frozen_broker_is_given_up_and_taken_again(tmp_path: Path) -> None:
    with (
        broker(tmp_path) as mosquitto,
        listening(mosquitto.port) as listener,
        mqtt_output(mosquitto.port, acknowledge_s=0.5, connect_timeout_s=0.5) as output,
    ):
        wait_for(lambda: output.status.connected)
        mosquitto.signal(signal.SIGSTOP)
        for number in range(1, 51):
            output.put(part_result(number))
        wait_for(lambda: "acknowledged" in output.status.last_error)
        wait_for(lambda: "in time" in output.status.last_error)
        assert (output.status.delivered, output.status.queued) == (0, 50)
        mosquitto.signal(signal.SIGCONT)
        wait_for(lambda: output.status.delivered == 50)
        wait_for(lambda: set(numbers(listener)) == set(range(1, 51)))


def test_the_oldest_are_given_up_where_too_many_wait() -> None:
    with mqtt_output(free_port(), room=10) as output:
        for number in range(100):
            output.put(part_result(number + 1))
        assert (output.status.queued, output.status.undelivered) == (10, 90)
        output.close(0.1)
        assert (output.status.queued, output.status.undelivered) == (0, 100)
        output.put(part_result(101))
        assert output.status.undelivered == 101


RUBBISH = {
    "silence": b"",
    "http": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "a length without end": b"\x20\xff\xff\xff\xff\xff\xff",
    "a connack cut short": b"\x20\x01\x00",
    "a refusal": b"\x20\x03\x00\x86\x00",
    "properties that are none": b"\x20\x06\x00\x00\x03\xff\xff\xff",
    "a packet of 256 MB": b"\x20\x03\x00\x00\x00\x30\xff\xff\xff\x7f" + b"x" * 1000,
    "QoS 2 without a request": b"\x20\x03\x00\x00\x00\x34\x06\x00\x01t\x00\x01\x00",
    "QoS 3": b"\x20\x03\x00\x00\x00\x36\x06\x00\x01t\x00\x01\x00",
    "acknowledgements of nothing": b"\x20\x03\x00\x00\x00" + b"\x40\x02\xff\xfe" * 50 + b"\xf0\x00",
}


@pytest.mark.parametrize("rubbish", RUBBISH.values(), ids=RUBBISH.keys())
def test_a_counterpart_that_sends_rubbish_is_disconnected_and_does_no_harm(
    tmp_path: Path, rubbish: bytes
) -> None:
    def talk(client: socket.socket) -> None:
        client.recv(1000)
        client.sendall(rubbish)
        while client.recv(1000):
            pass

    with broker(tmp_path) as mosquitto, raw_server(talk) as port:
        with (
            mqtt_output(port, name="bad", connect_timeout_s=0.3) as bad,
            mqtt_output(mosquitto.port) as good,
        ):
            for number in range(1, 21):
                bad.put(part_result(number))
                good.put(part_result(number))
            wait_for(lambda: good.status.delivered == 20)
            wait_for(lambda: bad.status.last_error)
            assert "output bad 127.0.0.1" in bad.status.last_error
            assert (bad.status.delivered, bad.status.queued) == (0, 20)
            bad.close(0.1)
        assert bad.status.undelivered == 20


def test_with_tls_a_password_and_a_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path / "ca")
    server, own = authority.sign("server"), authority.sign("station", password="of the key")  # noqa: S106
    monkeypatch.setenv("BROKER_PASSWORD", "correct horse")
    monkeypatch.setenv("KEY_PASSWORD", "of the key")
    settings = (
        f"cafile {authority.certificate}",
        f"certfile {server.certificate}",
        f"keyfile {server.key}",
        "require_certificate true",
        "allow_anonymous false",
        f"password_file {password_file(tmp_path)}",
    )
    tls = {
        "ca": authority.certificate,
        "certificate": own.certificate,
        "key": own.key,
        "key_password": {"env": "KEY_PASSWORD"},
    }
    account: dict[str, Any] = {"username": "station", "password": {"env": "BROKER_PASSWORD"}}
    with broker(tmp_path, *settings) as mosquitto:
        with mqtt_output(mosquitto.port, tls=tls, **account) as output:
            output.put(part_result())
            wait_for(lambda: output.status.delivered == 1)
        with mqtt_output(mosquitto.port, tls=tls) as output:
            wait_for(lambda: "refused the connection: Not authorized" in output.status.last_error)
        with mqtt_output(mosquitto.port, tls={"ca": authority.certificate}, **account) as output:
            wait_for(lambda: output.status.last_error)
            assert not output.status.connected
        stranger = Authority(tmp_path / "other").certificate
        with mqtt_output(mosquitto.port, tls={**tls, "ca": stranger}, **account) as output:
            wait_for(lambda: "certificate verify failed" in output.status.last_error)
        with mqtt_output(mosquitto.port, connect_timeout_s=0.3) as output:
            wait_for(lambda: output.status.last_error)
            assert not output.status.connected


def password_file(folder: Path) -> Path:
    path = folder / "passwords"
    command = [program("mosquitto_passwd", "mosquitto"), "-b", "-c", str(path), "station", "correct horse"]
    subprocess.run(command, check=True, capture_output=True)
    return path


def test_a_part_that_may_not_be_published_is_undelivered(tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic write ast-edge/bench/status\ntopic read #\n")
    (tmp_path / "acl").chmod(0o700)
    settings = ("allow_anonymous true", f"acl_file {tmp_path / 'acl'}")
    with broker(tmp_path, *settings) as mosquitto, mqtt_output(mosquitto.port) as output:
        output.put(part_result(1))
        output.put(part_result(2))
        wait_for(lambda: output.status.undelivered == 2)
        assert "refused for good: Not authorized" in output.status.last_error
        assert output.status.connected
        assert output.status.delivered == 0


def test_events_are_sent_but_displace_no_part(tmp_path: Path) -> None:
    with (
        broker(tmp_path) as mosquitto,
        listening(mosquitto.port) as listener,
        mqtt_output(mosquitto.port) as output,
    ):
        output.note(Event("recipe", {"taken": "second"}, 1700000000.25))
        output.note(Event("failure", {"error": "x" * 100_000}, 1.0))
        output.note(Event("failure", {"score": float("nan")}, 2.0))
        wait_for(lambda: len(events(listener)) == 3)
        first, long, odd = events(listener)
        assert first == {"kind": "recipe", "time": 1700000000.25, "details": {"taken": "second"}}
        assert len(json.dumps(long)) < 10_000
        assert odd["details"] == {"shortened": "{'score': nan}"}
    with mqtt_output(free_port(), room=200) as output:
        for number in range(1, 101):
            output.put(part_result(number))
        for _ in range(1000):
            output.note(Event("output", {}, 0.0))
        assert (output.status.queued, output.status.undelivered) == (100, 0)
        output.close(0.1)


def events(listener: Listener) -> list[dict[str, Any]]:
    return [json.loads(each.payload) for each in listener.heard if each.topic.endswith("/event")]


def test_closing_delivers_what_waits(tmp_path: Path) -> None:
    with broker(tmp_path) as mosquitto, listening(mosquitto.port) as listener:
        output = MqttOutput(MqttOutputOptions(kind="mqtt", host="127.0.0.1", port=mosquitto.port))
        for number in range(1, 201):
            output.put(part_result(number))
        output.start(StillStation())
        output.close(20)
        assert output.status.delivered == 200
        wait_for(lambda: listener.states()[-1:] == ["stopped"])
        assert numbers(listener) == list(range(1, 201))
    MqttOutput(MqttOutputOptions(kind="mqtt", host="127.0.0.1")).close(1)
