"""A whole line for one experiment: the station as its own process, a GigE Vision camera, a PLC, a broker.

All of them share one scene (`benchmarks.line.scene`), and the station's witness records which number was in
the picture behind a verdict.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.common.command import environment, module
from benchmarks.common.counterparts import Mosquitto, free_port
from benchmarks.line.camera import SERIAL, FakeCamera
from benchmarks.line.plc import BLOCK, COUNTER, REJECT_COIL, Plc
from benchmarks.line.scene import Scene
from benchmarks.line.stream import StreamCamera

TOKEN = "of one experiment only"  # noqa: S105 (of a station that lives for one experiment)
TOPIC = "bench/trigger"
STREAM_LATE_MS = 150.0
_CPU = Path("/sys/fs/cgroup/cpu")  # control groups, version 1
_START_S = 120.0
_POLL_S = 0.01
LINE = """
[station]
name = "{name}"
[camera]
uri = "{camera}"
{camera_more}
[recipes]
first = "first"
models = {{ first = "{model}" }}
threads = 1
[trigger]
{trigger}
[timing]
{timing}
[web]
port = {web}
token = {{ env = "BENCH_TOKEN" }}
[log]
format = "json"
"""
OUTPUT = """
[[output]]
kind = "modbus"
host = "127.0.0.1"
port = {port}
registers = {registers}
coil = {coil}
heartbeat_ms = {heartbeat_ms}
"""


@dataclass(frozen=True)
class Plan:
    """The sections of line.toml that differ, and how long a part stays in front of the camera.

    That is longer than the limits of line.toml in total: by default 100 ms for the poll of the counter, and
    the same again for the camera. With `heartbeat_ms` the station also reports to a second PLC.
    """

    trigger: str
    timing: str
    camera: str = f"gige://{SERIAL}?trigger=software&packet_size=9000"
    camera_more: str = ""
    stay_ms: float = 250.0
    heartbeat_ms: float | None = None

    @property
    def kind(self) -> str:
        """Of trigger."""
        return self.trigger.partition('kind = "')[2].partition('"')[0]


@dataclass(frozen=True)
class Verdict:
    """The witness's record of a part."""

    part: int
    verdict: str
    reason: str
    picture: int | None

    @property
    def wrong(self) -> bool:
        """Whether the part was judged by a picture of another part."""
        return self.verdict != "fault" and self.picture != self.part


