"""The work of `ast-edge calibrate`: judge good parts and write a new threshold into the model file."""

from __future__ import annotations

import getpass
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ast_edge.backends import BackendName, Engine
from ast_edge.cli.inspecting import find_pictures, read_part
from ast_edge.cli.saying import say_choice
from ast_edge.errors import DataError, FrameError, reason
from ast_edge.files import sha256_file
from ast_edge.frames.reading import xyz_beside
from ast_edge.inspector import Inspection, Inspector
from ast_edge.model.engine_file import AnyModel
from ast_edge.model.manifest import Manifest, ModelSpec
from ast_edge.progress import stage
from ast_edge.verdict.calibration import GoodParts, Origin, calibrate, restored, revised, set_by_hand
from ast_edge.verdict.threshold import statement


@dataclass(frozen=True)
class Asked:
    """Options of the command; None keeps the model's setting, or takes the user who is logged in."""

    rate: float | None
    confidence: float | None
    operator: str | None
    threads: int | None
    backend: BackendName | Engine | None = None


@dataclass(frozen=True)
class Restore:
    """The number of an earlier threshold."""

    revision: int


def new_revision(model: AnyModel, source: Sequence[Path] | Restore | float, *, asked: Asked) -> Manifest:
    """Return the manifest of `model` with a threshold from good parts, an earlier one, or a given value."""
    if isinstance(source, Restore):
        origin = _origin(f"revision {source.revision} restored", asked.operator)
        return restored(model.manifest, source.revision, origin)
    if isinstance(source, float):
        return set_by_hand(model.manifest, source, _origin("set by hand", asked.operator))
    old = model.manifest.threshold
    with Inspector.open(model.path, threads=asked.threads, backend=asked.backend) as inspector:
        say_choice(inspector)
        parts = judge_good_parts(inspector, find_pictures(source, good_only=True))
    new = calibrate(
        parts,
        _origin("ast-edge calibrate", asked.operator),
        false_reject_rate=old.target_false_reject_rate if asked.rate is None else asked.rate,
        confidence=old.confidence if asked.confidence is None else asked.confidence,
        precision=model.manifest.precision,
    )
    return revised(model.manifest, new)


def _origin(how: str, operator: str | None) -> Origin:
    """Return the origin: the current time, and `operator` or the user who is logged in."""
    return Origin(how, operator or _user(), datetime.now(timezone.utc).isoformat(timespec="seconds"))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a user id without a name
        return "unknown"


def judge_good_parts(inspector: Inspector, pictures: Sequence[Path]) -> GoodParts:
    """Judge `pictures`. DataError names one that is a fault, unreadable or a duplicate."""
    sha256 = _digest(pictures, inspector.spec)
    found: list[Inspection] = []
    with stage("judging good parts", len(pictures)) as shown:
        for picture in pictures:
            found.append(_judged(inspector, picture))
            shown.advance()
    return GoodParts(
        [inspection.score for inspection in found],
        [float(inspection.anomaly_map.max()) for inspection in found],
        [inspection.levels for inspection in found if inspection.levels is not None],
        sha256,
    )


def _judged(inspector: Inspector, picture: Path) -> Inspection:
    try:
        frame, depth_m = read_part(picture, inspector)
        inspection = inspector.inspect(frame, colour=None if frame is None else "rgb", depth_m=depth_m)
    except FrameError as exc:
        raise DataError(f"{picture}: {exc}") from exc
    if inspection.verdict == "fault":
        raise DataError(
            f"{picture}: is a fault ({inspection.reason}), so it cannot serve as a good part; leave it out."
        )
    return inspection


def _digest(pictures: Sequence[Path], spec: ModelSpec) -> str:
    """Return the SHA-256 over the parts' contents in order; refuse duplicates, which would count twice."""
    seen: dict[str, Path] = {}
    trained_on: list[Path] = []
    for picture in pictures:
        files = [] if spec.mode == "depth" else [picture]
        files += [] if spec.mode == "rgb" else [xyz_beside(picture)]
        content = " ".join(_content(path) for path in files)
        if content in seen:
            raise DataError(
                f"{picture}: is the same part as {seen[content]}; parts must be unique: leave one out."
            )
        seen[content] = picture
        if spec.training_data.has_seen(hashlib.sha256(content.encode()).hexdigest()):
            trained_on.append(picture)
    if trained_on:
        raise DataError(
            f"{len(trained_on)} of {len(pictures)} parts were used to train the model (such as "
            f"{trained_on[0]}): their scores are too low to calibrate a threshold; leave them out."
        )
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()


def _content(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as exc:
        raise DataError(f"{path}: cannot be read ({reason(exc)}).") from exc


def changed_text(model: AnyModel, new: Manifest, *, written: bool) -> str:
    """Describe the old and the new threshold, and what the new one guarantees."""
    old, calibration = model.manifest, new.calibration
    assert calibration is not None  # noqa: S101  # `revised` puts one there
    siblings = sorted(
        path
        for path in model.path.parent.glob(f"{model.path.name.split('.')[0]}.*onnx")
        if path != model.path
    )
    lines = [
        f"model       {model.path} ({new.model_id}, {new.precision})",
        f"threshold   {old.threshold.value:.6g} -> {new.threshold.value:.6g}",
        f"revision    {calibration.revision}: {calibration.origin}, {calibration.operator}, "
        f"{calibration.made}",
        statement(new.threshold),
        *(f"{path.name} keeps its own threshold: calibrate it too if it is used." for path in siblings),
        *(() if written else ("Nothing was written (--dry-run).",)),
    ]
    return "\n".join(lines)


def changed_json(model: AnyModel, new: Manifest, *, written: bool) -> str:
    """Describe the same as one JSON object."""
    assert new.calibration is not None  # noqa: S101
    content = {
        "path": str(model.path),
        "written": written,
        "old_threshold": model.manifest.threshold.model_dump(),
        "threshold": new.threshold.model_dump(),
        "statement": statement(new.threshold),
        "revision": new.calibration.revision,
        "origin": new.calibration.origin,
        "operator": new.calibration.operator,
        "made": new.calibration.made,
        "parts_sha256": new.calibration.parts_sha256,
    }
    return json.dumps(content, allow_nan=False)
