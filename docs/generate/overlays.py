"""The animated picture of README and docs: overlays of the demo, one after the other.

python -m docs.generate.overlays demo/overlays -o docs/images/overlays.webp
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image

SHOWN_MS = 1500


def main() -> int:
    """Write the animation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overlays", type=Path)
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--side", type=int, default=384, help="pixels of the longer side")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    found = sorted(arguments.overlays.rglob("*.png"), key=lambda path: path.name)
    frames = []
    for path in found[:: max(len(found) // arguments.pictures, 1)][: arguments.pictures]:
        frame = Image.open(path).convert("RGB")
        frame.thumbnail((arguments.side, arguments.side))
        frames.append(frame)
    if not frames:
        sys.stderr.write(f"{arguments.overlays}: holds no overlays; run make demo first\n")
        return 1
    frames[0].save(
        arguments.output, save_all=True, append_images=frames[1:], duration=SHOWN_MS, loop=0, quality=80
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