class Bench:
    """All processes of the line; running during the block, and ended by their own ids.

    `lies` are sentences about reports of the station that were not true.
    """

    def __init__(self, folder: Path, model: Path, plan: Plan) -> None:
        self.folder, self.plan, self._model = folder, plan, model
        folder.mkdir(parents=True)
        self.web_port = free_port()
        self._stack = ExitStack()
        self._parts = 0
        self._journal = folder / "witness.jsonl"
        self._seen: dict[int, Verdict] = {}
        self._at = 0
        self.lies: list[str] = []

    def __enter__(self) -> Bench:
        scene, kind = self.folder / "scene", self.plan.kind
        self.scene = self._stack.enter_context(Scene(scene))
        try:
            if self.plan.camera.startswith("rtsp"):
                stream = StreamCamera(scene, stay_ms=self.plan.stay_ms, late_ms=STREAM_LATE_MS)
                self._uri = self.plan.camera.format(port=self._stack.enter_context(stream).port)
            else:
                self.camera = self._stack.enter_context(FakeCamera(scene=scene, stay_ms=self.plan.stay_ms))
                self._uri = self.plan.camera
            if kind == "modbus":
                self.plc = self._stack.enter_context(Plc(self.folder, scene=scene))
            if self.plan.heartbeat_ms is not None:
                (self.folder / "acts").mkdir()
                self.acts = self._stack.enter_context(Plc(self.folder / "acts"))
            if kind == "mqtt":
                self.broker = Mosquitto(self.folder, "allow_anonymous true")
                self.broker.start()
                self._stack.callback(self.broker.kill)
                self._publisher = self._connected()
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # ---- parts ---------------------------------------------------------------------------------------------

    def part(self, name: str | None = None) -> int:
        """Put a part in front of the camera and report it; return its number. Does not wait.

        A message calls it by this name instead of its number.
        """
        if self.plan.kind == "modbus":
            return self.plc.trigger()
        if self.plan.kind == "mqtt":
            wait_for(self._publisher.is_connected, _START_S, "the publisher does not find the broker")
        self._parts += 1
        self.scene.put(self._parts)
        # The encoder's count is the number: names may repeat.
        content = {"id": name or str(self._parts), "encoder": self._parts, "sent_ms": time.time() * 1e3}
        if self.plan.kind == "mqtt":
            self._publisher.publish(TOPIC, json.dumps(content), qos=1)
        else:
            self._post(content)
        return self._parts

    def verdict(self, part: int, within_s: float = 20.0) -> Verdict:
        """Return the verdict on a part. Raises RuntimeError if there is none in time."""
        wait_for(lambda: part in self.verdicts(), within_s, f"part {part} has no verdict")
        return self._seen[part]

    def verdicts(self) -> dict[int, Verdict]:
        """Return the verdicts so far."""
        if not self._journal.exists():
            return self._seen
        with self._journal.open(encoding="ascii") as stream:
            stream.seek(self._at)
            text = stream.read()
        lines = text[: text.rfind("\n") + 1]
        self._at += len(lines)
        for line in lines.splitlines():
            found = json.loads(line)
            number = found["part"] if found["encoder"] is None else found["encoder"]
            if number is not None:
                seen = Verdict(number, found["verdict"], found["reason"], found["picture"])
                self._seen[seen.part] = seen
        return self._seen

    @contextmanager
    def quota(self, share: float) -> Iterator[None]:
        """Limit the station to this fraction of a processor, like a container, in periods of 100 ms."""
        group = _CPU / f"ast-edge-bench-{os.getpid()}"
        group.mkdir()
        try:
            (group / "cpu.cfs_quota_us").write_text(str(int(share * 100_000)))
            (group / "cgroup.procs").write_text(str(self.station.pid))
            yield
        finally:
            (_CPU / "cgroup.procs").write_text(str(self.station.pid))
            group.rmdir()

    def signal(self, number: signal.Signals) -> None:
        """Send SIGSTOP or SIGCONT to the station."""
        self.station.send_signal(number)

    # ---- pieces --------------------------------------------------------------------------------------------

    @contextmanager
    def second(self) -> Iterator[int]:
        """Run another station on the same PLCs, with a camera of its own; yields the port of its page."""
        port = free_port()
        file = self.folder / "second.toml"
        camera = "synthetic://?trigger=software"
        file.write_text(self._toml("second", camera, port), encoding="utf-8")
        with (self.folder / "second.log").open("ab") as log:
            command = [sys.executable, "-m", "ast_edge", "run", str(file)]
            variables = environment(BENCH_TOKEN=TOKEN, OMP_NUM_THREADS="1")
            with subprocess.Popen(command, env=variables, stdout=log, stderr=log) as station:
                try:
                    yield port
                finally:
                    station.kill()

    def _start(self) -> None:
        file = self.folder / "line.toml"
        file.write_text(self._toml("bench", self._uri, self.web_port), encoding="utf-8")
        with (self.folder / "station.log").open("ab") as log:
            command = [*module("line.witness"), str(self._journal), str(file)]
            variables = environment(BENCH_TOKEN=TOKEN, OMP_NUM_THREADS="1")
            self.station = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
        self._stack.callback(self._end)
        wait_for(self._ready, _START_S, f"the station is not ready, see {self.folder / 'station.log'}")

    def _toml(self, name: str, camera: str, web: int) -> str:
        trigger = self.plan.trigger
        if self.plan.kind == "modbus":
            where = f'host = "127.0.0.1"\nport = {self.plc.port}\ncounter_register = {COUNTER}'
            trigger = f"{trigger}\n{where}"
        if self.plan.kind == "mqtt":
            trigger = f'{trigger}\nhost = "127.0.0.1"\nport = {self.broker.port}\ntopic = "{TOPIC}"'
        text = LINE.format(
            name=name,
            camera=camera,
            camera_more=self.plan.camera_more,
            model=self._model,
            trigger=trigger,
            timing=self.plan.timing,
            web=web,
        )
        if self.plan.heartbeat_ms is None:
            return text
        beat_ms = self.plan.heartbeat_ms
        return text + OUTPUT.format(
            port=self.acts.port, registers=BLOCK, coil=REJECT_COIL, heartbeat_ms=beat_ms
        )

    def _end(self) -> None:
        self.station.send_signal(signal.SIGCONT)
        self.station.kill()
        self.station.wait()

    def _ready(self) -> bool:
        if self.station.poll() is not None:
            said = (self.folder / "station.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the station ended with {self.station.returncode}: {said}")
        return self.ready()

    def ready(self) -> bool:
        """Whether /readyz reports ready."""
        return readiness(self.web_port)[0] == 200

    def _connected(self) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.reconnect_delay_set(min_delay=1, max_delay=1)
        client.connect("127.0.0.1", self.broker.port, keepalive=600)
        client.loop_start()
        self._stack.callback(client.loop_stop)
        self._stack.callback(client.disconnect)
        return client

    def _post(self, content: dict[str, object]) -> None:
        """Send a request; returns when the kernel has it, without waiting for the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.web_port, timeout=60)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection.request("POST", "/trigger", json.dumps(content), headers)
        self._stack.callback(connection.close)


def readiness(port: int) -> tuple[int, str]:
    """Return the answer of a station's /readyz; 0 and nothing while none listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def wait_for(condition: Callable[[], object], within_s: float, what: str) -> None:
    """Wait until the condition holds. Raises RuntimeError with `what` if it does not in time."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(what)
        time.sleep(_POLL_S)


def has_quotas() -> bool:
    """Whether this process may set CPU quotas of others."""
    return os.access(_CPU / "cpu.cfs_quota_us", os.R_OK) and os.access(_CPU, os.W_OK)


def loads() -> list[float]:
    """Return the load averages: runnable processes over the last 1, 5, 15 minutes."""
    return [round(load, 1) for load in os.getloadavg()]
