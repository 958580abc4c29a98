"""A line under storm: its counterparts and the station as processes, and what can happen to each of them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.common.command import environment, module
from benchmarks.common.counterparts import free_port
from benchmarks.line.broker import Broker
from benchmarks.line.camera import SERIAL, FakeCamera
from benchmarks.line.plc import BLOCK, COUNTER, REJECT_COIL, Plc

TOKEN = "of one storm only"  # noqa: S105 (of a station that lives for the storm only)
CAMERA = f"gige://{SERIAL}?trigger=software&exposure_us=10000&packet_size=9000"
LINE = """
[station]
name = "storm"
[camera]
uri = "{camera}"
stall_s = 1
lost_s = 2
[recipes]
first = "first"
models = {{ first = "{first}", second = "{second}" }}
threads = 1
[trigger]
kind = "modbus"
host = "127.0.0.1"
port = {plc}
counter_register = {counter}
judged_register = {judged}
max_gap_ms = 80
[timing]
deadline_ms = {deadline_ms}
picture_within_ms = 60
[[output]]
kind = "modbus"
host = "127.0.0.1"
port = {plc}
registers = {registers}
coil = {coil}
gate = {{ pulse_ms = 20 }}
[[output]]
kind = "mqtt"
host = "127.0.0.1"
port = {broker}
topic = "storm"
[archive]
folder = "{disk}/archive"
min_free_gb = 0
keep_parts = 20
every_nth_pass = 5
[audit]
file = "{disk}/audit.jsonl"
[web]
port = {web}
token = {{ env = "STORM_TOKEN" }}
[drift]
[log]
format = "json"
"""


@dataclass
class Window:
    """From when to when something was done, in nanoseconds of CLOCK_MONOTONIC."""

    kind: str
    start_ns: int
    end_ns: int = 0


@dataclass
class Storm:
    """Everything that runs; `folder` for files, `disk` (a small one) for what the station writes."""

    folder: Path
    disk: Path
    models: tuple[Path, Path]
    per_s: float
    deadline_ms: float = 1000.0
    windows: list[Window] = field(default_factory=list)
    memory: list[tuple[float, int, float]] = field(default_factory=list)  # seconds, pid, MB
    ends: list[tuple[str, int]] = field(default_factory=list)  # how each station ended: what, exit code

    def __post_init__(self) -> None:
        self.web_port = free_port()
        self.control = self.folder / "engine"
        self.clock = self.folder / "clock"
        scene = self.folder / "scene"
        # A part stays before the camera until the next one comes.
        self.camera = FakeCamera(scene=scene)
        self.plc = Plc(self.folder, scene=scene)
        self.witness = self.folder / "witness.jsonl"
        self.broker = Broker(self.folder)
        self.log = (self.folder / "station.log").open("ab")
        self.station: subprocess.Popen[bytes] | None = None
        self.began = time.monotonic()
        self._toggle = False

    @contextlib.contextmanager
    def running(self) -> Iterator[Storm]:
        """Counterparts and station up; all of them ended by their own ids."""
        self._write_files()
        try:
            self.camera.start()
            self.plc.start()
            self.broker.start()
            self.start_station()
            self.wait_ready()
            self.plc.run(self.per_s, jitter=0.2)
            yield self
        finally:
            if self.station is not None:
                self.station.kill()
                self.station.wait()
            self.broker.close()
            self.plc.kill()
            self.camera.close()
            self.log.close()

    def _write_files(self) -> None:
        text = LINE.format(
            camera=CAMERA,
            first=self.models[0],
            second=self.models[1],
            plc=self.plc.port,
            counter=COUNTER,
            judged=BLOCK + 12,
            registers=BLOCK,
            coil=REJECT_COIL,
            deadline_ms=self.deadline_ms,
            broker=self.broker.port,
            web=self.web_port,
            disk=self.disk,
        )
        (self.folder / "line.toml").write_text(text, encoding="utf-8")
        self.clock.write_text("+0\n", encoding="ascii")

    # ---- the station -----------------------------------------------------------------------------------

    def start_station(self) -> None:
        """As systemd would; its wall clock is the storm's to move."""
        preload = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
        variables = environment(STORM_TOKEN=TOKEN, PYTHONUNBUFFERED="1")
        if preload is not None:
            variables |= {
                "LD_PRELOAD": str(preload),
                "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_NO_CACHE": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }
        files = (self.control, self.witness, self.folder / "line.toml")
        command = [*module("line.storm_station"), *map(str, files)]
        self.station = subprocess.Popen(command, env=variables, stdout=self.log, stderr=self.log)

    def wait_ready(self, within_s: float = 120.0) -> None:
        """Until /readyz says so. Raises RuntimeError when it does not."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            if self.station is not None and self.station.poll() is not None:
                said = (self.folder / "station.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the station ended with {self.station.returncode}: {said}")
            if self.ask("GET", "/readyz")[0] == 200:
                return
            time.sleep(0.2)
        raise RuntimeError(f"the station is not ready after {within_s:g} s: {self.ask('GET', '/readyz')}")

    def ask(self, method: str, path: str, body: dict[str, object] | None = None) -> tuple[int, str]:
        """One request to the station's page: status and text, (0, why) without an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.web_port, timeout=5)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as exc:
            return 0, str(exc)
        finally:
            connection.close()

    def end_station(self, number: signal.Signals) -> None:
        """Send a signal, wait for the end, start again."""
        station = self.station
        assert station is not None  # noqa: S101 (it runs while the storm does)
        with self.window(number.name):
            station.send_signal(number)
            self.ends.append((number.name, station.wait(60)))
            self.start_station()
            self.wait_ready()

    def stop(self) -> None:
        """The orderly end."""
        station = self.station
        assert station is not None  # noqa: S101 (it runs while the storm does)
        station.send_signal(signal.SIGTERM)
        self.ends.append(("SIGTERM", station.wait(60)))

    def note_memory(self) -> None:
        """Resident memory of the station now."""
        station = self.station
        with contextlib.suppress(OSError, ValueError, IndexError):
            assert station is not None  # noqa: S101 (it runs while the storm does)
            pages = int(Path(f"/proc/{station.pid}/statm").read_text(encoding="ascii").split()[1])
            megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
            self.memory.append((time.monotonic() - self.began, station.pid, megabytes))

    # ---- what can happen -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def window(self, kind: str) -> Iterator[None]:
        """Write down from when to when."""
        window = Window(kind, time.monotonic_ns())
        self.windows.append(window)
        try:
            yield
        finally:
            window.end_ns = time.monotonic_ns()

    def faults(self) -> dict[str, Callable[[], None]]:
        """Every fault by its name; each takes seconds and leaves the line whole."""
        return {
            "camera": self._camera,
            "plc": self._plc,
            "broker": self._broker,
            "disk": self._disk_full,
            "engine_raises": lambda: self._engine("raise"),
            "engine_hangs": lambda: self._engine("hang"),
            "clock": self._clock_jumps,
            "recipe": self._recipe,
            "sigterm": lambda: self.end_station(signal.SIGTERM),
            "kill": lambda: self.end_station(signal.SIGKILL),
            "stopped": self._stopped,
            "starved": self._starved,
            "slow_plc": lambda: self._answers("slow_plc", "ok", 0.15),
            "silent_plc": lambda: self._answers("silent_plc", "silent", 0.0),
            "late_camera": self._late_camera,
        }

    def rest(self, seconds: float) -> None:
        """The line runs; its memory is noted."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 1.0))
            self.note_memory()

    def _camera(self) -> None:
        with self.window("camera"):
            self.camera.kill()
            self.rest(random.uniform(1, 4))  # noqa: S311 (chance, no secret)
            self.camera.start()
        self.wait_ready()

    def _plc(self) -> None:
        with self.window("plc"):
            self.plc.kill()
            self.rest(random.uniform(1, 4))  # noqa: S311 (chance, no secret)
            self.plc.start()
            self.plc.run(self.per_s, jitter=0.2)
        self.wait_ready()

    def _broker(self) -> None:
        with self.window("broker"):
            self.broker.kill()
            self.rest(random.uniform(1, 4))  # noqa: S311 (chance, no secret)
            self.broker.start()

    def _disk_full(self) -> None:
        """Fill what is left of the small disk, and free it again."""
        ballast = self.disk / "ballast"
        with self.window("disk"):
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:
                while True:
                    stream.write(bytes(1 << 16))
            self.rest(3)
            ballast.unlink()

    def _engine(self, how: str) -> None:
        with self.window(f"engine_{how}"):
            self.control.write_text(how, encoding="ascii")
            self.rest(2)
            self.control.unlink()
        self.rest(1.5)  # an inspection that hangs ends by itself

    def _clock_jumps(self) -> None:
        with self.window("clock"):
            for offset in ("+3d", "-400d", "+0"):
                unfinished = self.clock.with_suffix(".new")
                unfinished.write_text(f"{offset}\n", encoding="ascii")
                unfinished.replace(self.clock)
                self.rest(1)

    def _stopped(self) -> None:
        """The station stands still, as by a debugger or a machine that swaps."""
        assert self.station is not None  # noqa: S101 (it runs while the storm does)
        with self.window("stopped"):
            self.station.send_signal(signal.SIGSTOP)
            self.rest(random.choice((0.2, 0.5, 2.0)))  # noqa: S311 (chance, no secret)
            self.station.send_signal(signal.SIGCONT)
        self.wait_ready()

    def _starved(self) -> None:
        """The station runs for a moment now and then, as under a quota of processor time."""
        assert self.station is not None  # noqa: S101 (it runs while the storm does)
        with self.window("starved"):
            for _ in range(15):
                self.station.send_signal(signal.SIGSTOP)
                self.rest(random.uniform(0.03, 0.3))  # noqa: S311 (chance, no secret)
                self.station.send_signal(signal.SIGCONT)
                self.rest(random.uniform(0.005, 0.06))  # noqa: S311 (chance, no secret)
        self.wait_ready()

    def _answers(self, kind: str, mode: str, delay_s: float) -> None:
        """The PLC counts on and answers late, or not at all: its trigger is dead while its parts pass."""
        with self.window(kind):
            self.plc.spoil(mode, delay_s)
            self.rest(random.uniform(2, 4))  # noqa: S311 (chance, no secret)
            self.plc.spoil()
        self.wait_ready()

    def _late_camera(self) -> None:
        """Frames leave the camera when their parts' deadline is over."""
        with self.window("late_camera"):
            self.camera.late(self.deadline_ms * 1.2)
            self.rest(4)
            self.camera.late(0)
            self.rest(1)
        self.wait_ready()

    def _recipe(self) -> None:
        self._toggle = not self._toggle
        with self.window("recipe"):
            name = "second" if self._toggle else "first"
            status, text = self.ask("POST", "/recipe", {"name": name, "operator": "storm"})
            if status not in (200, 202, 409):
                raise RuntimeError(f"recipe: {status} {text}")
            self.rest(2)
