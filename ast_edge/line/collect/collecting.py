"""Collecting from start to end: resuming, progress, signals, and what is said at the end."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from ast_edge.errors import LineError
from ast_edge.line.collect.collector import Collector
from ast_edge.line.collect.enough import Needed
from ast_edge.line.collect.layout import folder_of, parts_text
from ast_edge.line.collect.line import CollectingLine
from ast_edge.line.collect.parts import Parts
from ast_edge.line.service.config import CollectConfig
from ast_edge.line.service.running import punctual, stopping_signals
from ast_edge.progress import Stage, say, stage

_LOOK_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What to collect: into `folder` until it has `parts` of this kind, None: until a signal. `label` is the
    kind of defect, None for good parts to train on.
    """

    folder: Path
    parts: int | None
    label: str | None
    false_reject_rate: float
    min_free_gb: float


@dataclass(frozen=True)
class Collected:
    """The end of a collection: parts of this kind in the folder and how many of them are new, a title and a
    sentence for everything else that there is to say, and the error that ended it early.
    """

    parts: int
    new: int
    lines: tuple[tuple[str, str], ...]
    error: LineError | None = None


def collect(config: CollectConfig, wish: Wish) -> Collected:
    """Collect until there are enough parts, the camera has no more frames, or a signal comes.

    A disk that is full or refuses a part ends it with an error; what was collected until then stays. Raises
    LineError for a folder that cannot be used, UsageError for an impossible label, rate or limit.
    """
    needed = Needed.for_rate(wish.false_reject_rate)
    parts = Parts(wish.folder, wish.label, min_free_gb=wish.min_free_gb)
    try:
        before = parts.count
        for path in parts.unlisted:
            say(f"{path}: has no line, since the last run was killed meanwhile; it is kept, and not counted")
        if wish.parts is not None and before >= wish.parts:
            return _collected(parts, before, needed, None)
        collector = _run(config, wish, parts, needed)
        return _collected(parts, before, needed, collector)
    finally:
        parts.close()


def _run(config: CollectConfig, wish: Wish, parts: Parts, needed: Needed) -> Collector:
    stop = threading.Event()
    wanted = None if wish.parts is None else wish.parts - parts.count
    with stopping_signals(stop), punctual(), stage("collected", wish.parts) as shown:
        shown.resume_at(parts.count)
        if wish.label is None:
            shown.say(needed.sentence(parts.count))
        line = CollectingLine(config, parts, wanted)
        progress = _Progress(line, parts, shown, needed)
        try:
            line.start()
            while not (stop.wait(_LOOK_S) or line.collector.done or line.station.ended):
                progress.show()
        finally:
            line.stop()
            progress.show()
    return line.collector


class _Progress:
    """Shows what is new: parts, sentences, and that there are enough parts."""

    def __init__(self, line: CollectingLine, parts: Parts, shown: Stage, needed: Needed) -> None:
        self._line, self._parts, self._shown, self._needed = line, parts, shown, needed
        self._count = parts.count

    def show(self) -> None:
        for sentence in self._line.news():
            self._shown.say(sentence)
        now = self._parts.count
        missed = self._line.collector.missed.total()
        if now > self._count:
            self._shown.advance(now - self._count, f"{missed} without a picture" if missed else "")
        if self._parts.label is None and any(self._count < step <= now for step in self._needed.steps):
            self._shown.say(self._needed.sentence(now))
        self._count = now


def _collected(parts: Parts, before: int, needed: Needed, collector: Collector | None) -> Collected:
    lines = []
    if collector is not None:
        lines += [("missed", f"{parts_text(count)}: {why}") for why, count in collector.missed.most_common()]
        lines += [(str(kind), text) for kind, text in collector.doubts.summary()]
    if parts.label is None:
        lines.append(("enough", needed.sentence(parts.count)))
    lines.append(("next", _next(parts)))
    error = None if collector is None else collector.error
    return Collected(parts.count, parts.count - before, tuple(lines), error)


def _next(parts: Parts) -> str:
    if parts.label is not None:
        return f"look through {parts.folder / folder_of(parts.label)}; ast-edge evaluate MODEL {parts.folder}"
    mode = " --mode rgbd" if parts.with_depth else ""
    return f"look through {parts.folder / folder_of(None)}; ast-edge train {parts.folder} -o run{mode}"
