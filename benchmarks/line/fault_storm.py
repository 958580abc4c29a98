"""A line under storm: all that it is made of fails, again and again, and every part has one verdict.

    python -m benchmarks.line.fault_storm --minutes 30 -o benchmarks/results/fault_storm.json

Camera, PLC and broker are killed, the PLC is slow or silent, the camera late, the disk is full, the engine
raises and hangs, the wall clock jumps, recipes change under load, and the station itself is stopped, stands
still, starves and is killed. The PLC counts the parts and writes
down every verdict that it is given; the archive is compared with it at the end. The camera draws the number
of the part before it into its pixels. Exit code 1 when a part has no verdict or two, when one was judged by
another one's picture or passed while the station could not see it, or when memory grows.

Needs Linux, root (for a small tmpfs that can be full; else `--disk FOLDER` on such a file system), mosquitto,
Aravis and its Python bindings, and libfaketime.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import machine
from benchmarks.line.camera import FakeCamera
from benchmarks.line.model import train
from benchmarks.line.storm import CAMERA, Storm
from benchmarks.line.verdicts import judge

DISK_MB = 24
SETTLE_S = 8.0


def main() -> int:
    """Run the storm, print what became of the parts, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--once", action="store_true", help="every fault once instead, in a fixed order")
    parser.add_argument("--per-s", type=float, default=5.0)
    parser.add_argument("--calm-s", type=float, default=4.0, help="seconds between two faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=Path, nargs=2, help="two models for the camera's pictures")
    parser.add_argument("--weights", default="seeded", help="backbone weights for new models, or seeded")
    parser.add_argument("--disk", type=Path, help="a folder on a small file system of its own")
    parser.add_argument("--log", type=Path, help="keep the station's log here")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    with tempfile.TemporaryDirectory() as name, small_disk(Path(name), arguments.disk) as disk:
        folder = Path(name)
        models = tuple(arguments.models or [new_model(folder, arguments.weights)] * 2)
        storm = Storm(folder, disk, (models[0].resolve(), models[1].resolve()), arguments.per_s)
        try:
            with storm.running():
                blow(storm, 0.0 if arguments.once else arguments.minutes * 60, arguments.calm_s)
                storm.plc.halt()
                time.sleep(SETTLE_S)
                storm.stop()
                figures = judge(storm)
        finally:
            if arguments.log is not None:
                shutil.copy(folder / "station.log", arguments.log)
    minutes = "--once" if arguments.once else f"--minutes {arguments.minutes:g}"
    result = {
        "command": f"python -m benchmarks.line.fault_storm {minutes} --seed {arguments.seed}",
        "machine": machine.facts(),
        "parts_per_s": arguments.per_s,
        **figures,
    }
    print(json.dumps(figures, indent=1))
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(bool(figures["problems"]))


def blow(storm: Storm, seconds: float, calm_s: float) -> None:
    """Faults in random order for so long, every one at least once; 0 seconds: each once, in order."""
    faults = storm.faults()
    storm.rest(calm_s)
    if not seconds:
        for fault in faults.values():
            fault()
            storm.rest(calm_s)
        return
    end = time.monotonic() + seconds
    names: list[str] = []
    while time.monotonic() < end:
        if not names:
            names = random.sample(list(faults), len(faults))
        faults[names.pop()]()
        storm.rest(calm_s)


def new_model(folder: Path, weights: str) -> Path:
    """A model for what the camera shows."""
    with FakeCamera(scene=folder / "scene"):
        return train(folder, CAMERA, pictures=60, epochs=3, weights=weights)


@contextlib.contextmanager
def small_disk(folder: Path, given: Path | None) -> Iterator[Path]:
    """A tmpfs that can be filled, taken away at the end."""
    if given is not None:
        yield given
        return
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk)]
    subprocess.run(mount, check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)  # noqa: S607 (where the system has it)


if __name__ == "__main__":
    sys.exit(main())
