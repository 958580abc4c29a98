"""Aravis' fake GigE Vision camera as a process of its own, until standard input ends.

    python -m benchmarks.line.camera_server --address 127.0.0.1 --serial LINE --looks-per-s 909

The camera polls for a software trigger this many times per second, by default 25, which the program shipped
with Aravis cannot change: a frame would arrive up to 40 ms after its trigger because of the camera and not of
the line. It sleeps whole milliseconds and spins for the rest of the interval: every 1.1 ms it hardly spins,
every 1 or 2 ms it takes two or three times as much of a processor.

With `--scene FILE` it shows what is in front of it (`benchmarks.line.scene`): the number in place at the time
of exposure is in the pixels of the frame, which leaves `late_ms` after that. A line `late 330` on standard
input changes it.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ast_edge.cameras.gi_bindings import load
from benchmarks.line.scene import SIDE, Scene, view

_LIBRARY = "libaravis-0.8.so.0"
_PATTERN = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32
)


class View:
    """The camera's view: draws frames into the buffers of Aravis' fake camera."""

    def __init__(self, scene: Scene) -> None:
        self.late_s = 0.0
        self._scene = scene
        self._frames = 0
        # A buffer is writable only through its C interface.
        self._library = ctypes.CDLL(_LIBRARY)
        self._library.arv_buffer_get_data.restype = ctypes.c_void_p
        self._library.arv_buffer_get_data.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t)]
        self._library.arv_fake_camera_set_fill_pattern.argtypes = [ctypes.c_void_p, _PATTERN, ctypes.c_void_p]
        self._pattern = _PATTERN(self._fill)

    def before(self, camera: Any) -> None:
        """Show the scene on this camera from now on; PyGObject's hash of an object is its address."""
        self._library.arv_fake_camera_set_fill_pattern(hash(camera), self._pattern, None)

    def _fill(self, buffer: int, _data: int, _exposure: int, _gain: int, _format: int) -> None:
        number = self._scene.look()
        # The reported size is that of the received data: none yet. There is room for a picture.
        address = self._library.arv_buffer_get_data(buffer, ctypes.byref(ctypes.c_size_t()))
        pixels = (ctypes.c_uint8 * (SIDE * SIDE)).from_address(address)
        self._frames += 1
        np.ctypeslib.as_array(pixels).reshape(SIDE, SIDE)[:] = view(self._frames, number)
        time.sleep(self.late_s)


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--serial", default="LINE")
    parser.add_argument("--looks-per-s", type=float, default=909.0)
    parser.add_argument("--lost-share", type=float, default=0.0, help="fraction of packets never sent")
    parser.add_argument("--scene", type=Path)
    parser.add_argument("--stay-ms", type=float, help="how long a part stays in front of the camera")
    arguments = parser.parse_args()
    aravis = load("Aravis", "0.8")
    camera = aravis.GvFakeCamera.new(arguments.address, arguments.serial)
    camera.set_property("gvsp-lost-ratio", arguments.lost_share)
    fake = camera.get_fake_camera()
    fake.set_trigger_frequency(arguments.looks_per_s)
    shown = None if arguments.scene is None else View(Scene(arguments.scene, arguments.stay_ms))
    if shown is not None:
        shown.before(fake)
    print("serving" if camera.is_running() else "no", flush=True)
    for line in sys.stdin:
        what, _, value = line.partition(" ")
        if what == "late" and shown is not None:
            shown.late_s = float(value) / 1e3


if __name__ == "__main__":
    main()
