"""A comparison from beginning to end: open both models, find the parts, judge them, measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ast_edge.backends import BackendName, Engine, open_backend
from ast_edge.compare.figures import counts_of, errors_of, worse
from ast_edge.compare.judging import Album, Judged, judge_parts, pictures_of
from ast_edge.compare.parts import REMOVED, ComparedPart, Found, check_unseen, find_parts
from ast_edge.compare.result import ComparedModel, Comparison, Latency, LeftOut
from ast_edge.compare.speed import latency
from ast_edge.errors import UsageError
from ast_edge.files import printable, sha256_file
from ast_edge.inspector import Inspector
from ast_edge.latency.stopwatch import Limits as Duration
from ast_edge.line.archive.reading import Query
from ast_edge.line.archive.schema import INDEX
from ast_edge.model.manifest import Manifest
from ast_edge.pages.layers import Pictures
from ast_edge.progress import say
from ast_edge.verdict.acceptance import Limits, acceptance


@dataclass(frozen=True)
class Asked:
    """What to compare and how, as in the options of `ast-edge compare`."""

    old: Path
    new: Path
    places: tuple[Path, ...]
    query: Query
    limits: Limits
    command: str
    engine: BackendName | Engine | None = None
    threads: int | None = None
    overlays: int = 200
    seconds: float = 5.0
    must_be_labelled: bool = False


@dataclass(frozen=True)
class _Opened:
    path: Path
    manifest: Manifest
    inspector: Inspector


def compare(asked: Asked) -> tuple[Comparison, dict[int, Pictures]]:
    """Compare two models; also return pictures of changed verdicts, by the part's number in the result.

    Raises ModelError, BackendError, DataError, LineError and UsageError, each before any part is judged,
    but for BackendError when an engine fails.
    """
    _refuse_same(asked.old, asked.new)
    with ExitStack() as stack:
        old, new = (_opened(stack, path, asked) for path in (asked.old, asked.new))
        found = find_parts(asked.places, asked.query)
        _check_labels(found.parts, asked)
        models = [(printable(one.path), one.manifest) for one in (old, new)]
        notes = [*check_unseen(found.parts, models), *_archive_notes(found.parts)]
        inspectors = old.inspector, new.inspector
        judged = judge_parts(found.parts, inspectors, Album(asked.overlays))
        measured = _latency(inspectors, judged, asked)
        pictures = pictures_of(judged.album, inspectors)
        comparison = Comparison(
            old=_facts(old),
            new=_facts(new),
            parts=judged.rows,
            left_out=_left_out(found, judged, asked),
            false_rejects=errors_of(judged.rows, good=True),
            escapes=errors_of(judged.rows, good=False),
            latency=measured,
            notes=notes,
            worse=worse(judged.rows),
            acceptance=acceptance(counts_of(judged.rows)[1], asked.limits),
            command=asked.command,
            made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
    return comparison, pictures


def _refuse_same(old: Path, new: Path) -> None:
    if old.is_file() and new.is_file() and sha256_file(old) == sha256_file(new):
        which = "is given twice" if old.samefile(new) else f"has the same content as {printable(old)}"
        raise UsageError(f"{printable(new)}: {which}; give two different models to compare.")


def _opened(stack: ExitStack, path: Path, asked: Asked) -> _Opened:
    model, backend = open_backend(path, threads=asked.threads, backend=asked.engine)
    inspector = stack.enter_context(Inspector(model.manifest, backend))
    if inspector.engine_choice is not None:
        say(f"{path}: engine: {inspector.engine_choice}")
    return _Opened(path, model.manifest, inspector)


def _check_labels(parts: tuple[ComparedPart, ...], asked: Asked) -> None:
    kinds = {part.kind for part in parts if part.kind is not None}
    asked.limits.check(kinds)
    if asked.must_be_labelled and not kinds:
        raise UsageError(
            "--fail-if-worse: none of the parts is labelled, so neither model can be called right; give a "
            "folder with good parts in good and a folder for each kind of defect, or leave the option out."
        )


def _archive_notes(parts: tuple[ComparedPart, ...]) -> Iterator[str]:
    """Say what makes archived parts less comparable: several products among them, lossy pictures."""
    recipes = Counter(part.line.recipe for part in parts if part.line is not None)
    if len(recipes) > 1:
        named = ", ".join(f"{name} {count}" for name, count in recipes.most_common())
        yield f"the archived parts are of several recipes ({named}): --recipe selects those of one"
    jpeg = sum(
        part.line is not None and part.image is not None and part.image.suffix == ".jpg" for part in parts
    )
    if jpeg:
        yield f"archived pictures that are JPEG: {jpeg}; the line judged the originals, so its scores differ"


def _latency(inspectors: tuple[Inspector, Inspector], judged: Judged, asked: Asked) -> Latency | None:
    if judged.sample is None:
        return None
    return latency(inspectors, *judged.sample, Duration(count=None, seconds=asked.seconds))


def _left_out(found: Found, judged: Judged, asked: Asked) -> list[LeftOut]:
    if not judged.removed:
        return list(found.left_out)
    archives = ", ".join(printable(place) for place in asked.places if (place / INDEX).is_file())
    return [*found.left_out, LeftOut(place=archives, reason=REMOVED, count=judged.removed)]


def _facts(opened: _Opened) -> ComparedModel:
    manifest = opened.manifest
    return ComparedModel(
        file=printable(opened.path),
        model_id=manifest.model_id,
        mode=manifest.mode,
        preset=manifest.preset,
        precision=manifest.precision,
        image_size=manifest.preprocessing.image_size,
        crop=manifest.preprocessing.crop,
        threshold=manifest.threshold.value,
        engine=opened.inspector.engine,
    )
