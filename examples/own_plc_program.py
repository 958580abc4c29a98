"""An inspector inside your own control program: wait for the PLC's part sensor, judge, answer.

python -m examples.own_plc_program MODEL URI HOST PORT PARTS    (URI of a camera with trigger=software)

The PLC sets discrete input 0 while a part is under the camera. The program writes one holding register,
1 for pass and 2 for everything else, and counts in the register after it, so that the PLC sees when a verdict
is complete. What this leaves out, and `ast-edge run` has: deadlines, a gate by encoder, queues, an archive,
reconnection, and a heartbeat.
"""

from __future__ import annotations

import sys
import time

from pymodbus.client import ModbusTcpClient

from ast_edge import Inspector
from ast_edge.cameras.base import Camera, Frame
from ast_edge.cameras.opening import open_camera
from ast_edge.errors import AstEdgeError

SENSOR, VERDICT = 0, 100
PASS, REJECT = 1, 2
POLL_S = 0.005


def main(model: str, uri: str, host: str, port: int, parts: int) -> int:
    with (
        Inspector.open(model) as inspector,
        open_camera(uri) as camera,
        ModbusTcpClient(host, port=port) as plc,
    ):
        for count in range(1, parts + 1):
            wait_for_sensor(plc, on=True)
            verdict = judge(inspector, camera)
            # One request, so that the PLC never sees a count without its verdict.
            plc.write_registers(VERDICT, [verdict, count % 65536])
            print(f"part {count}: {'pass' if verdict == PASS else 'reject'}")
            wait_for_sensor(plc, on=False)
    return 0


def judge(inspector: Inspector, camera: Camera) -> int:
    """PASS only for a part that was judged and found good."""
    try:
        camera.trigger()
        frame = camera.read(1.0)
        if isinstance(frame, Frame):
            verdict = inspector.inspect(frame.pixels, colour=frame.colour).verdict
            return PASS if verdict == "pass" else REJECT
    except AstEdgeError as exc:
        print(f"fault: {exc}")
    return REJECT


def wait_for_sensor(plc: ModbusTcpClient, *, on: bool) -> None:
    while plc.read_discrete_inputs(SENSOR, count=1).bits[0] != on:
        time.sleep(POLL_S)


if __name__ == "__main__":
    model, uri, host, port, parts = sys.argv[1:6]
    sys.exit(main(model, uri, host, int(port), int(parts)))
