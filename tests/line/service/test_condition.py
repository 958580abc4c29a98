"""Every output's state while the line cannot judge: a station process, PLCs, a broker, an OPC UA client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from asyncua.client.client import Client

from ast_edge.line.links.modbus import ModbusLink, ModbusOptions
from benchmarks.line.plc import BLOCK, COUNTER, Plc
from tests.line.brokers import broker, listening
from tests.line.process import StationProcess
from tests.line.web.client import web
from tests.waiting import free_port, wait_for

pytestmark = pytest.mark.slow

NAMES = ("modbus", "plc", "mqtt", "webhook")


class Block:
    """The station's block in a PLC, read by a client of its own."""

    def __init__(self, port: int) -> None:
        self._link = ModbusLink(ModbusOptions(host="127.0.0.1", port=port, timeout_ms=5000))

    def close(self) -> None:
        self._link.close()

    def read(self) -> list[int]:
        if not self._link.is_open:
            self._link.open()
        return self._link.read_registers("holding", BLOCK, 23)

    @property
    def heartbeat(self) -> int:
        return self.read()[16]

    @property
    def condition(self) -> tuple[int, int, int]:
        """State, condition, gaps."""
        state, condition, gaps = self.read()[17:20]
        return state, condition, gaps

    @property
    def judged(self) -> int:
        high, low = self.read()[12:14]
        return high << 16 | low


def output(port: int, name: str = "plc") -> str:
    return (
        f'[[output]]\nkind = "modbus"\nname = "{name}"\nhost = "127.0.0.1"\nport = {port}\n'
        f"registers = {BLOCK}\ncoil = 0\nheartbeat_ms = 50\ntimeout_ms = 2000\n"
    )


def trigger(port: int, judged: bool = False) -> str:
    more = f"judged_register = {BLOCK + 12}\n" if judged else ""
    return (
        f'[trigger]\nkind = "modbus"\nhost = "127.0.0.1"\nport = {port}\ncounter_register = {COUNTER}\n'
        f"timeout_ms = 2000\nmax_gap_ms = 5000\n{more}[timing]\ndeadline_ms = 10000\n"
    )


@pytest.fixture
def plcs(tmp_path: Path) -> Iterator[tuple[Plc, Plc]]:
    """One that counts parts, one that gets verdicts."""
    (tmp_path / "counts").mkdir()
    (tmp_path / "acts").mkdir()
    with Plc(tmp_path / "counts") as counts, Plc(tmp_path / "acts") as acts:
        yield counts, acts


@pytest.fixture
def block(plcs: tuple[Plc, Plc]) -> Iterator[Block]:
    found = Block(plcs[1].port)
    yield found
    found.close()


def opcua(port: int, *names: str) -> list[object]:
    async def work() -> list[object]:
        async with Client(f"opc.tcp://127.0.0.1:{port}/ast-edge/", timeout=20) as client:
            index = await client.get_namespace_index("urn:ast-edge")
            return [await client.get_node(f"ns={index};s=bench.{name}").read_value() for name in names]

    return asyncio.run(work())


def test_a_dead_trigger_is_seen_on_every_output(
    tmp_path: Path, tiny_rgb: Path, plcs: tuple[Plc, Plc], block: Block
) -> None:
    counts, acts = plcs
    ua = free_port()
    with broker(tmp_path) as mosquitto, listening(mosquitto.port) as listener:
        toml = (
            f"{trigger(counts.port)}{output(acts.port)}"
            f'[[output]]\nkind = "mqtt"\nhost = "127.0.0.1"\nport = {mosquitto.port}\n'
            f'[[output]]\nkind = "opcua"\nport = {ua}\n'
        )
        with StationProcess(tmp_path / "station", tiny_rgb, toml) as station:
            station.wait_until("ready", True)
            wait_for(lambda: block.condition == (2, 0, 0))
            beat = block.heartbeat
            wait_for(lambda: block.heartbeat != beat)

            counts.kill()
            wait_for(lambda: block.condition == (5, 2, 0))
            beat = block.heartbeat
            station.wait_until("ready", False)
            code, said = station.ask("/readyz")
            assert (code, "trigger modbus is away" in said) == (503, True)
            _, metrics = station.ask("/metrics")
            assert "ast_edge_ready 0.0" in metrics
            assert 'ast_edge_obstacle{kind="trigger"} 1.0' in metrics
            assert 'ast_edge_obstacle{kind="camera"} 0.0' in metrics
            wait_for(lambda: opcua(ua, "State", "Ready")[1] is False)
            assert "trigger modbus is away" in str(opcua(ua, "NotReady"))

            def reported() -> list[dict[str, object]]:
                return [json.loads(one.payload) for one in listener.heard if one.topic.endswith("/status")]

            wait_for(lambda: reported()[-1]["ready"] is False)
            assert "trigger modbus is away" in str(reported()[-1]["not_ready"])
            assert block.heartbeat == beat  # a PLC that watches it alone knows it too

            counts.start()
            wait_for(lambda: block.condition == (2, 0, 0))
            wait_for(lambda: block.heartbeat != beat)
            station.wait_until("ready", True)


