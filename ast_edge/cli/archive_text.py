"""Output of the archive commands. Names and paths in an archive are untrusted."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ast_edge.errors import LineError, UsageError, reason
from ast_edge.files import write_bytes
from ast_edge.line.archive.document import read_document
from ast_edge.line.archive.pictures import part_file, place_of
from ast_edge.line.archive.reading import ArchivedPart
from ast_edge.wording import csv_text, one_line

_KEYS = [
    *("part_id", "run", "number", "time", "external_id", "encoder", "trigger", "recipe", "verdict", "reason"),
    *("score", "threshold", "latency_ms", "source", "picture_state"),
]
# Folders by verdict, as training and evaluation expect them; a fault was not judged, so it goes to neither.
_PLACES = {"pass": "train/good", "reject": "test/reject", "fault": "unjudged"}
_KINDS = ("picture", "depth", "overlay")
MISSING = "missing.csv"


@dataclass
class Exported:
    """Parts in parts.csv, files copied, and files (part, kind) that are no longer in the archive."""

    parts: int = 0
    files: int = 0
    gone: list[tuple[str, str]] = field(default_factory=list)


def printable(value: object) -> str:
    """Format a value for a terminal: control characters are escaped, None becomes a dash."""
    return one_line("-" if value is None or value == "" else str(value))


def part_json(part: ArchivedPart) -> str:
    """Format one part as one line of JSON."""
    return json.dumps(part.as_dict(), allow_nan=False)


def parts_table(parts: Sequence[ArchivedPart]) -> Iterator[str]:
    """Yield one line per part, in columns."""
    rows = [
        (part.time.replace("+00:00", "Z"), part.verdict, _score(part.score), part.part_id, part.external_id)
        for part in parts
    ]
    shown = [[printable(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row, part in zip(shown, parts, strict=True):
        columns = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        rest = part.reason or ("" if part.files.picture is None else part.files.picture)
        yield f"{columns}  {printable(part.recipe)}  {printable(rest)}"


def whole_part_text(archive: Path, part: ArchivedPart) -> str:
    """Format everything about one part as lines of text."""
    rows = [(name, printable(value)) for name, value in part.as_dict().items() if name in _KEYS]
    document = _document(archive, part)
    if document is not None:
        known = ("model_id", "threshold_revision", "p_value", "stages_ms", "frame")
        rows += [(name, printable(document.get(name))) for name in known]
    for kind, relative in part.files._asdict().items():
        if isinstance(relative, str):
            path = place_of(archive, relative)
            where = printable(relative) if path is None else printable(path)
            rows.append((kind, where if path is not None and path.is_file() else f"{where} (gone)"))
    return "\n".join(f"{name:<20}{value}" for name, value in rows)


def whole_part_json(archive: Path, part: ArchivedPart) -> str:
    """Format everything about one part as a JSON object; `document` is its JSON file or null."""
    return json.dumps({**part.as_dict(), "document": _document(archive, part)}, allow_nan=False)


def _document(archive: Path, part: ArchivedPart) -> dict[str, object] | None:
    path = place_of(archive, part.files.json)
    document = read_document(path) if path is not None else None
    return None if document is None else document.as_dict()


def export_parts(archive: Path, parts: Sequence[ArchivedPart], folder: Path, *, overlays: bool) -> Exported:
    """Copy `parts` into `folder`: all of them, or nothing if an error occurs.

    Raises UsageError when the folder exists and is not empty, LineError when it cannot be written.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder}: exists and is not empty; give a new folder.")
        partial.mkdir(parents=True)
    except FileExistsError as exc:
        raise UsageError(f"{partial}: an export was interrupted or is running; remove this folder.") from exc
    except OSError as exc:
        raise LineError(f"{folder}: cannot be written ({reason(exc)}); give another folder.") from exc
    try:
        exported = _copy_all(archive, parts, partial, overlays=overlays)
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except OSError as exc:
        shutil.rmtree(partial, ignore_errors=True)
        raise LineError(f"{folder}: cannot be written ({reason(exc)}); give another folder.") from exc
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return exported


def _copy_all(archive: Path, parts: Sequence[ArchivedPart], target: Path, *, overlays: bool) -> Exported:
    exported, rows = Exported(), []
    kinds = [kind for kind in _KINDS if overlays or kind != "overlay"]
    # With depth maps in the layout of MVTec 3D-AD, otherwise in that of MVTec AD.
    folders = {"picture": "rgb", "depth": "xyz"} if any(part.files.depth for part in parts) else {}
    for part in parts:
        place = Path(_PLACES.get(part.verdict, "unjudged"))
        copied = []
        for kind in kinds:
            folder = Path("overlay") if kind == "overlay" else place / folders.get(kind, "")
            copied.append(_copy(archive, part, kind, target / folder, exported))
        facts = part.as_dict()
        names = (path.relative_to(target).as_posix() if path else "" for path in copied)
        rows.append([*(facts[name] for name in _KEYS), *names])
        exported.parts += 1
    _write_csv(target / "parts.csv", [[*_KEYS, *kinds], *rows])
    if exported.gone:
        _write_csv(target / MISSING, [["part_id", "file"], *exported.gone])
    return exported


def _write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    write_bytes(path, csv_text(rows).encode())


def _copy(archive: Path, part: ArchivedPart, kind: str, folder: Path, exported: Exported) -> Path | None:
    """Copy one file of a part; return its path in the export, or None if it is missing."""
    relative: str | None = getattr(part.files, kind)
    if relative is None:
        return None
    path = place_of(archive, relative)
    file = part_file(path.name) if path is not None else None
    if path is not None and file is not None and path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / f"{file.stem}{path.suffix}"
        with contextlib.suppress(FileNotFoundError):  # just removed by the archive's limits
            shutil.copyfile(path, place)
            exported.files += 1
            return place
    exported.gone.append((part.part_id, kind))
    return None


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.6g}"
