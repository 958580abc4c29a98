"""The parts to compare on: labelled or plain folders of pictures, and what a station archived."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ast_edge.compare.result import LeftOut, LineVerdict
from ast_edge.data import GOOD, Sample, open_dataset, open_kinds, refuse_seen, seen_parts
from ast_edge.errors import DataError, UsageError
from ast_edge.files import printable
from ast_edge.frames.reading import list_images, unread_pictures, xyz_beside
from ast_edge.line.archive.pictures import place_of
from ast_edge.line.archive.reading import ArchivedPart, ArchiveReader, Query
from ast_edge.line.archive.schema import INDEX
from ast_edge.model.manifest import Mode, ModelSpec
from ast_edge.progress import say

_WHY_LEFT_OUT = {
    "none": "no picture was to be kept",
    "waiting": "the picture waits to be written",
    "crowded": "too many pictures waited",
    "unwritable": "the picture could not be written",
    "stopped": "the archive's limits were reached",
    "interrupted": "the station ended before the picture was written",
    "expired": "the archive's limits removed the picture",
    "missing": "the picture is gone or was changed",
}
REMOVED = "the picture was removed during the comparison"


@dataclass(frozen=True)
class ComparedPart:
    """A part: its name for people, its kind if somebody said it, its files, and the line's verdict.

    `xyz` is the depth map of an archived part; that of a picture in a folder is looked for beside it.
    """

    name: str
    kind: str | None
    image: Path | None
    xyz: Path | None = None
    line: LineVerdict | None = None

    def sample(self, mode: Mode) -> Sample:
        """Return the files that `mode` reads. DataError if the depth map of a picture is missing."""
        xyz = self.xyz
        if mode == "rgb":
            xyz = None
        elif self.line is None and self.image is not None:
            xyz = xyz_beside(self.image)
        return Sample(self.image, xyz, None, self.kind or GOOD)

    @property
    def gone(self) -> bool:
        """Whether an archive's limits removed the files after the part was listed."""
        files = [path for path in (self.image, self.xyz) if path is not None]
        return self.line is not None and not all(path.is_file() for path in files)


@dataclass(frozen=True)
class Found:
    """The parts with pictures, and how many parts of archives have none, by reason."""

    parts: tuple[ComparedPart, ...]
    left_out: tuple[LeftOut, ...]


def find_parts(places: Sequence[Path], query: Query) -> Found:
    """List the parts of folders, pictures and archives; `query` selects those of archives.

    Raises DataError where there is nothing to judge, UsageError for a part that is given twice.
    """
    if query != Query() and not any((place / INDEX).is_file() for place in places):
        raise UsageError(
            f"{', '.join(map(printable, places))}: is no archive; --since, --until, --recipe and --run "
            "select parts of one: leave them out."
        )
    parts: list[ComparedPart] = []
    left_out: list[LeftOut] = []
    for place in places:
        # With several places a part is named with its own.
        prefix = f"{printable(place)}: " if len(places) > 1 else ""
        if (place / INDEX).is_file():
            found = _archived(place, query, prefix)
            parts += found.parts
            left_out += found.left_out
        else:
            parts += _in_folder(place, prefix)
    if not parts:
        raise DataError(_why_nothing(places, left_out))
    _refuse_twice(parts)
    return Found(tuple(parts), tuple(left_out))


def _archived(folder: Path, query: Query, prefix: str) -> Found:
    parts, reasons = [], Counter[str]()
    with ArchiveReader(folder) as reader:
        for row in reader.oldest_first(query):
            image, xyz = place_of(folder, row.files.picture), place_of(folder, row.files.depth)
            if row.picture_state == "kept" and (image or xyz):
                parts.append(ComparedPart(prefix + row.part_id, None, image, xyz, _line_verdict(row)))
            else:
                state = "missing" if row.picture_state == "kept" else row.picture_state
                reasons[_WHY_LEFT_OUT[state]] += 1
    place = printable(folder)
    left_out = [LeftOut(place=place, reason=why, count=count) for why, count in reasons.most_common()]
    return Found(tuple(parts), tuple(left_out))


def _line_verdict(row: ArchivedPart) -> LineVerdict:
    return LineVerdict(verdict=row.verdict, score=row.score, threshold=row.threshold, recipe=row.recipe)


def _in_folder(place: Path, prefix: str) -> Iterator[ComparedPart]:
    if place.is_file():
        yield ComparedPart(printable(place), None, place)
        return
    if not place.is_dir():
        raise DataError(
            f"{place}: expected an archive, a folder or a picture, found nothing; check the path."
        )
    labelled = True
    if (place / "train" / GOOD).is_dir():
        samples = open_dataset(place, mode="rgb").test
        if not samples:
            raise DataError(
                f"{place}: has no test pictures; add test/good and a folder for each kind of defect."
            )
    elif (place / GOOD).is_dir():
        samples = open_kinds(place)
    else:
        samples, labelled = tuple(Sample(path, None, None) for path in _plain(place)), False
    for sample in samples:
        name = printable(Path(os.path.relpath(sample.name, place)))
        yield ComparedPart(prefix + name, sample.defect if labelled else None, sample.image)


def _plain(folder: Path) -> list[Path]:
    images = list_images(folder)
    if said := unread_pictures(folder):
        say(said)
    if not images:
        raise DataError(
            f"{folder}: expected an archive, pictures directly in the folder, or a folder good and one for "
            "each kind of defect, found none of these; give another folder."
        )
    return images


def _why_nothing(places: Sequence[Path], left_out: Sequence[LeftOut]) -> str:
    where = ", ".join(map(printable, places))
    if not left_out:
        return f"{where}: there is no part to compare on; give other parts, or select more of the archive."
    count = sum(one.count for one in left_out)
    reasons = "; ".join(f"{one.reason}: {one.count}" for one in left_out)
    return (
        f"{where}: none of the {count} parts has a picture ({reasons}); let the archive keep more pictures."
    )


def _refuse_twice(parts: Iterable[ComparedPart]) -> None:
    seen: set[Path] = set()
    for part in parts:
        path = part.image or part.xyz
        if path is not None and (resolved := path.resolve()) in seen:
            raise UsageError(f"{printable(path)}: is given twice and would count twice; give each part once.")
        if path is not None:
            seen.add(resolved)


def check_unseen(parts: Sequence[ComparedPart], specs: Sequence[tuple[str, ModelSpec]]) -> list[str]:
    """Say of each model how many unlabelled parts it was trained on: their scores are too low.

    Raises UsageError where a labelled part was trained on: rates and test would be wrong.
    """
    notes = []
    for name, spec in specs:
        labelled, others = (list(_samples(parts, spec.mode, labelled=chosen)) for chosen in (True, False))
        refuse_seen(labelled, spec, name)
        if seen := seen_parts(others, spec):
            notes.append(f"{name} was trained on {len(seen)} of these parts: its scores of them are too low")
    return notes


def _samples(parts: Iterable[ComparedPart], mode: Mode, *, labelled: bool) -> Iterator[Sample]:
    for part in parts:
        if (part.kind is not None) == labelled:
            try:
                yield part.sample(mode)
            except DataError:  # becomes a fault when it is judged
                continue
