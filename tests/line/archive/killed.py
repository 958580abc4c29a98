"""Archives parts until it is killed, and says each number as soon as `put` took it; run by a test."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from ast_edge.scoring import Verdict
from tests.line.archive.bench import archiving, part

VERDICTS: tuple[Verdict, ...] = ("pass", "reject", "fault")


def main(folder: str, run: str, sync: str) -> None:
    with archiving(Path(folder), run, sync=sync, every_nth_pass=3, keep_parts=60) as opened:
        for number in range(1, 1_000_000):
            opened.archive.put(part(number, VERDICTS[number % 3], run=run, side=(32, 200)[number % 2]))
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            time.sleep(0.004)


if __name__ == "__main__":
    main(*sys.argv[1:])
