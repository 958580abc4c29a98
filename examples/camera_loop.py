"""Inspect what a camera sees, until it ends.

python -m examples.camera_loop MODEL URI

URI is a camera as in line.toml: dir://pictures, file://video.mp4, v4l2:///dev/video0, gige://ADDRESS ...
"""

from __future__ import annotations

import sys
from collections import Counter

from ast_edge import Inspector
from ast_edge.cameras.base import NoFrame
from ast_edge.cameras.opening import open_camera
from ast_edge.errors import FrameError, LostFrameError

TIMEOUT_S = 2.0


def main(model: str, uri: str) -> int:
    counts: Counter[str] = Counter()
    with Inspector.open(model) as inspector, open_camera(uri) as camera:
        while True:
            try:
                frame = camera.read(TIMEOUT_S)
            except LostFrameError as exc:
                # This frame is gone, and so is the part it showed; the camera goes on.
                print(f"fault   {exc}")
                counts["fault"] += 1
                continue
            if frame is NoFrame.END:
                break
            if frame is NoFrame.TIMEOUT:
                print(f"no frame within {TIMEOUT_S:g} s; the camera is {camera.state}")
                continue
            try:
                inspection = inspector.inspect(frame.pixels, colour=frame.colour)
            except FrameError as exc:
                print(f"fault   {exc}")
                counts["fault"] += 1
                continue
            counts[inspection.verdict] += 1
            print(f"{inspection.verdict:7} frame {frame.number}: score {inspection.score:.3g}")
    print(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
