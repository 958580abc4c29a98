"""A station on a PLC in a process that a test kills: `python -m tests.line.modbus_station PORT RUN`."""

from __future__ import annotations

import sys
import threading

from ast_edge.line.outputs.modbus import ModbusOutput, ModbusOutputOptions
from ast_edge.line.station.recipes import Recipes
from ast_edge.line.station.setup import Setup
from ast_edge.line.station.station import Station
from ast_edge.line.station.timing import Timing
from ast_edge.line.triggers.modbus import ModbusTrigger, ModbusTriggerOptions
from benchmarks.line.plc import BLOCK, COUNTER
from tests.line.rig import BenchCamera, recipe


def main(port: int, run: str) -> None:
    """Judge until the process is killed or its input ends."""
    where = {"kind": "modbus", "host": "127.0.0.1", "port": port}
    trigger = ModbusTrigger(
        ModbusTriggerOptions.model_validate(
            {**where, "counter_register": COUNTER, "judged_register": BLOCK + 12, "poll_ms": 2}
        )
    )
    output = ModbusOutput(
        ModbusOutputOptions.model_validate({**where, "registers": BLOCK, "coil": 0, "gate": {"pulse_ms": 5}})
    )
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
    main(int(sys.argv[1]), sys.argv[2])