def test_results_that_a_web_server_does_not_take_are_seen_on_every_output(
    tmp_path: Path, tiny_rgb: Path, plcs: tuple[Plc, Plc], block: Block
) -> None:
    """An expired token, one part that is refused, a server that is gone; the parts are judged meanwhile."""
    counts, acts = plcs
    ua = free_port()
    answers = {"now": 200}
    with broker(tmp_path) as mosquitto, listening(mosquitto.port) as listener, web() as server:
        server.answer = lambda _: answers["now"]
        toml = (
            f"{trigger(counts.port)}{output(acts.port)}"
            f'[[output]]\nkind = "mqtt"\nhost = "127.0.0.1"\nport = {mosquitto.port}\n'
            f'[[output]]\nkind = "opcua"\nport = {ua}\n'
            f'[[output]]\nkind = "webhook"\nurl = "http://127.0.0.1:{server.port}/"\nspool = "spool"\n'
            'verdicts = ["pass", "reject", "fault"]\nretry_s = 0.1\n'
        )

        def failing() -> str:
            last = [json.loads(one.payload) for one in listener.heard if one.topic.endswith("/status")][-1]
            assert last["ready"]  # the next part will be judged
            return str(last["outputs_failing"])

        def shown(words: str, connected: float) -> None:
            wait_for(lambda: block.condition == (6, 256, 0))
            beat = block.heartbeat
            wait_for(lambda: block.heartbeat != beat)
            wait_for(lambda: words in failing())
            wait_for(lambda: words in str(opcua(ua, "OutputsFailing")))
            assert f'ast_edge_connected{{counterpart="webhook"}} {connected}' in station.ask("/metrics")[1]

        with StationProcess(tmp_path / "station", tiny_rgb, toml) as station:
            station.wait_until("ready", True)
            wait_for(lambda: block.condition == (2, 0, 0))
            for code, words, connected in ((401, "answers 401", 0.0), (400, "answers 400 to part", 1.0)):
                answers["now"] = code
                counts.trigger()
                shown(words, connected)
                answers["now"] = 200
                wait_for(lambda: block.condition == (2, 0, 0))
                wait_for(lambda: failing() == "[]")
            server.close()
            counts.trigger()
            shown("output webhook is away", 0.0)
            wait_for(lambda: block.judged == 3)


def test_judged_says_that_it_is_not_whole(
    tmp_path: Path, tiny_rgb: Path, plcs: tuple[Plc, Plc], block: Block
) -> None:
    """The counter leaps by 1,500 parts: no such number of faults, and a PLC that knows it."""
    counts, acts = plcs
    with StationProcess(
        tmp_path / "station", tiny_rgb, f"{trigger(counts.port)}{output(acts.port)}"
    ) as station:
        station.wait_until("ready", True)
        for number in range(1, 12):
            counts.trigger()
            wait_for(lambda: block.judged == number)  # noqa: B023 (called at once)
        assert block.condition == (2, 0, 0)
        counts.ask("counter", value=1510)
        wait_for(lambda: block.condition == (6, 16, 1))
        counts.trigger()
        wait_for(lambda: block.judged == 1511)
        assert station.status()["triggers"] == 12
        assert station.status()["gaps"] == 1
        assert "1510" in str(station.status()["warnings"])
        beat = block.heartbeat
        wait_for(lambda: block.heartbeat != beat)  # the next part will be judged

        station.kill()  # the gap stays until the PLC has taken note of it
        station.start()
        station.wait_until("ready", True)
        wait_for(lambda: block.heartbeat != beat)
        assert block.condition == (6, 16, 1)

        def acknowledged() -> bool:
            """A PLC that says so until it is true: a heartbeat with the gap may be on its way."""
            if block.condition[2]:
                acts.set(BLOCK + 19, [0])
            return block.condition == (2, 0, 0)

        wait_for(acknowledged)
    assert "uncounted" in station.log


