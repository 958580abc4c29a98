"""Leftovers of a killed process: found after the next start, in small steps, while the line runs.

A part that is not in the index or waits for its picture is adopted if it has a JSON file that matches its
other files; without a JSON file it is incomplete, and its files are removed. Everything else is left alone:
files whose size differs from their JSON file, and names that the archive does not create.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ast_edge.line.archive.document import read_document
from ast_edge.line.archive.index import Index, Kept
from ast_edge.line.archive.pictures import DAY, PICTURES, PartFile, files_of, part_file, place_of
from ast_edge.line.archive.retention import remove_files
from ast_edge.line.archive.row import Files, Outcome, Row, row_of

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[^.]+\.tmp")
_BATCH = 100


@dataclass
class Found:
    """Parts adopted, files removed, and parts whose picture was never written, is gone, or is damaged."""

    adopted: int = 0
    removed: int = 0
    interrupted: int = 0
    missing: int = 0
    damaged: int = 0

    @property
    def anything(self) -> bool:
        """Whether anything was found."""
        return any(vars(self).values())


class Sweep:
    """Processes the archive's folder and index once; `running` is the current run."""

    def __init__(self, folder: Path, running: str) -> None:
        self._folder = folder
        self._running = running
        self._work: Iterator[None] | None = None
        self._adoptions: list[tuple[Row, Outcome]] = []
        self.found = Found()
        self.done = False

    def step(self, index: Index, budget_s: float) -> None:
        """Continue for about `budget_s`. Raises OSError or sqlite3.Error; the next call starts over."""
        end = time.monotonic() + budget_s
        if self._work is None:
            self._work = self._all(index)
        try:
            for _ in self._work:
                if time.monotonic() >= end:
                    return
            self.done = True
        except BaseException:
            self.restart()
            raise

    def restart(self) -> None:
        """Start over after the index was opened again."""
        self._work = None
        self._adoptions.clear()

    def _all(self, index: Index) -> Iterator[None]:
        for day in self._days():
            with os.scandir(self._folder / PICTURES / day) as entries:
                for entry in entries:
                    self._look(index, day, entry.name)
                    yield
        self._adopt_batch(index)
        self.found.interrupted += index.interrupt_waiting(self._running)
        last = 0
        while parts := index.kept_after(last, _BATCH):
            for part in parts:
                self._check(index, part)
                yield
            last = parts[-1].id

    def _days(self) -> list[str]:
        try:
            return sorted(
                path.name
                for path in (self._folder / PICTURES).iterdir()
                if DAY.fullmatch(path.name) and not path.is_symlink()
            )
        except FileNotFoundError:
            return []

    def _look(self, index: Index, day: str, name: str) -> None:
        temporary = _TEMPORARY.fullmatch(name)
        file = part_file(temporary["name"] if temporary else name)
        if file is None or file.run == self._running:
            return
        if temporary:
            self._remove(day, name)
            return
        stored = index.find(file.run, file.number)
        state = stored.state if stored is not None else None
        if stored is not None and state == "kept" and f"{PICTURES}/{day}/{name}" in stored.files.paths:
            return
        if state in {"kept", "expired"}:
            self._remove(day, name)
        elif file.kind == "json":
            self._adopt(index, day, file)
        elif not (self._folder / PICTURES / day / f"{file.stem}.json").exists():
            self._remove(day, name)

    def _adopt(self, index: Index, day: str, file: PartFile) -> None:
        path = self._folder / PICTURES / day / f"{file.stem}.json"
        document = read_document(path)
        files: Files | None = None
        if document is not None and (document.part.run, document.part.number) == (file.run, file.number):
            names = {**document.files, path.name: path.stat().st_size}
            if all(name.startswith(file.stem) for name in names):
                files = files_of(self._folder, day, names)
        if document is None or files is None:
            self.found.damaged += 1
            return
        part = document.part
        outcome = Outcome(part.run, part.number, part.verdict == "pass", "kept", files)
        self._adoptions.append((row_of(part, "waiting"), outcome))
        if len(self._adoptions) >= _BATCH:
            self._adopt_batch(index)

    def _adopt_batch(self, index: Index) -> None:
        if self._adoptions:
            index.write([row for row, _ in self._adoptions], [outcome for _, outcome in self._adoptions])
            self.found.adopted += len(self._adoptions)
            self._adoptions.clear()

    def _check(self, index: Index, part: Kept) -> None:
        """Check that the files of a part with pictures are as written."""
        try:
            places = [place_of(self._folder, path) for path in part.files.paths]
            sizes = [place.stat().st_size for place in places if place is not None]
            total = sum(sizes) if len(sizes) == len(places) else -1
        except OSError:
            total = -1
        if total == part.files.bytes:
            return
        json = place_of(self._folder, part.files.json)
        if json is None or not json.exists():
            remove_files(self._folder, part.files)  # a removal by the limits that was interrupted
        index.expire([part], "missing")
        self.found.missing += 1

    def _remove(self, day: str, name: str) -> None:
        (self._folder / PICTURES / day / name).unlink(missing_ok=True)
        self.found.removed += 1
