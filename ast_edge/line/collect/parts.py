"""The folder of a collection: parts are added to it, durably, and counted."""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from ast_edge.cameras.base import Frame
from ast_edge.errors import FrameError, LineError, UsageError, reason, sentence
from ast_edge.files import claim, remove_leftovers, write_bytes
from ast_edge.line.archive.encoding import Picture, decoded, encode_picture, encode_xyz
from ast_edge.line.collect.layout import RECORD, Places, folder_of, parts_text, places_of
from ast_edge.line.collect.looks import Looks, looks_of
from ast_edge.line.collect.record import (
    CameraFacts,
    CollectedPart,
    GreyLevels,
    Record,
    TriggerFacts,
    sync_folder,
)
from ast_edge.line.part import PartResult

_LOCK = ".lock"
_NUMBERED = re.compile(r"[0-9]{6,18}")
_MOST_GB = 1_000_000
_PNG_LEVEL = 1


class Parts:
    """The folder, locked until `close`. A part counts when its files and its line are on the disk.

    Picture and depth map are written and synced before the line, so that a kill leaves at most one picture
    without a line; it is kept, not counted, and its number not used again. `label` as in `folder_of`; less
    than `min_free_gb` GB (10^9 bytes) are never left free by this.

    Raises LineError for a folder that is in use, that is no collection, or that cannot be written; UsageError
    for an impossible label or limit.
    """

    def __init__(self, folder: Path, label: str | None = None, *, min_free_gb: float = 1.0) -> None:
        self.folder, self.label = folder, label
        if not 0 <= min_free_gb <= _MOST_GB:
            raise UsageError(f"--min-free-gb {min_free_gb}: expected 0 to {_MOST_GB}.")
        self._min_free = int(min_free_gb * 1e9)
        folder_of(label)
        with ExitStack() as opened:
            opened.enter_context(_locked(folder))
            self._record = self._opened()
            opened.callback(self._record.close)
            self._largest, self.unlisted = self._numbers_there()
            self._held = opened.pop_all()
        self.count = sum(part.label == label for part in self.present)

    @property
    def present(self) -> list[CollectedPart]:
        """The parts, in order, whose pictures were not removed since."""
        return [part for part in self._record.parts if (self.folder / part.picture).is_file()]

    @property
    def with_depth(self) -> bool | None:
        """Whether the parts have depth maps; None before the first part."""
        parts = self._record.parts
        return parts[0].depth is not None if parts else None

    def add(
        self, result: PartResult, camera: str, settings: dict[str, float | str]
    ) -> tuple[CollectedPart, Looks]:
        """Write the part of a result with a frame; return its line and its looks once it is on the disk.

        `camera` and `settings` go into the line. Raises LineError if the disk has too little room or refuses
        the files, or the frame has a depth map where earlier ones have none, or the reverse.
        """
        frame = result.frame
        if frame is None or frame.pixels is None or frame.colour is None:
            raise FrameError("a part without a picture cannot be collected; this is a bug of ast-edge.")
        self._check_depth(has=frame.depth_m is not None)
        picture = decoded(frame.pixels, frame.colour)
        looks = looks_of(picture)
        number = self._largest + 1
        places = places_of(self.label, number, depth=frame.depth_m is not None)
        facts = CameraFacts(
            uri=camera,
            frame=frame.number,
            device_ns=frame.device_ns,
            colour=frame.colour,
            width=looks.width,
            height=looks.height,
            settings=settings,
        )
        part = _line(result, number, places, facts, looks, self.label)
        self._write(_files(places, picture, frame), part)
        self._largest = number
        self.count += 1
        return part, looks

    def close(self) -> None:
        """Release the folder; a second call does nothing."""
        self._held.close()

    # ---- opening -------------------------------------------------------------------------------------------

    def _opened(self) -> Record:
        record = self.folder / RECORD
        if not record.exists() and (foreign := _visible(self.folder)):
            raise LineError(
                f"{self.folder}: has other files ({foreign}) and no {RECORD}, so it is no collection; give a "
                "new folder."
            )
        try:
            return Record(record)
        except OSError as exc:
            raise LineError(f"{sentence(exc)}; check the folder's permissions and its disk.") from exc

    def _numbers_there(self) -> tuple[int, list[Path]]:
        """Return the largest number in use, and pictures that have no line."""
        listed = {part.picture for part in self._record.parts}
        largest = max((part.number for part in self._record.parts), default=0)
        unlisted = []
        for path in self._inside():
            if path.is_dir():
                remove_leftovers(path)
            elif _NUMBERED.fullmatch(path.stem):
                largest = max(largest, int(path.stem))
                if path.suffix == ".png" and path.relative_to(self.folder).as_posix() not in listed:
                    unlisted.append(path)
        return largest, unlisted

    def _inside(self) -> list[Path]:
        return sorted(path for top in ("train", "test") for path in (self.folder / top).rglob("*"))

    # ---- writing -------------------------------------------------------------------------------------------

    def _check_depth(self, *, has: bool) -> None:
        if self.with_depth in (None, has):
            return
        now, before = ("with", "without") if has else ("without", "with")
        raise LineError(
            f"{self.folder}: the camera gives pictures {now} depth maps, and the parts collected so far are "
            f"{before}: one folder holds one kind; correct the camera, or collect into another folder."
        )

    @property
    def _kept(self) -> str:
        return f"what was collected is kept, {parts_text(self.count)}"

    def _write(self, files: list[tuple[str, memoryview]], part: CollectedPart) -> None:
        size = sum(len(data) for _, data in files)
        try:
            free = shutil.disk_usage(self.folder).free
            if self._min_free and free - size < self._min_free:
                raise LineError(
                    f"{self.folder}: {free / 1e9:.3g} GB of the disk are free, and "
                    f"{self._min_free / 1e9:g} GB are to stay free; {self._kept}: free some room, or lower "
                    "--min-free-gb, and run the same command again."
                )
            for name, data in files:
                _write_durably(self.folder / name, data)
            self._record.append(part)
        except OSError as exc:
            raise LineError(
                f"{sentence(exc)}; {self._kept}: free some room or repair the disk, and run the same command "
                "again."
            ) from exc


