"""The cost of open pages for the line: trigger to coil with ten pages open and with none, alternately.

    python -m benchmarks.line.page_cost --minutes 10 -o benchmarks/results/line_page_cost.json

The line of `benchmarks.line.latency` with a page. Windows with and without ten readers alternate, so that
other load of the machine affects both alike. `--dry-run` takes seconds and keeps nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ast_edge.line.service.config import read_config
from ast_edge.line.service.running import punctual
from ast_edge.line.service.service import Service
from benchmarks.common import machine
from benchmarks.common.command import environment, module
from benchmarks.common.counterparts import free_port
from benchmarks.line.camera import FakeCamera
from benchmarks.line.latency import CAMERA, LINE, PULSE_MS, Part, Recorder, paired, quantiles, scheduling
from benchmarks.line.model import train
from benchmarks.line.plc import BLOCK, REJECT_COIL, Plc

PAGES = 10
_SETTLE_S = 2.0  # at the start of a window: pages are being opened or closed


@dataclass(frozen=True)
class Window:
    """A period and the number of open pages; nanoseconds of CLOCK_MONOTONIC."""

    pages: int
    start_ns: int
    end_ns: int

    def holds(self, part: Part) -> bool:
        """Whether the part came in this window after it had settled."""
        return self.start_ns + _SETTLE_S * 1e9 <= part.at_ns < self.end_ns


def main() -> int:
    """Measure, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--window", type=float, default=20.0, help="seconds")
    parser.add_argument("--per-s", type=float, default=5.0)
    parser.add_argument("--model", type=Path, help="a model for the camera's pictures instead of a new one")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    dry = arguments.dry_run
    window_s, turns = (
        (5.0, 1) if dry else (arguments.window, round(arguments.minutes * 30 / arguments.window))
    )
    with tempfile.TemporaryDirectory() as name, FakeCamera(), Plc(Path(name)) as plc:
        folder = Path(name)
        model = arguments.model or train(
            folder, CAMERA, pictures=24 if dry else 80, epochs=1 if dry else 4, weights="seeded"
        )
        parts, windows = run(folder, model.resolve(), plc, per_s=arguments.per_s, turns=(turns, window_s))
        found = judge(parts, windows, plc)
    result = {
        "command": f"python -m benchmarks.line.page_cost --minutes {arguments.minutes:g}",
        "machine": machine.facts(),
        "windows": {"seconds": window_s, "of_each": turns},
        "parts_per_s": arguments.per_s,
        "camera": CAMERA,
        "scheduling": scheduling(),
        **found,
    }
    print(json.dumps(found, indent=1))
    if arguments.output is not None and not dry:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def run(
    folder: Path, model: Path, plc: Plc, *, per_s: float, turns: tuple[int, float]
) -> tuple[list[Part], list[Window]]:
    """Run the line over this many windows of each kind; return its parts."""
    port = free_port()
    text = LINE.format(
        camera=CAMERA,
        model=model,
        per_s=per_s,
        port=plc.port,
        registers=BLOCK,
        coil=REJECT_COIL,
        pulse_ms=PULSE_MS,
    )
    file = folder / "line.toml"
    file.write_text(f"{text}[web]\nport = {port}\n", encoding="utf-8")
    service, recorder, windows = Service(read_config(file)), Recorder(), []
    service.outputs.append(recorder)
    with punctual():
        service.start()
        for _ in range(turns[0]):
            windows.append(window(port, 0, turns[1]))
            windows.append(window(port, PAGES, turns[1]))
        service.stop()
    return recorder.parts, windows


def window(port: int, pages: int, seconds: float) -> Window:
    """Wait for this long with this many pages open."""
    start_ns = time.monotonic_ns()
    with opened(port, pages) if pages else contextlib.nullcontext():
        time.sleep(seconds)
        return Window(pages, start_ns, time.monotonic_ns())


@contextlib.contextmanager
def opened(port: int, pages: int) -> Iterator[None]:
    """Run a process that reads like this many pages."""
    with subprocess.Popen([*module("line.pages"), str(port), str(pages)], env=environment()) as process:
        try:
            yield
            if process.poll() is not None:
                raise RuntimeError(f"the pages ended with {process.returncode}")
        finally:
            process.kill()


def judge(parts: list[Part], windows: list[Window], plc: Plc) -> dict[str, object]:
    """Return the figures of both kinds of windows."""
    pairs = paired(parts, plc)
    found: dict[str, object] = {"parts": len(parts)}
    for pages in (0, PAGES):
        own = [each for each in windows if each.pages == pages]
        coils = [(part, on) for part, on in pairs if any(each.holds(part) for each in own)]
        seen = [part for part in parts if any(each.holds(part) for each in own)]
        found[f"pages_{pages}"] = {
            "parts": len(seen),
            "faults": sum(part.verdict == "fault" for part in seen),
            "trigger_to_coil_ms": quantiles([(on - part.at_ns) / 1e6 for part, on in coils]),
            "trigger_to_coil_less_engine_ms": quantiles(
                [(on - part.at_ns) / 1e6 - part.engine_ms for part, on in coils]
            ),
        }
    return found


if __name__ == "__main__":
    sys.exit(main())
