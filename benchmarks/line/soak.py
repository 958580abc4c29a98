"""A station over a long time: twenty parts a second with every output, and whether its memory stays flat.

    python -m benchmarks.line.soak --minutes 30 -o benchmarks/results/soak.json

The station is a process of its own, started by `ast-edge run`, with triggers from a PLC that counts parts,
results to that PLC and to a broker, an archive that removes its oldest parts, and a page that is asked every
second. Its camera repeats recorded pictures. Memory, threads and open files are read from /proc. Exit code 1
if a part has no verdict or several, if the archive's parts are not those that it was to keep, or if memory,
threads or files grow. `--dry-run` takes seconds and keeps nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np

from benchmarks.common import machine
from benchmarks.common.command import environment
from benchmarks.common.counterparts import free_port
from benchmarks.line.broker import Broker
from benchmarks.line.model import capture, train
from benchmarks.line.plc import BLOCK, COUNTER, REJECT_COIL, VERDICTS, Plc

SYNTHETIC = "synthetic://?seed=1&defects=0.1&trigger=software"
PICTURES = 40
KEPT_PARTS = 2000
LOOK_S = 1.0
MOST_GROWTH_MB = 10.0  # over the second half, by a straight line through it
SETTLE_S = 5.0
_START_S = 120.0
SHORTEST_S = 300.0  # a station that has just started fills its caches
LINE = """
[station]
name = "soak"
[camera]
uri = "dir://{pictures}?trigger=software&loop=1"
[recipes]
first = "product"
models = {{ product = "{model}" }}
threads = 1
[trigger]
kind = "modbus"
host = "127.0.0.1"
port = {plc}
counter_register = {counter}
judged_register = {judged}
[timing]
deadline_ms = 1000
[[output]]
kind = "modbus"
host = "127.0.0.1"
port = {plc}
registers = {registers}
coil = {coil}
gate = {{ pulse_ms = 10 }}
[[output]]
kind = "mqtt"
host = "127.0.0.1"
port = {broker}
topic = "soak"
[archive]
folder = "archive"
min_free_gb = 0
keep_parts = {kept}
every_nth_pass = 10
[audit]
file = "audit.jsonl"
[web]
port = {web}
[drift]
"""


@dataclass(frozen=True)
class Look:
    """The station's process at one moment."""

    seconds: float
    resident_mb: float
    threads: int
    files: int


def main() -> int:
    """Run, print the figures, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--per-s", type=float, default=20.0)
    parser.add_argument("--model", type=Path, help="a model for the synthetic product instead of a new one")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    seconds = 6.0 if arguments.dry_run else arguments.minutes * 60
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        capture(SYNTHETIC, folder / "pictures", PICTURES)
        options = {"pictures": 24, "epochs": 1} if arguments.dry_run else {"pictures": 80, "epochs": 4}
        model = arguments.model or train(folder, SYNTHETIC, weights="seeded", **options)
        found = soak(folder, model.resolve(), seconds, arguments.per_s)
    result = {
        "command": f"python -m benchmarks.line.soak --minutes {arguments.minutes:g}",
        "machine": machine.facts(),
        "parts_per_s": arguments.per_s,
        **found,
    }
    print(json.dumps({key: value for key, value in found.items() if key != "looks"}, indent=1))
    if arguments.output is not None and not arguments.dry_run:
        arguments.output.write_text(json.dumps(result) + "\n", encoding="utf-8")
    return int(bool(found["problems"]))


def soak(folder: Path, model: Path, seconds: float, per_s: float) -> dict[str, Any]:
    """The line for so long; its figures and `problems`, sentences that should not be there."""
    web, plc, broker = free_port(), Plc(folder), Broker(folder, "soak/part")
    text = LINE.format(
        pictures=folder / "pictures",
        model=model,
        plc=plc.port,
        counter=COUNTER,
        judged=BLOCK + 12,
        registers=BLOCK,
        coil=REJECT_COIL,
        broker=broker.port,
        kept=KEPT_PARTS,
        web=web,
    )
    (folder / "line.toml").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "ast_edge", "run", str(folder / "line.toml")]
    with (folder / "log").open("wb") as log, contextlib.ExitStack() as stack:
        stack.callback(broker.close)
        broker.start()
        stack.enter_context(plc)
        station = stack.enter_context(subprocess.Popen(command, env=environment(), stdout=log, stderr=log))
        stack.callback(station.kill)
        wait_ready(station, web, folder / "log")
        plc.run(per_s)
        looks = watch(station.pid, web, seconds)
        plc.halt()
        time.sleep(SETTLE_S)
        station.send_signal(signal.SIGTERM)
        exit_code = station.wait(60)
        verdicts, problems = every_part_once(plc)
    grown, growth_problems = growth(looks)
    if seconds >= SHORTEST_S:
        problems += growth_problems
    if exit_code:
        problems.append(f"the station ended with exit code {exit_code}")
    return {
        "problems": problems[:50],
        "seconds": round(looks[-1].seconds, 1),
        "verdicts": verdicts,
        "broker_parts": len({part["part_id"] for part in broker.parts}),
        **grown,
        "looks": [[look.seconds, look.resident_mb, look.threads, look.files] for look in looks],
    }


def wait_ready(station: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when the station is ready. Raises RuntimeError if it ends, or is not within two minutes."""
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        if station.poll() is not None:
            said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"the station ended with exit code {station.returncode}: {said}")
        with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"the station is not ready after {_START_S:g} s")


