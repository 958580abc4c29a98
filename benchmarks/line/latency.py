"""From trigger to coil: a GigE Vision camera, software triggers, a CPU model and a PLC, all on loopback.

    python -m benchmarks.line.latency --minutes 10 -o benchmarks/results/line_latency.json

The camera is Aravis' fake one, the PLC a pymodbus server in its own process that records when its coil goes
on. Some of the parts are rejected; each of these gives one figure: the time from its trigger to the moment at
which the PLC has the coil. The engine's time is subtracted, and in a second figure also the camera's, from
the trigger to the arrival of the whole frame. `--dry-run` takes seconds and keeps nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ast_edge.latency.figures import figures
from ast_edge.line.outputs.base import Output, OutputStatus
from ast_edge.line.part import PartResult
from ast_edge.line.service.config import read_config
from ast_edge.line.service.running import punctual
from ast_edge.line.service.service import Service
from ast_edge.line.status import StationView
from benchmarks.common import machine
from benchmarks.line.camera import SERIAL, FakeCamera
from benchmarks.line.model import train
from benchmarks.line.plc import BLOCK, REJECT_COIL, Plc

PULSE_MS = 20
TARGET_MS = 5.0
CAMERA = f"gige://{SERIAL}?trigger=software&exposure_us=10000&packet_size=9000"
LINE = """
[station]
name = "latency"
[camera]
uri = "{camera}"
[recipes]
first = "nano"
models = {{ nano = "{model}" }}
threads = 1
[trigger]
kind = "timer"
per_s = {per_s}
[timing]
deadline_ms = 1000
[[output]]
kind = "modbus"
host = "127.0.0.1"
port = {port}
registers = {registers}
coil = {coil}
gate = {{ pulse_ms = {pulse_ms} }}
[archive]
folder = "archive"
[log]
level = "warning"
"""


@dataclass(frozen=True)
class Part:
    """The station's data of one part; times in nanoseconds of CLOCK_MONOTONIC."""

    number: int
    verdict: str
    at_ns: int
    frame_ns: int | None
    engine_ms: float
    stages_ms: dict[str, float]


class Recorder(Output):
    """Records every part."""

    name = "recorder"

    def __init__(self) -> None:
        self.parts: list[Part] = []

    def start(self, station: StationView) -> None:
        """Do nothing."""

    def put(self, result: PartResult) -> None:
        """Record times, not pictures."""
        frame, stages = result.frame, dict(result.stages_ms)
        arrived = frame.host_ns if frame is not None else None
        part = Part(
            result.number, result.verdict, result.trigger.at_ns, arrived, stages.get("engine", 0.0), stages
        )
        self.parts.append(part)

    @property
    def status(self) -> OutputStatus:
        """Always well."""
        return OutputStatus(connected=True, delivered=len(self.parts), undelivered=0, queued=0, last_error="")

    def close(self, timeout_s: float) -> None:
        """Do nothing."""


def main() -> int:
    """Measure, print, and write the result file; 1 when a part has not exactly one verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--per-s", type=float, default=10.0)
    parser.add_argument("--weights", default="seeded", help="backbone weights (safetensors), or seeded")
    parser.add_argument("--model", type=Path, help="a model for the camera's pictures instead of a new one")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    dry = arguments.dry_run
    seconds = 5.0 if dry else arguments.minutes * 60
    with tempfile.TemporaryDirectory() as name, FakeCamera(), Plc(Path(name)) as plc:
        folder = Path(name)
        model = arguments.model or train(
            folder, CAMERA, pictures=24 if dry else 80, epochs=1 if dry else 4, weights=arguments.weights
        )
        parts, balance = run(folder, model.resolve(), plc, per_s=arguments.per_s, seconds=seconds)
        figures = judge(parts, balance, plc)
    result = {
        "command": f"python -m benchmarks.line.latency --minutes {arguments.minutes:g}",
        "machine": machine.facts(),
        "seconds": seconds,
        "parts_per_s": arguments.per_s,
        "camera": CAMERA,
        "scheduling": scheduling(),
        **figures,
    }
    print(json.dumps(figures, indent=1))
    if arguments.output is not None and not dry:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(not figures["one_verdict_each"])


def scheduling() -> str:
    """Return this process's scheduling: its nice value and that of its session's group."""
    group = Path("/proc/self/autogroup")
    of_group = group.read_text(encoding="ascii").strip() if group.exists() else "none"
    return f"nice {os.nice(0)}, autogroup {of_group.partition(' ')[2]}"


def run(
    folder: Path, model: Path, plc: Plc, *, per_s: float, seconds: float
) -> tuple[list[Part], dict[str, object]]:
    """Run the line for this long; return the outcome of every part, and the station's balance."""
    file = folder / "line.toml"
    file.write_text(
        LINE.format(
            camera=CAMERA,
            model=model,
            per_s=per_s,
            port=plc.port,
            registers=BLOCK,
            coil=REJECT_COIL,
            pulse_ms=PULSE_MS,
        ),
        encoding="utf-8",
    )
    service, recorder, loads = Service(read_config(file)), Recorder(), []
    service.outputs.append(recorder)
    with punctual():
        service.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(min(5.0, max(end - time.monotonic(), 0.01)))
            loads.append(os.getloadavg()[0])
        balance = service.stop()
    return recorder.parts, {
        "triggers": balance.triggers,
        "verdicts": balance.verdicts,
        "open": balance.open,
        "load_1_min": {"median": float(np.median(loads)), "max": max(loads)},
    }