def test_two_stations_do_not_write_one_block(
    tmp_path: Path, tiny_rgb: Path, plcs: tuple[Plc, Plc], block: Block
) -> None:
    counts, acts = plcs
    toml = f"{trigger(counts.port)}{output(acts.port)}"
    with StationProcess(tmp_path / "one", tiny_rgb, toml) as one:
        one.wait_until("ready", True)
        wait_for(lambda: block.condition == (2, 0, 0))
        claim = block.read()[20:22]
        assert claim != [0, 0]
        with StationProcess(tmp_path / "two", tiny_rgb, toml, name="other") as two:
            wait_for(lambda: "written by station" in str(two.status().get("not_ready")), 60)
            counts.trigger()
            wait_for(lambda: block.judged == 1)
            wait_for(lambda: two.status()["triggers"] == 1)
            assert one.status()["ready"]
            assert not two.status()["ready"]
            assert block.read()[20:22] == claim
            assert block.read()[14:16] == [0, 1]  # one result, of one station
            one.kill()
            two.wait_until("ready", True)
            wait_for(lambda: block.read()[20:22] not in (claim, [0, 0]))
            wait_for(lambda: block.read()[14:16] == [0, 2])  # the waiting state is written now
        assert f"{claim[0] << 16 | claim[1]:08x}" in two.log


def test_the_same_station_started_twice_is_noticed(
    tmp_path: Path, tiny_rgb: Path, plcs: tuple[Plc, Plc], block: Block
) -> None:
    counts, acts = plcs
    toml = f"{trigger(counts.port)}{output(acts.port)}"
    with StationProcess(tmp_path / "one", tiny_rgb, toml) as one:
        one.wait_until("ready", True)
        with StationProcess(tmp_path / "two", tiny_rgb, toml) as two:
            wait_for(lambda: "started twice" in str(two.status().get("not_ready")), 60)
            assert one.status()["ready"]


def test_a_line_whose_parts_are_all_faults_is_an_alarm_everywhere(
    tmp_path: Path, tiny_rgb: Path, plcs: tuple[Plc, Plc], block: Block
) -> None:
    """A deadline that nothing can meet: every part is late."""
    counts, acts = plcs
    late = trigger(counts.port).replace("deadline_ms = 10000", "deadline_ms = 0.01")
    with StationProcess(tmp_path / "station", tiny_rgb, f"{late}{output(acts.port)}") as station:
        station.wait_until("ready", True)
        wait_for(lambda: block.condition == (2, 0, 0))
        for number in range(1, 25):
            counts.trigger()
            wait_for(lambda: block.judged == number)  # noqa: B023 (called at once)
        wait_for(lambda: block.condition == (6, 32, 0))
        found = station.status()
        assert found["verdicts"] == {"fault": 24}
        assert found["ready"]
        assert "of the last" in found["alarms"][0]
        assert found["warnings"][0] == found["alarms"][0]
        _, metrics = station.ask("/metrics")
        assert 'ast_edge_alarm{kind="faults"} 1.0' in metrics
        assert 'ast_edge_alarm{kind="rejects"} 0.0' in metrics
        wait_for(lambda: "alarm warning=faults change=begin" in station.log)


def test_counterparts_that_never_were_there_are_in_the_log(tmp_path: Path, tiny_rgb: Path) -> None:
    toml = (
        f"{trigger(free_port())}{output(free_port())}"
        f'[[output]]\nkind = "mqtt"\nhost = "127.0.0.1"\nport = {free_port()}\n'
        f'[[output]]\nkind = "webhook"\nurl = "http://127.0.0.1:{free_port()}/"\nspool = "spool"\n'
    )
    with StationProcess(tmp_path / "station", tiny_rgb, toml) as station:
        wait_for(lambda: all(f"={name} connected=False" in station.log for name in NAMES), 60)
        station.wait_until("ready", False)
        assert all(station.log.count(f"={name} connected=False") == 1 for name in NAMES)
        assert all("refused" in line for line in station.log.splitlines() if "connected=False" in line)


def test_a_camera_that_is_away_is_in_the_plcs_state(
    tmp_path: Path, tiny_rgb: Path, plcs: tuple[Plc, Plc], block: Block
) -> None:
    counts, acts = plcs
    camera = '[camera]\nuri = "rtsp://127.0.0.1:1/none"\ndelay_ms = 100\n'
    timing = trigger(counts.port).replace("[timing]\n", "[timing]\nsettle_ms = 0\n")
    toml = f"{camera}{timing}{output(acts.port)}"
    with StationProcess(tmp_path / "station", tiny_rgb, toml) as station:
        station.wait_until("state", "running")
        wait_for(lambda: block.condition == (5, 1, 0))
        beat = block.heartbeat
        life = block.read()[22]
        wait_for(lambda: block.read()[22] != life)  # the station lives, and says that it cannot judge
        assert block.heartbeat == beat
        assert "the camera is" in str(station.status()["not_ready"])
