"""Judge the pictures of a station's archive again and list the verdicts that would change.

python -m examples.batch_over_archive MODEL ARCHIVE

Use it before a new model or threshold goes to the line. The archive is opened for reading; a station may go
on writing it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ast_edge import Inspector
from ast_edge.errors import AstEdgeError
from ast_edge.frames.reading import read_image
from ast_edge.line.archive.reading import ArchiveReader, Query


def main(model: Path, folder: Path) -> int:
    judged = changed = 0
    with Inspector.open(model) as inspector, ArchiveReader(folder) as archive:
        for part in archive.oldest_first(Query(with_picture=True)):
            if part.files.picture is None:
                continue
            try:
                picture = read_image(folder / part.files.picture)
                verdict = inspector.inspect(picture, colour="rgb").verdict
            except AstEdgeError as exc:
                print(f"{part.files.picture}: {exc}")
                verdict = "fault"
            judged += 1
            if verdict != part.verdict:
                changed += 1
                print(f"{part.files.picture}: was {part.verdict}, would be {verdict}")
    print(f"{judged} parts, {changed} verdicts would change")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:3])))
