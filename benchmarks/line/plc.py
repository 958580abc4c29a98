"""A PLC for tests and measurements: starts, kills and commands its process, `plc_server.py` by default.

with Plc(folder) as plc:
    plc.run(per_s=10)
    ...
    plc.kill(); plc.start()
    print(plc.pulses(), plc.results())
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from benchmarks.common.command import environment, module
from benchmarks.common.counterparts import free_port, listens
from benchmarks.line.conveyor import (
    COUNTER,
    COUNTER16,
    ENCODER,
    ENCODER16,
    REJECT_COIL,
    SENSOR_COIL,
    SENSOR_INPUT,
)

__all__ = [
    "BLOCK",
    "COUNTER",
    "COUNTER16",
    "ENCODER",
    "ENCODER16",
    "REJECT_COIL",
    "SENSOR_COIL",
    "SENSOR_INPUT",
    "VERDICTS",
    "Plc",
    "Written",
]

BLOCK = 100  # a good place for the station's registers
_START_S = 60.0


VERDICTS = {1: "pass", 2: "reject", 3: "fault"}  # by their codes in the block


@dataclass(frozen=True)
class Written:
    """The station's result block, as written once."""

    at_ns: int
    id: int
    verdict: int
    reason: int
    score: int
    passed: int
    rejected: int
    faults: int
    judged: int
    sequence: int


class Plc:
    """One PLC in `folder`, which keeps its journal across restarts. Not thread-safe.

    Its parts are in front of the camera of `scene`, if that file is given. `server` is the module of its
    process, for another protocol than Modbus.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        scene: Path | None = None,
        server: str = "line.plc_server",
    ) -> None:
        self._server = server
        self._view = [] if scene is None else ["--scene", str(scene)]
        self.journal = folder / "plc.jsonl"
        self.port = port or free_port()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    # ---- its life ------------------------------------------------------------------------------------------

    def start(self, *, forget: bool = False) -> None:
        """Start to serve; with `forget` its counters and registers are 0 again."""
        if forget:
            self.journal.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [
                *module(self._server),
                "--port",
                str(self.port),
                "--journal",
                str(self.journal),
                *self._view,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            text=True,
        )
        end = time.monotonic() + _START_S
        while not listens(self.port):
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the PLC did not start on port {self.port}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill the PLC, as in a power cut; a second call does nothing."""
        process, self._process = self._process, None
        if process is not None:
            with process:
                process.kill()

    # ---- commands ------------------------------------------------------------------------------------------

    def ask(self, what: str, **details: Any) -> dict[str, Any]:
        """Send a command and return the PLC's answer."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise RuntimeError("the PLC is not running")
        process.stdin.write(json.dumps({"do": what, **details}) + "\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        return answer

    def trigger(self, count: int = 1) -> int:
        """Let this many parts pass at once; return the counter after it."""
        return int(self.ask("trigger", count=count)["counter"])

    def run(self, per_s: float, jitter: float = 0.0, count: int | None = None) -> None:
        """Produce parts at a rate from now on."""
        self.ask("run", per_s=per_s, jitter=jitter, count=count)

    def halt(self) -> int:
        """Stop producing parts; return the counter."""
        return int(self.ask("halt")["counter"])

    def sensor(self, *, on: bool) -> None:
        """Set the part sensor, as coil and input, without counting."""
        self.ask("sensor", on=on)

    def belt(self, speed: float, counts: int | None = None) -> None:
        """Run at this many encoder counts per second from now on; `counts` sets the encoder."""
        self.ask("belt", speed=speed, counts=counts)

    def spoil(self, mode: str = "ok", delay_s: float = 0.0) -> None:
        """Answers: ok, busy, silent, wrong_id, wrong_device, short, long, rubbish, flood; and the delay."""
        self.ask("spoil", mode=mode, delay_s=delay_s)

    def set(self, address: int, values: Sequence[int]) -> None:
        """Set registers, as the PLC's own program does."""
        self.ask("set", address=address, values=list(values))

    def get(self, address: int, count: int) -> list[int]:
        """Return registers, as the PLC's own program reads them."""
        registers: list[int] = self.ask("get")["registers"]
        return registers[address : address + count]

    # ---- what it saw ---------------------------------------------------------------------------------------

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the journal: every part, every write; the last line may be truncated by a kill."""
        if not self.journal.exists():
            return []
        lines = self.journal.read_text(encoding="ascii").split("\n")[:-1]
        events: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [event for event in events if kind is None or event["kind"] == kind]

    def pulses(self, address: int = REJECT_COIL) -> list[tuple[int, int | None]]:
        """Return when the coil went on and off, in nanoseconds of CLOCK_MONOTONIC; None while it is on."""
        found: list[tuple[int, int | None]] = []
        for event in self.events():
            # A PLC that starts has its coils off.
            if event["kind"] != "start" and (event["kind"] != "coil" or event["address"] != address):
                continue
            wanted = event.get("value", False)
            is_on = bool(found) and found[-1][1] is None
            if wanted and not is_on:
                found.append((event["at_ns"], None))
            elif is_on and not wanted:
                found[-1] = (found[-1][0], event["at_ns"])
        return found

    def results(self, address: int = BLOCK) -> list[Written]:
        """Return every result block written, in order."""
        writes = [event for event in self.events("registers") if event["address"] == address]
        return [_written(event["at_ns"], event["values"]) for event in writes if len(event["values"]) == 16]


def _written(at_ns: int, words: list[int]) -> Written:
    def long(at: int) -> int:
        return words[at] << 16 | words[at + 1]

    score = long(4) - (1 << 32) * (long(4) >> 31)
    return Written(at_ns, long(0), words[2], words[3], score, *(long(at) for at in range(6, 16, 2)))