def judge(parts: list[Part], balance: dict[str, object], plc: Plc) -> dict[str, object]:
    """Return all figures, from the station's records and the PLC's journal."""
    written = plc.results()
    codes = {"pass": 1, "reject": 2, "fault": 3}
    reported = {result.id: result.verdict for result in written}
    triggers = balance["triggers"]
    one_each = (
        balance["open"] == 0
        and [part.number for part in sorted(parts, key=lambda part: part.number)]
        == list(range(1, int(str(triggers)) + 1))
        and len(written) == len(reported) == len(parts)
        and all(reported.get(part.number) == codes[part.verdict] for part in parts)
    )
    pairs = paired(parts, plc)
    total = [(on - part.at_ns) / 1e6 for part, on in pairs]
    engine = [part.engine_ms for part, _ in pairs]
    camera = [(part.frame_ns - part.at_ns) / 1e6 for part, _ in pairs if part.frame_ns is not None]
    without = [ms - own for ms, own in zip(total, engine, strict=True)]
    station = [(on - part.frame_ns) / 1e6 - part.engine_ms for part, on in pairs if part.frame_ns is not None]
    return {
        **balance,
        "one_verdict_each": one_each,
        "coils": len(pairs),
        "trigger_to_coil_ms": quantiles(total),
        "engine_ms": quantiles(engine),
        "camera_ms": quantiles(camera),
        "stages_ms": {
            stage: quantiles([part.stages_ms[stage] for part, _ in pairs])
            for stage in (pairs[0][0].stages_ms if pairs else ())
        },
        "trigger_to_coil_less_engine_ms": quantiles(without),
        "frame_to_coil_less_engine_ms": quantiles(station),
        "target": {
            "what": "p99 of trigger_to_coil_less_engine_ms",
            "at_most_ms": TARGET_MS,
            "met": quantiles(without).get("p99", math.inf) <= TARGET_MS,
        },
    }


def paired(parts: list[Part], plc: Plc) -> list[tuple[Part, int]]:
    """Pair every rejected part with the moment at which the PLC had its coil.

    The station writes the coil of a part and then its registers, so a part's coil is the one switched on
    between the registers of the previous part and its own.
    """
    by_number = {part.number: part for part in parts}
    found, on = [], None
    for event in plc.events():
        if event["kind"] == "coil" and event["address"] == REJECT_COIL:
            on = event["at_ns"] if event["value"] else on
        elif event["kind"] == "registers" and event["address"] == BLOCK and len(event["values"]) == 16:
            part = by_number[event["values"][0] << 16 | event["values"][1]]
            if on is not None and part.verdict == "reject":
                found.append((part, on))
            on = None
    return found


def quantiles(values: list[float]) -> dict[str, float]:
    """Return percentiles over all parts, in milliseconds; one that too few values support is omitted."""
    if not values:
        return {}
    found = {name: value for name, value in figures(values).model_dump().items() if value is not None}
    return {"count": len(values), **found}


if __name__ == "__main__":
    sys.exit(main())
