"""Judging parts with two models. No pixels are kept; pictures that will be shown are read again."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ast_edge.compare.parts import ComparedPart
from ast_edge.compare.result import Opinion, PartRow, weight
from ast_edge.data import LoadedSample
from ast_edge.errors import DataError
from ast_edge.inspector import Inspection, Inspector
from ast_edge.model.manifest import Mode
from ast_edge.progress import stage
from ast_edge.samples import inspect_loaded, load_or_why

if TYPE_CHECKING:
    from ast_edge.pages.layers import Pictures

_SIDE = 320  # the longest side of a picture on the page, in pixels
Loaded = LoadedSample | str


class Shown(NamedTuple):
    """A part whose pictures will be shown: its files, and how both models judged it."""

    part: ComparedPart
    inspections: tuple[Inspection, Inspection]


@dataclass
class Album:
    """The changed verdicts whose scores moved furthest: at most `most`, by number of the part."""

    most: int
    _kept: list[tuple[tuple[bool, float], int, Shown]] = field(default_factory=list)

    def offer(self, row: PartRow, number: int, shown: Shown) -> None:
        """Keep a changed verdict, in place of the least change if there are too many."""
        if not row.changed:
            return
        # Of equal changes the first parts stay, as in the list.
        heapq.heappush(self._kept, (weight(row), -number, shown))
        if len(self._kept) > self.most:
            heapq.heappop(self._kept)

    @property
    def chosen(self) -> dict[int, Shown]:
        """What was kept, by number of the part."""
        return {-number: shown for _, number, shown in self._kept}


@dataclass
class Judged:
    """The rows of all parts that were judged, in order; `removed` of an archive were gone meanwhile.

    `sample` is a part that both models judged, as each of them reads it: for measuring the latency.
    """

    album: Album
    rows: list[PartRow] = field(default_factory=list)
    removed: int = 0
    sample: tuple[str, tuple[LoadedSample, LoadedSample]] | None = None

    def add(self, part: ComparedPart, loaded: tuple[Loaded, Loaded], found: Sequence[Inspection]) -> PartRow:
        """Add a part as both models judged it."""
        old, new = map(Opinion.of, found)
        row = PartRow(name=part.name, kind=part.kind, old=old, new=new, line=part.line)
        first, second = loaded
        judged = "fault" not in (old.verdict, new.verdict)
        if judged and self.sample is None and not isinstance(first, str) and not isinstance(second, str):
            self.sample = part.name, (first, second)
        self.rows.append(row)
        return row


def judge_parts(
    parts: Iterable[ComparedPart], inspectors: tuple[Inspector, Inspector], album: Album
) -> Judged:
    """Judge every part with both models. A part that a model cannot judge is a fault of that model.

    Raises BackendError when an engine fails: it would fail on every part.
    """
    listed = list(parts)
    judged = Judged(album)
    with stage("comparing", len(listed)) as shown:
        for part in listed:
            _judge(part, inspectors, judged)
            shown.advance()
    return judged


def _judge(part: ComparedPart, inspectors: tuple[Inspector, Inspector], judged: Judged) -> None:
    loaded = _loaded(part, inspectors[0].spec.mode, inspectors[1].spec.mode)
    if any(isinstance(one, str) for one in loaded) and part.gone:
        judged.removed += 1
        return
    old, new = (inspect_loaded(one, read) for one, read in zip(inspectors, loaded, strict=True))
    row = judged.add(part, loaded, (old, new))
    judged.album.offer(row, len(judged.rows) - 1, Shown(part, (old, new)))


def _loaded(part: ComparedPart, old: Mode, new: Mode) -> tuple[Loaded, Loaded]:
    first = _read(part, old)
    return first, first if new == old else _read(part, new)


def _read(part: ComparedPart, mode: Mode) -> Loaded:
    try:
        sample = part.sample(mode)
    except DataError as exc:
        return str(exc)
    return load_or_why(sample, mode)


def pictures_of(album: Album, inspectors: tuple[Inspector, Inspector]) -> dict[int, Pictures]:
    """Draw what the album chose, by number of the part; files are read again, and may be gone by now."""
    chosen = album.chosen
    if not chosen:
        return {}
    found = {}
    with stage("overlays", len(chosen)) as counted:
        for number, shown in sorted(chosen.items()):
            found[number] = _pictures(shown, inspectors)
            counted.advance()
    return found


def _pictures(shown: Shown, inspectors: tuple[Inspector, Inspector]) -> Pictures:
    # Loads OpenCV, which judging pictures of mode rgb does without.
    from ast_edge.overlay import depth_picture  # noqa: PLC0415
    from ast_edge.pages.layers import Judgement, Pictures, layered  # noqa: PLC0415

    specs = [inspector.spec for inspector in inspectors]
    loaded = _loaded(shown.part, specs[0].mode, specs[1].mode)
    read = [one for one in loaded if not isinstance(one, str)]
    judged = [one.verdict != "fault" for one in shown.inspections]
    if any(isinstance(one, str) and known for one, known in zip(loaded, judged, strict=True)):
        return Pictures()  # an archive removed it after it was judged
    picture = next((one.image for one in read if one.image is not None), None)
    if picture is None:
        depth_m = next((one.depth_m for one in read if one.depth_m is not None), None)
        if depth_m is None:
            return Pictures()
        picture = depth_picture(depth_m)
    judgements = [
        # A part that this model could not read is a fault and has no map.
        Judgement(inspection, spec, (0, 0) if isinstance(one, str) else one.shape)
        for inspection, spec, one in zip(shown.inspections, specs, loaded, strict=True)
    ]
    return layered(picture, judgements, _SIDE)
