"""The work of `ast-edge inspect`: find pictures, judge each, draw overlays, report the results."""

from __future__ import annotations

import io
import json
import math
import os
import shlex
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ast_edge.errors import DataError, FrameError, UsageError, reason
from ast_edge.files import printable, write_bytes
from ast_edge.frames.reading import list_images, read_depth_beside, read_image, unread_pictures
from ast_edge.inspector import Inspection, Inspector
from ast_edge.progress import say
from ast_edge.verdict.scoring import Verdict
from ast_edge.wording import one_line

Frame = NDArray[np.uint8]
Depth = NDArray[np.float32]
_NAMED = 6  # folders in a message


@dataclass(frozen=True)
class Result:
    """The verdict on one picture; `score` is NaN without a score, `time_ms` None if nothing ran."""

    path: Path
    verdict: Verdict
    score: float
    threshold: float
    reason: str
    time_ms: float | None = None
    p_value: float | None = None

    def as_json(self) -> str:
        """Return one line of JSON; a score that is not finite becomes null."""
        content = {
            "path": str(self.path),
            "verdict": self.verdict,
            "score": self.score if math.isfinite(self.score) else None,
            "threshold": self.threshold,
            "p_value": self.p_value,
            "reason": self.reason,
        }
        return json.dumps(content, allow_nan=False)


def find_pictures(paths: Sequence[Path], *, good_only: bool = False) -> list[Path]:
    """Return the pictures that `paths` name, with each folder replaced by the pictures directly in it.

    A data folder, in the layout of training and `ast-edge archive export`, is replaced by all its pictures,
    or by those of good parts. A missing or unreadable file stays in the list and becomes a fault. Raises
    DataError for a folder without pictures.
    """
    pictures: list[Path] = []
    for path in paths:
        for folder in _data_folders(path, good_only=good_only) or [path]:
            pictures += _pictures_in(folder) if folder.is_dir() else [folder]
    return pictures


def _data_folders(root: Path, *, good_only: bool) -> list[Path]:
    """Return the picture folders of a data folder in MVTec layout; empty if `root` is not one."""
    if not (root / "train" / "good").is_dir():
        return []
    kinds = [path for path in (root / "train" / "good", root / "validation" / "good") if path.is_dir()]
    if (root / "test").is_dir():
        kinds += sorted(path for path in (root / "test").iterdir() if path.is_dir())
    chosen = [path for path in kinds if not good_only or path.name == "good"]
    return [path / "rgb" if (path / "rgb").is_dir() else path for path in chosen]


def _pictures_in(folder: Path) -> list[Path]:
    pictures = list_images(folder)
    if said := unread_pictures(folder):
        say(said)
    if not pictures:
        raise DataError(f"{folder}: there are no pictures directly in this folder; {_where_else(folder)}.")
    return pictures


def _where_else(folder: Path) -> str:
    """Tell which folders to give instead of one without pictures."""
    if (folder / "rgb").is_dir():
        return f"give {folder / 'rgb'}"
    below = sorted(path for path in folder.iterdir() if path.is_dir() and list_images(path))
    if not below:
        return "give a folder with pictures"
    more = f" and {len(below) - _NAMED} more" if len(below) > _NAMED else ""
    return f"give {shlex.join(printable(path) for path in below[:_NAMED])}{more}"


def plan_overlays(pictures: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Return the overlay path of each picture: under `folder`, with the subfolders in which pictures differ.

    Creates `folder`. Raises UsageError when it cannot be created or an overlay would overwrite a picture.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"{folder}: the overlay folder cannot be created ({reason(exc)}).") from exc
    # abspath and not resolve: a link keeps the name that the user gave.
    absolute = {picture: Path(os.path.abspath(picture)) for picture in pictures}  # noqa: PTH100
    common = os.path.commonpath([path.parent for path in absolute.values()])
    plan: dict[Path, Path] = {}
    for picture, path in absolute.items():
        target = folder / path.relative_to(common).with_suffix(".png")
        # a.jpg and a.png in one folder: the second keeps its whole name.
        plan[picture] = target if target not in plan.values() else target.with_name(f"{path.name}.png")
    _refuse_overwriting(plan)
    return plan


