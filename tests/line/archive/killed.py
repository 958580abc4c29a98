"""Archives parts until it is killed, and prints each number once `put` has returned; run by a test."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

import numpy as np

from ast_edge.cameras.base import Frame
from ast_edge.line.archive.options import ArchiveOptions
from ast_edge.line.archive.output import Archive
from ast_edge.verdict.scoring import Verdict
from tests.line.parts import StillStation, part_result

VERDICTS: tuple[Verdict, ...] = ("pass", "reject", "fault")


def main(folder: str, run: str, sync: str) -> None:
    options = ArchiveOptions(
        folder=Path(folder),
        sync=cast("Literal['full', 'normal']", sync),
        every_nth_pass=3,
        keep_parts=60,
        min_free_gb=0,
    )
    archive, station = Archive(options), StillStation()
    station.now = replace(station.now, run=run)
    archive.start(station)
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    for number in range(1, 1_000_000):
        side = (32, 400)[number % 2]
        frame = Frame(noise[:side, :side], "rgb", number, None, 0, "bench")
        archive.put(replace(part_result(number, VERDICTS[number % 3], run=run), frame=frame))
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        time.sleep(0.004)


if __name__ == "__main__":
    main(*sys.argv[1:])
