"""A station on a PLC in a process that a test kills: `python -m tests.line.plc_station KIND PORT RUN`."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from ast_edge.line.station.recipes import Recipes
from ast_edge.line.station.setup import Setup
from ast_edge.line.station.station import Station
from ast_edge.line.station.timing import Timing
from tests.line.plcs import KINDS
from tests.line.rig import BenchCamera, recipe


def main(kind: str, port: int, run: str) -> None:
    """Judge until the process is killed or its input ends."""
    plc = KINDS[kind].plc(Path(), port)
    trigger = plc.trigger_source(**plc.kind.counter, **plc.kind.judged, poll_ms=2)
    output = plc.output(**plc.kind.block, **plc.kind.bit, gate={"pulse_ms": 5})
    camera = BenchCamera()
    # Every seventh part is bad.
    camera.on_trigger = lambda: camera.show(bad=camera.number % 7 == 6)
    recipes = Recipes({}, recipe(), lambda *_: None)
    station = Station(
        Setup(
            name="bench",
            run=run,
            camera=camera,
            recipes=recipes,
            outputs=[output],
            triggering="external",
            software_trigger=True,
            timing=Timing(2000.0),
        )
    )
    station.start()
    trigger.start(station)
    threading.Event().wait() if sys.stdin.read() else None
    trigger.close()
    station.stop()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