def _refuse_overwriting(plan: Mapping[Path, Path]) -> None:
    pictures = {picture.resolve() for picture in plan}
    for target in plan.values():
        if target.resolve() in pictures:
            raise UsageError(
                f"{target}: the overlay would overwrite this picture; give another folder to --overlay."
            )


def inspect_pictures(
    inspector: Inspector, pictures: Sequence[Path], overlays: Mapping[Path, Path]
) -> Iterator[Result]:
    """Judge the pictures in order; one that cannot be read or does not fit the model is a fault.

    Raises BackendError when the engine fails and DataError when an overlay cannot be written, since the
    remaining pictures would fail in the same way.
    """
    threshold = inspector.spec.threshold.value
    for picture in pictures:
        try:
            frame, depth_m = read_part(picture, inspector)
            inspection = inspector.inspect(frame, colour=None if frame is None else "rgb", depth_m=depth_m)
        except (DataError, FrameError) as exc:
            yield Result(picture, "fault", math.nan, threshold, str(exc))
            continue
        if picture in overlays:
            _write_png(overlays[picture], _overlay(frame, depth_m, inspection, inspector))
        time_ms = sum(inspection.stages_ms.values())
        yield Result(
            picture,
            inspection.verdict,
            inspection.score,
            threshold,
            inspection.reason,
            time_ms,
            inspection.p_value,
        )


def read_part(picture: Path, inspector: Inspector) -> tuple[Frame | None, Depth | None]:
    """Read the frame and depth map that the model's mode uses for `picture`. DataError names a bad file."""
    mode = inspector.spec.mode
    if mode == "depth" and not picture.is_file():
        # The picture names the part: if it is missing, its xyz file must not be judged instead.
        raise DataError(f"{picture}: no such file; give the picture that belongs to the xyz file.")
    depth_m = None if mode == "rgb" else read_depth_beside(picture, registered=mode == "rgbd")
    return (None if mode == "depth" else read_image(picture)), depth_m


def _overlay(
    frame: Frame | None, depth_m: Depth | None, inspection: Inspection, inspector: Inspector
) -> Frame:
    # Imported here: judging pictures of mode rgb needs no OpenCV.
    from ast_edge.overlay import depth_picture, draw_overlay

    if frame is None and depth_m is not None:
        frame = depth_picture(depth_m)
    if frame is None:
        raise FrameError("neither a frame nor a depth map to draw on.")
    return draw_overlay(frame, inspection, inspector.spec)


def _write_png(target: Path, pixels: Frame) -> None:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    try:
        write_bytes(target, stream.getvalue())
    except OSError as exc:
        raise DataError(
            f"{target}: the overlay cannot be written ({reason(exc)}); give another folder."
        ) from exc


@dataclass
class Report:
    """The table for people: a line per picture and the totals."""

    threshold: float
    pictures: Sequence[Path]
    overlay: Path | None
    counts: Counter[Verdict] = field(default_factory=Counter)
    times_ms: list[float] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Add one result to the totals."""
        self.counts[result.verdict] += 1
        if result.time_ms is not None:
            self.times_ms.append(result.time_ms)

    def line(self, result: Result) -> str:
        """Format verdict, score, path and, for a fault, the reason, in columns."""
        score = f"{result.score:.6g}" if math.isfinite(result.score) else "-"
        path = one_line(str(result.path))
        text = f"{result.verdict:<6}  {score:>11}  {path}"
        if result.verdict != "fault":
            return text
        width = max(len(one_line(str(picture))) for picture in self.pictures)
        padding = " " * (width - len(path) + 2)
        return text + padding + one_line(result.reason.removeprefix(f"{result.path}: "))

    def summary(self) -> str:
        """Format the totals in one line."""
        verdicts: tuple[Verdict, ...] = ("pass", "reject", "fault")
        parts = [
            f"{len(self.pictures)} {'picture' if len(self.pictures) == 1 else 'pictures'}: "
            + ", ".join(f"{self.counts[verdict]} {verdict}" for verdict in verdicts),
            f"threshold {self.threshold:.6g}",
        ]
        if self.times_ms:
            parts.append(f"{statistics.median(self.times_ms):.1f} ms each (median)")
        if self.overlay is not None:
            parts.append(f"overlays in {self.overlay}")
        return "; ".join(parts)
