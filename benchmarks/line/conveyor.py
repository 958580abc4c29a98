"""What every PLC of the tests has in common: conveyor, part counter, encoder, journal, and its commands.

Every write to it and every part that it counts is journalled, as one JSON line with `at_ns` of
CLOCK_MONOTONIC, before it is answered. An existing journal is read first: the PLC restores its counters and
registers, as from retained memory, also after kill -9. Commands are JSON lines on standard input, each
answered by a JSON line; the end of the input ends the PLC. `benchmarks/line/plc.py` is the client.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from benchmarks.line.scene import Scene

# Addresses. 32-bit values: high word first. The sensor is coil 1 and discrete input 0.
COUNTER, COUNTER16, ENCODER, ENCODER16 = 0, 2, 4, 6
REJECT_COIL = 0
SENSOR_COIL, SENSOR_INPUT = 1, 0
HOLDING, INPUTS = 256, 16


class Conveyor:
    """Counter, encoder and sensor, and the journal."""

    def __init__(self, journal: Path, scene: Scene | None = None) -> None:
        self._scene = scene
        self.counter, self.registers, self.coils = 0, [0] * HOLDING, [False] * 16
        self.sensor = False
        self._counts, self._speed, self._since_ns = 0.0, 0.0, time.monotonic_ns()
        if journal.exists():
            self._restore(journal)
        self._file = journal.open("a", encoding="ascii")
        self.note("start")

    def _restore(self, journal: Path) -> None:
        for line in journal.read_text(encoding="ascii").splitlines():
            event = json.loads(line)
            if event["kind"] == "trigger":
                self.counter, self._counts = event["counter"], float(event["encoder"])
            elif event["kind"] == "registers":
                at = event["address"]
                self.registers[at : at + len(event["values"])] = event["values"]

    @property
    def encoder(self) -> int:
        """Return the encoder's current count, 32 bits."""
        gone_s = (time.monotonic_ns() - self._since_ns) / 1e9
        return int(self._counts + self._speed * gone_s) % (1 << 32)

    def move(self, speed: float, counts: int | None) -> None:
        """Run at `speed` counts per second from now on; `counts` sets the encoder."""
        self._counts = float(self.encoder if counts is None else counts)
        self._speed, self._since_ns = speed, time.monotonic_ns()

    def part(self, count: int = 1) -> None:
        """Let this many parts pass the sensor."""
        for _ in range(count):
            self.counter = (self.counter + 1) % (1 << 32)
            if self._scene is not None:
                self._scene.put(self.counter)
            self.note("trigger", counter=self.counter, encoder=self.encoder)

    def note(self, kind: str, **details: object) -> None:
        """Write one line of the journal."""
        self._file.write(json.dumps({"at_ns": time.monotonic_ns(), "kind": kind, **details}) + "\n")
        self._file.flush()

    def live(self) -> dict[int, int]:
        """Return the registers whose values change by themselves."""
        counter, encoder = self.counter, self.encoder
        return {
            COUNTER: counter >> 16,
            COUNTER + 1: counter & 0xFFFF,
            COUNTER16: counter & 0xFFFF,
            ENCODER: encoder >> 16,
            ENCODER + 1: encoder & 0xFFFF,
            ENCODER16: encoder & 0xFFFF,
        }

    def switch(self, address: int, *, on: bool) -> None:
        """Apply a write of a coil."""
        self.coils[address] = on
        self.note("coil", address=address, value=on)

    def store(self, address: int, values: list[int]) -> None:
        """Apply a write of registers."""
        self.registers[address : address + len(values)] = values
        self.note("registers", address=address, values=values)


class Plc(ABC):
    """A server around a conveyor; `mode` and `delay_s` spoil its answers."""

    def __init__(self, conveyor: Conveyor, port: int) -> None:
        self.conveyor, self.port = conveyor, port
        self.mode, self.delay_s, self.asked = "ok", 0.0, 0
        self._run: asyncio.Task[None] | None = None
        self._random = random.Random(0)  # noqa: S311 (rubbish, no secret)

    @abstractmethod
    async def serve(self) -> None:
        """Until cancelled."""

    # ---- commands ------------------------------------------------------------------------------------------

    async def obey(self, command: dict[str, Any]) -> dict[str, object]:
        """Execute one command; return the state of the PLC after it."""
        what = command.pop("do")
        if what == "trigger":
            self.conveyor.part(**command)
        elif what == "sensor":
            self.conveyor.sensor = command["on"]
        elif what == "belt":
            self.conveyor.move(command["speed"], command.get("counts"))
        elif what == "spoil":
            self.mode, self.delay_s = command["mode"], command["delay_s"]
        elif what == "set":
            self._set(command["address"], command["values"])
        elif what == "counter":
            self.conveyor.counter = command["value"]
        elif what in {"run", "halt"}:
            await self._start_parts(command if what == "run" else None)
        now = self.conveyor
        state = {"counter": now.counter, "encoder": now.encoder, "asked": self.asked, "coils": now.coils}
        return {**state, "registers": now.registers} if what == "get" else state

    def _set(self, address: int, values: list[int]) -> None:
        self.conveyor.registers[address : address + len(values)] = values

    async def _start_parts(self, command: dict[str, Any] | None) -> None:
        if self._run is not None:
            self._run.cancel()
        self._run = None if command is None else asyncio.ensure_future(self._parts(**command))

    async def _parts(self, per_s: float, jitter: float = 0.0, count: int | None = None) -> None:
        """Produce parts at a rate, each up to `jitter` of the period late, the sensor on for half of it."""
        due, made = time.monotonic(), 0
        while count is None or made < count:
            due += 1 / per_s
            late = self._random.uniform(0, jitter) / per_s
            await asyncio.sleep(max(due + late - time.monotonic(), 0))
            self.conveyor.sensor = True
            self.conveyor.part()
            made += 1
            await asyncio.sleep(0.5 / per_s)
            self.conveyor.sensor = False


def _listen(plc: Plc, loop: asyncio.AbstractEventLoop, ending: asyncio.Event) -> None:
    """Read commands from standard input, on a thread."""
    for line in sys.stdin:
        done = asyncio.run_coroutine_threadsafe(plc.obey(json.loads(line)), loop).result()
        sys.stdout.write(json.dumps(done) + "\n")
        sys.stdout.flush()
    loop.call_soon_threadsafe(ending.set)


async def run(kind: type[Plc], about: str | None) -> None:
    """Serve as the command line says until standard input ends."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument(
        "--scene", type=Path, help="file of the parts in front of a camera, see benchmarks.line.scene"
    )
    arguments = parser.parse_args()
    scene = None if arguments.scene is None else Scene(arguments.scene)
    plc, ending = kind(Conveyor(arguments.journal, scene), arguments.port), asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(target=_listen, args=(plc, loop, ending), daemon=True).start()
    serving = asyncio.ensure_future(plc.serve())
    await asyncio.wait({serving, asyncio.ensure_future(ending.wait())}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
