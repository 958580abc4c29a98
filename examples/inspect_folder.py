"""Inspect a folder of pictures and write an overlay of every part that did not pass.

python -m examples.inspect_folder MODEL FOLDER OVERLAYS
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from ast_edge import Inspector
from ast_edge.errors import AstEdgeError
from ast_edge.frames.reading import read_image
from ast_edge.overlay import draw_overlay


def main(model: Path, folder: Path, overlays: Path) -> int:
    overlays.mkdir(parents=True, exist_ok=True)
    faults = 0
    with Inspector.open(model) as inspector:
        for path in sorted(folder.glob("*.png")):
            try:
                picture = read_image(path)
                inspection = inspector.inspect(picture, colour="rgb")
            except AstEdgeError as exc:
                # What cannot be read or judged is a fault, and never a pass.
                print(f"fault   {path.name}: {exc}")
                faults += 1
                continue
            print(f"{inspection.verdict:7} {path.name}: {inspection.reason}")
            faults += inspection.verdict == "fault"
            if inspection.verdict != "pass":
                overlay = draw_overlay(picture, inspection, inspector.spec)
                Image.fromarray(overlay).save(overlays / path.name)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4])))