def watch(pid: int, port: int, seconds: float) -> list[Look]:
    """Look at the process, and ask for its page and metrics, once a second."""
    began, looks = time.monotonic(), []
    process = Path(f"/proc/{pid}")
    while (now := time.monotonic() - began) < seconds:
        for path in ("/", "/metrics"):
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                answer.read()
        status = dict(
            line.split(":", 1) for line in (process / "status").read_text(encoding="ascii").splitlines()
        )
        files = sum(1 for _ in (process / "fd").iterdir())
        resident_mb = int(status["VmRSS"].split()[0]) / 1e3
        looks.append(Look(round(now, 1), round(resident_mb, 2), int(status["Threads"]), files))
        time.sleep(max(LOOK_S - (time.monotonic() - began - now), 0))
    return looks


def every_part_once(plc: Plc) -> tuple[dict[str, int], list[str]]:
    """Count verdicts by the PLC's journal; name every part that has none or several."""
    counted: dict[int, set[int]] = {event["counter"]: set() for event in plc.events("trigger")}
    problems = []
    for written in plc.results(BLOCK):
        if written.id in counted:
            counted[written.id].add(written.verdict)
        else:
            problems.append(f"part {written.id} was never triggered")
    for number, found in counted.items():
        if len(found) != 1:
            problems.append(f"part {number} has {len(found)} verdicts")
    verdicts = Counter(VERDICTS[min(found)] for found in counted.values() if found)
    return dict(verdicts), problems


def growth(looks: list[Look]) -> tuple[dict[str, Any], list[str]]:
    """What grew over the second half, the first being for caches and the archive to fill."""
    half = looks[len(looks) // 2 :]
    at = np.array([look.seconds for look in half])
    slope, _ = np.polyfit(at, [look.resident_mb for look in half], 1)
    grown_mb = float(slope * (at[-1] - at[0]))
    third = len(half) // 3
    most = [
        (max(one.threads for one in part), max(one.files for one in part)) for part in (half[:third], half)
    ]
    problems = [f"memory grew by {grown_mb:.1f} MB in the second half"] if grown_mb > MOST_GROWTH_MB else []
    problems += [
        f"{what} grew from {before} to {after} in the second half"
        for what, before, after in zip(("threads", "open files"), *most, strict=True)
        if after > before + 2
    ]
    figures = {
        "resident_mb": {
            "start": looks[0].resident_mb,
            "half": half[0].resident_mb,
            "end": half[-1].resident_mb,
        },
        "grown_in_second_half_mb": round(grown_mb, 2),
        "threads_at_most": most[1][0],
        "files_at_most": most[1][1],
    }
    return figures, problems


if __name__ == "__main__":
    sys.exit(main())
