"""An RTSP camera as a separate process that shows a scene, until standard input ends.

    python -m benchmarks.line.stream_server --port 8554 --scene scene --late-ms 150

It draws the scene in front of it (`benchmarks.line.scene`) 25 times per second, like the GigE camera, and
sends each picture `late_ms` later, as the encoder of an IP camera does: nothing in the stream shows when the
picture was taken.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from ast_edge.cameras.gi_bindings import load
from benchmarks.line.scene import SIDE, Scene, view

_PER_S = 25
_PIPELINE = (
    "( appsrc name=eye is-live=true do-timestamp=true format=time "
    f"caps=video/x-raw,format=GRAY8,width={SIDE},height={SIDE},framerate={_PER_S}/1 ! videoconvert ! "
    "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=5 bitrate=6000 ! "
    "rtph264pay name=pay0 pt=96 )"
)


class Eye:
    """Sends views of the scene, on a thread for every requested stream."""

    def __init__(self, gst: Any, scene: Scene, late_s: float) -> None:
        self._gst, self._scene, self._late_s = gst, scene, late_s

    def open(self, _factory: object, media: Any) -> None:
        """Start the stream of a client."""
        source = media.get_element().get_by_name("eye")
        threading.Thread(target=self._look, args=(source,), daemon=True).start()

    def _look(self, source: Any) -> None:
        waiting: deque[tuple[float, bytes]] = deque()
        due, frames = time.monotonic(), 0
        while True:
            picture = view(frames, self._scene.look())
            waiting.append((time.monotonic() + self._late_s, picture.tobytes()))
            frames += 1
            due = max(due + 1 / _PER_S, time.monotonic())
            while waiting and waiting[0][0] <= due:
                time.sleep(max(waiting[0][0] - time.monotonic(), 0))
                if source.emit("push-buffer", self._gst.Buffer.new_wrapped(waiting.popleft()[1])):
                    return  # the stream is closed
            time.sleep(max(due - time.monotonic(), 0))


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", required=True)
    parser.add_argument("--scene", type=Path, required=True)
    parser.add_argument("--stay-ms", type=float, help="how long a part stays in front of the camera")
    parser.add_argument("--late-ms", type=float, default=0.0)
    arguments = parser.parse_args()
    gst, glib, rtsp = load("Gst", "1.0"), load("GLib", "2.0"), load("GstRtspServer", "1.0")
    eye = Eye(gst, Scene(arguments.scene, arguments.stay_ms), arguments.late_ms / 1e3)
    server, factory = rtsp.RTSPServer.new(), rtsp.RTSPMediaFactory.new()
    server.set_address("127.0.0.1")
    server.set_service(arguments.port)
    factory.set_launch(_PIPELINE)
    factory.set_shared(True)
    factory.connect("media-configure", eye.open)
    server.get_mount_points().add_factory("/cam", factory)
    server.attach(None)
    loop = glib.MainLoop()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.quit()), daemon=True).start()
    print("serving", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
