"""The files of a part: the camera's picture, the overlay, and a JSON file.

Their paths are pictures/<day>/<part id><suffix>. The JSON file is written last: a part without it is
incomplete.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ast_edge.errors import FrameError
from ast_edge.files import write_bytes
from ast_edge.inspector import Inspection
from ast_edge.line.archive.document import document_of
from ast_edge.line.archive.encoding import Picture, decoded, encode_picture, encode_xyz
from ast_edge.line.archive.options import ArchiveOptions
from ast_edge.line.archive.row import Files
from ast_edge.line.part import PartResult
from ast_edge.model.manifest import Crop, ModelSpec

PICTURES = "pictures"
_KINDS = {
    ".json": "json",
    ".overlay.png": "overlay",
    ".overlay.jpg": "overlay",
    ".xyz.tiff": "depth",
    ".png": "picture",
    ".jpg": "picture",
}
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_PART = re.compile(r"(?P<run>[A-Za-z0-9_.-]{1,200})-(?P<number>[0-9]{7,19})")
_OVERLAY_SIDE = 1024  # for people; the picture itself is stored at full size


class PartFile(NamedTuple):
    """The information in a file's name: which part it belongs to, and which of its files it is."""

    stem: str
    run: str
    number: int
    kind: str


def part_file(name: str) -> PartFile | None:
    """Parse a file name; None for a name that the archive does not create."""
    suffix = next((suffix for suffix in _KINDS if name.endswith(suffix)), None)
    found = _PART.fullmatch(name.removesuffix(suffix)) if suffix is not None else None
    if suffix is None or found is None:
        return None
    return PartFile(name.removesuffix(suffix), found["run"], int(found["number"]), _KINDS[suffix])


def place_of(folder: Path, relative: str | None) -> Path | None:
    """Return the path of a file named by the index of the archive `folder`; None if it is not in there.

    The index is untrusted: the path must be pictures/<day>/<name that the archive creates>, and both folders
    must be folders, not links to others.
    """
    pieces = (relative or "").split("/")
    if len(pieces) != 3 or pieces[0] != PICTURES or not DAY.fullmatch(pieces[1]) or not part_file(pieces[2]):
        return None
    day = folder / PICTURES / pieces[1]
    return None if day.is_symlink() or day.parent.is_symlink() else day / pieces[2]


def files_of(folder: Path, day: str, names: dict[str, int]) -> Files | None:
    """Return the files `names` of a part in the archive `folder`; None unless all have the expected size."""
    paths: dict[str, str] = {}
    total = 0
    for name, size in names.items():
        found = part_file(name)
        path = folder / PICTURES / day / name
        if found is None or not path.is_file() or path.stat().st_size != size:
            return None
        paths[found.kind] = f"{PICTURES}/{day}/{name}"
        total += size
    return Files(paths.get("picture"), paths.get("overlay"), paths.get("depth"), paths.get("json"), total)


def write_part(result: PartResult, options: ArchiveOptions) -> Files:
    """Write the files of one part; all of them or none.

    Raises OSError for a disk error, FrameError or ValueError for what cannot be drawn or named.
    """
    if _PART.fullmatch(result.part_id) is None:
        raise ValueError(f"{result.part_id!r} is not usable as a file name")
    day = _day(result.trigger.wall_s)
    folder = options.folder / PICTURES / day
    written: dict[str, int] = {}
    try:
        for suffix, data in _encoded(result, options):
            _write(folder / f"{result.part_id}{suffix}", data, options)
            written[f"{result.part_id}{suffix}"] = len(data)
        document = document_of(result, dict(written))
        _write(folder / f"{result.part_id}.json", document, options)
        written[f"{result.part_id}.json"] = len(document)
    except BaseException:
        for name in written:
            (folder / name).unlink(missing_ok=True)
        raise
    files = files_of(options.folder, day, written)
    if files is None:
        raise OSError(f"{folder}: the files of {result.part_id} differ from what was written")
    return files


def _day(wall_s: float) -> str:
    try:
        return datetime.fromtimestamp(wall_s, timezone.utc).strftime("%Y-%m-%d")
    except (OSError, OverflowError, ValueError) as exc:
        raise ValueError(f"{wall_s} seconds are not a valid time") from exc


def _write(path: Path, data: bytes | memoryview, options: ArchiveOptions) -> None:
    sync = options.sync == "full"
    try:
        write_bytes(path, data, sync=sync)
    except FileNotFoundError:  # the limits may have removed the day's folder just now
        write_bytes(path, data, sync=sync)


def _encoded(result: PartResult, options: ArchiveOptions) -> list[tuple[str, memoryview]]:
    """Return suffix and content of picture, depth and overlay, if present."""
    frame = result.frame
    if frame is None:
        return []
    suffix, settings = _format(options)
    found = []
    picture: Picture | None = None
    if frame.pixels is not None and frame.colour is not None:
        picture = decoded(frame.pixels, frame.colour)
        found.append((suffix, encode_picture(picture, suffix, settings, grey=frame.colour == "mono")))
    if frame.depth_m is not None:
        found.append((".xyz.tiff", encode_xyz(frame.depth_m)))
    if options.overlay and result.inspection is not None and result.spec is not None:
        overlay = _overlay(picture, result, result.inspection, result.spec)
        if overlay is not None:
            found.append((f".overlay{suffix}", encode_picture(overlay, suffix, settings)))
    return found


def _format(options: ArchiveOptions) -> tuple[str, Sequence[int]]:
    import cv2  # noqa: PLC0415 (OpenCV is loaded with the first picture)

    if options.format == "jpeg":
        return ".jpg", (cv2.IMWRITE_JPEG_QUALITY, options.jpeg_quality)
    return ".png", (cv2.IMWRITE_PNG_COMPRESSION, options.png_level)


def _overlay(
    picture: Picture | None, result: PartResult, inspection: Inspection, spec: ModelSpec
) -> Picture | None:
    """Return the overlay with the part's verdict; None if there is nothing to show."""
    from ast_edge.overlay import depth_picture, draw_overlay  # noqa: PLC0415 (loads OpenCV)

    if picture is None and result.frame is not None and result.frame.depth_m is not None:
        picture = depth_picture(result.frame.depth_m)
    if picture is None:
        return None
    # A late verdict is a fault, whatever the engine's result.
    shown = replace(inspection, verdict=result.verdict, reason=result.reason)
    picture, crop = _reduced(picture, spec.preprocessing.crop)
    preprocessing = spec.preprocessing.model_copy(update={"crop": crop})
    try:
        return draw_overlay(picture, shown, spec.model_copy(update={"preprocessing": preprocessing}))
    except FrameError:
        return None  # the frame is smaller than the model's crop: only the picture is kept


def _reduced(picture: Picture, crop: Crop | None) -> tuple[Picture, Crop | None]:
    """Reduce a large picture to the overlay's size; return it with the crop in its pixels."""
    import cv2  # noqa: PLC0415

    height, width = picture.shape[:2]
    scale = _OVERLAY_SIDE / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(picture), crop
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = np.asarray(
        cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA), np.uint8
    )
    if crop is None:
        return small, None
    left, top = int(crop.x * scale), int(crop.y * scale)
    right, bottom = (crop.x + crop.width) * scale, (crop.y + crop.height) * scale
    crop = Crop(
        x=left,
        y=top,
        width=max(min(round(right), size[0]) - left, 1),
        height=max(min(round(bottom), size[1]) - top, 1),
    )
    return small, crop
