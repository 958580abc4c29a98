"""An archive under test: parts to store, the events it reported, and checks of everything it wrote."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ast_edge.cameras.base import Frame
from ast_edge.frames.reading import read_image, read_xyz
from ast_edge.line.archive.options import ArchiveOptions
from ast_edge.line.archive.output import Archive
from ast_edge.line.archive.pictures import part_file
from ast_edge.line.archive.reading import ArchivedPart, ArchiveReader, Query
from ast_edge.line.events import EventKind
from ast_edge.line.part import PartResult
from ast_edge.verdict.scoring import Verdict
from tests.line.parts import StillStation, part_result
from tests.tiny import tiny_spec


class Heard:
    """The events that an archive reported."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, object]] = []

    def __call__(self, kind: EventKind, details: Mapping[str, object]) -> None:
        assert kind == "archive"
        self.events.append(details)

    def warned(self, key: str) -> list[object]:
        """begin, end, ... of one warning."""
        return [event["change"] for event in self.events if event.get("warning") == key]

    def found(self) -> Mapping[str, int]:
        """The reported leftovers."""
        (leftovers,) = [event["leftovers"] for event in self.events if "leftovers" in event]
        assert isinstance(leftovers, dict)
        return leftovers


def part(number: int, verdict: Verdict = "reject", *, side: int | None = None, **more: Any) -> PartResult:
    """A part with its model's spec; `side` pixels high and wide where given, noise that no PNG can shrink."""
    result = replace(part_result(number, verdict, **more), spec=tiny_spec())
    if side is None:
        return result
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return replace(result, frame=Frame(pixels, "rgb", number, None, 0, "bench"))


class Opened:
    """A running archive."""

    def __init__(self, archive: Archive, heard: Heard) -> None:
        self.archive, self.heard = archive, heard

    def rows(self) -> list[ArchivedPart]:
        with ArchiveReader(self.archive.options.folder) as reader:
            return list(reader.oldest_first(Query()))


@contextmanager
def archiving(folder: Path, run: str = "run", **options: Any) -> Iterator[Opened]:
    """An archive that runs while the block does."""
    defaults: dict[str, Any] = {"every_nth_pass": 2, "min_free_gb": 0, "sync": "normal"}
    archive = Archive(ArchiveOptions(**{"folder": folder, **defaults, **options}))
    heard, station = Heard(), StillStation()
    station.now = replace(station.now, run=run)
    archive.report = heard
    archive.start(station)
    try:
        yield Opened(archive, heard)
    finally:
        archive.close(30.0)


def rows(folder: Path) -> list[ArchivedPart]:
    """Everything in the index, in the order of arrival."""
    with ArchiveReader(folder) as reader:
        return list(reader.oldest_first(Query()))


def check_whole(folder: Path) -> list[ArchivedPart]:
    """Nothing in the archive is torn: index, every file, and what each says about the other; its parts."""
    with closing(sqlite3.connect(folder / "index.sqlite")) as index:
        assert index.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    parts = rows(folder)
    listed = set()
    for found in parts:
        assert (found.picture_state == "kept") == (found.files.json is not None)
        listed |= set(found.files.paths)
        for path in found.files.paths:
            check_file(folder / path)
        if found.files.json is not None:
            content = json.loads((folder / found.files.json).read_text(encoding="utf-8"))
            for key in ("part_id", "time", "verdict", "reason", "score", "encoder", "external_id", "recipe"):
                assert content[key] == found.as_dict()[key], key
    names = {str(path.relative_to(folder)) for path in (folder / "pictures").rglob("*") if path.is_file()}
    assert names == listed
    return parts


def check_file(path: Path) -> None:
    """Decode a file completely."""
    known = part_file(path.name)
    assert known is not None
    if known.kind == "json":
        json.loads(path.read_text(encoding="utf-8"))
    elif known.kind == "depth":
        read_xyz(path)
    else:
        read_image(path)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A real file system of its own, of this size; skips without the right to mount one."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path) -> Path:
    """Take every byte that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    stream.write(bytes(size))
    return filler
