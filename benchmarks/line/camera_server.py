"""Aravis' fake GigE Vision camera as a process of its own, until standard input ends.

    python -m benchmarks.line.camera_server --address 127.0.0.1 --serial LINE --looks-per-s 909

The camera looks for a software trigger so many times a second, by default 25, which the program that Aravis
ships cannot change: a frame would come up to 40 ms after its trigger, by the camera's doing and not the
line's. It sleeps whole milliseconds and spins for what is left until its next look: every 1.1 ms it hardly
spins, every 1 or 2 ms it takes two or three times as much of a processor.
"""

from __future__ import annotations

import argparse
import sys

from ast_edge.cameras.gi_bindings import load


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--serial", default="LINE")
    parser.add_argument("--looks-per-s", type=float, default=909.0)
    parser.add_argument("--lost-share", type=float, default=0.0, help="of its packets, never sent")
    arguments = parser.parse_args()
    aravis = load("Aravis", "0.8")
    camera = aravis.GvFakeCamera.new(arguments.address, arguments.serial)
    camera.set_property("gvsp-lost-ratio", arguments.lost_share)
    camera.get_fake_camera().set_trigger_frequency(arguments.looks_per_s)
    print("serving" if camera.is_running() else "no", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