def _locked(folder: Path) -> IO[bytes]:
    """Lock the folder, which is created. Raises LineError if it cannot be, or is in use."""
    if folder.exists() and not folder.is_dir():
        raise LineError(f"{folder}: is a file; give the folder to collect into.")
    try:
        return claim(folder / _LOCK)
    except BlockingIOError as exc:
        raise LineError(
            f"{folder}: another `ast-edge collect` writes to it; wait for its end, or give another folder."
        ) from exc
    except OSError as exc:
        raise LineError(f"{folder}: cannot be written ({reason(exc)}); give another folder.") from exc


def _visible(folder: Path) -> str:
    """Return the name of a file in the folder; empty if it has none but hidden ones."""
    return min((path.name for path in folder.iterdir() if not path.name.startswith(".")), default="")


def _files(places: Places, picture: Picture, frame: Frame) -> list[tuple[str, memoryview]]:
    """Return names and contents in the order of writing."""
    files = [(places.picture, _png(picture, grey=frame.colour == "mono"))]
    if frame.depth_m is not None and places.depth is not None:
        # First: a picture without its depth map would stop a training.
        files.insert(0, (places.depth, encode_xyz(frame.depth_m)))
    return files


def _png(picture: Picture, *, grey: bool) -> memoryview:
    import cv2  # noqa: PLC0415 (OpenCV is loaded with the first picture)

    # A camera's noise has no repetitions to look for: without the search it takes less time and room.
    strategy = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
    settings = (cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL, *strategy)
    return encode_picture(picture, ".png", settings, grey=grey)


def _line(
    result: PartResult, number: int, places: Places, camera: CameraFacts, looks: Looks, label: str | None
) -> CollectedPart:
    record = result.record
    return CollectedPart(
        number=number,
        label=label,
        picture=places.picture,
        depth=places.depth,
        time=record.time,
        trigger=TriggerFacts(
            run=record.run, number=record.number, source=record.trigger, external_id=record.external_id
        ),
        encoder=record.encoder,
        camera=camera,
        grey_levels=GreyLevels(
            brightness=looks.brightness, contrast=looks.contrast, saturated=looks.saturated
        ),
        sharpness=looks.sharpness,
        sha256=looks.sha256,
    )


def _write_durably(path: Path, data: memoryview) -> None:
    """Write a file so that it, its name and its folders are on the disk when this returns. Raises OSError."""
    _make_folder(path.parent)
    write_bytes(path, data)
    sync_folder(path.parent)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
