"""One run of the stopwatch: open, warm up, measure, and report what disturbed the measurement."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

from ast_edge.backends import BackendName, Engine, open_backend
from ast_edge.errors import UsageError
from ast_edge.inspector import Inspector
from ast_edge.latency.figures import by_stage, figures, histogram, percentile
from ast_edge.latency.frames import FrameKind, made_part, parse_frame, read_kind, usual_frame
from ast_edge.latency.result import ENGINE_STAGES, Candidate, ModelFacts, Ratio, Result, WarmUpFacts
from ast_edge.latency.stopwatch import Limits, Part, Times, WarmUp, interleaved, measure, warm_up
from ast_edge.machine.facts import facts
from ast_edge.machine.watch import Load, Surroundings, Watch
from ast_edge.model.engine_file import AnyModel, EngineFile
from ast_edge.model.manifest import ModelSpec, Precision
from ast_edge.model.onnx_file import read_model_file
from ast_edge.progress import say

USUAL_LIMITS = Limits(count=None, seconds=10.0)
# Load of other programs that is reported as a warning: this share of all processors, at most this of one.
_MUCH_LOAD, _MOST_OF_ONE = 0.05, 0.25


@dataclass(frozen=True)
class Asked:
    """Settings of a measurement, as in the options of `ast-edge benchmark`."""

    backend: BackendName | Engine | None = None
    frame: str | None = None
    picture: Path | None = None
    limits: Limits = USUAL_LIMITS
    concurrency: int = 1
    threads: int | None = None


class Opened(NamedTuple):
    """An opened model with the part to measure it with."""

    file: AnyModel
    inspector: Inspector
    kind: FrameKind
    part: Part
    warm_up: WarmUp
    open_s: float


def benchmark(model: Path, against: Path | None, asked: Asked) -> Result:
    """Measure a model; with `against`, alternate between the two.

    Raises ModelError and BackendError as `Inspector.open` does, FrameError for a frame that the model cannot
    judge, UsageError and DataError for a frame that cannot be parsed or read.
    """
    paths = [model] if against is None else [model, against]
    with contextlib.ExitStack() as stack:
        opened = [_open(path, asked, stack) for path in paths]
        with Watch() as watch:
            if against is None:
                first = opened[0]
                times = [measure(first.inspector, first.part, asked.limits, callers=asked.concurrency)]
                ratio = None
            else:
                inspectors, parts = [each.inspector for each in opened], [each.part for each in opened]
                times, blocks = interleaved(inspectors, parts, asked.limits)
                ratio = ratio_of(*blocks)
        # Power of two alternating models cannot be separated, nor power drawn between the counted parts.
        seen = watch.seen(len(times[0].total_ms) if against is None else None, gpu=_on_gpu(opened))
        candidates = [
            _candidate(name, one, measured, asked)
            for name, one, measured in zip(_names(paths), opened, times, strict=True)
        ]
    return Result(
        **dict(candidates[0]),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        against=candidates[1] if against is not None else None,
        ratio=ratio,
        surroundings=seen,
        machine=facts(),
        warnings=tuple(_warnings(candidates, seen)),
    )


def in_precision(model: Path, precision: Precision) -> Path:
    """Return the file beside `model` that holds its network in `precision`; FP16 is written if missing.

    Raises UsageError when there is none, or for an engine, whose precision is fixed.
    """
    if model.suffix == ".engine":
        raise UsageError(f"{model}: an engine's precision is fixed at build time; leave out --precision.")
    from ast_edge.backends import engine_build  # noqa: PLC0415 (only where it is asked for)

    return engine_build.in_precision(read_model_file(model), precision, lambda _: None).path


def _open(path: Path, asked: Asked, stack: contextlib.ExitStack) -> Opened:
    started = perf_counter()
    file, backend = open_backend(path, threads=asked.threads, backend=asked.backend)
    # Brightness and size of a generated frame differ from those of good parts; the engine must run anyway.
    spec: ModelSpec = file.manifest.model_copy(update={"trained": None})
    inspector = stack.enter_context(Inspector(spec, backend))
    opened_s = perf_counter() - started
    if inspector.engine_choice is not None:
        say(f"{path}: engine: {inspector.engine_choice}")
    kind, part = _part(asked, file.manifest)
    return Opened(file, inspector, kind, part, warm_up(inspector, part), round(opened_s, 3))


def _part(asked: Asked, spec: ModelSpec) -> tuple[FrameKind, Part]:
    if asked.picture is not None:
        return read_kind(asked.picture, spec)
    kind = usual_frame(spec) if asked.frame is None else parse_frame(asked.frame, spec)
    return kind, made_part(kind)


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the names of files, or their paths where two have the same name."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else list(map(str, paths))


def _candidate(name: str, opened: Opened, times: Times, asked: Asked) -> Candidate:
    total = np.array(times.total_ms)
    stages = by_stage(times.stages_ms)
    inside = sum(stages.values(), np.zeros(total.size))
    engine = sum((stages[name] for name in ENGINE_STAGES if name in stages), np.zeros(total.size))
    manifest, found = opened.file.manifest, figures(total)
    return Candidate(
        model=ModelFacts(
            file=name,
            model_id=manifest.model_id,
            mode=manifest.mode,
            preset=manifest.preset,
            precision=_precision(opened.file),
            image_size=manifest.preprocessing.image_size,
            bytes=opened.file.size,
        ),
        engine=opened.inspector.engine,
        threads=asked.threads,
        frame=opened.kind,
        concurrency=asked.concurrency,
        warm_up=WarmUpFacts(open_s=opened.open_s, **vars(opened.warm_up)),
        count=total.size,
        stages_ms={name: figures(values) for name, values in stages.items()},
        total_ms=found,
        beside_stages_ms=figures(total - inside),
        outside_engine_ms=figures(total - engine),
        jitter=None if found.jitter is None else round(found.jitter, 4),
        throughput_per_s=round(total.size / times.seconds, 3),
        histogram=histogram(total),
    )


def _on_gpu(opened: Sequence[Opened]) -> bool:
    return any(isinstance(each.file, EngineFile) for each in opened)


def _precision(file: AnyModel) -> str:
    return file.info.build.precision if isinstance(file, EngineFile) else file.manifest.precision


def ratio_of(first: Sequence[float], other: Sequence[float]) -> Ratio:
    """Return the ratio of one model's time to another's, by the medians of their blocks."""
    ratios = np.array(first) / np.array(other)
    return Ratio(
        median=round(float(np.median(ratios)), 4),
        lower_quartile=percentile(ratios, 25),
        upper_quartile=percentile(ratios, 75),
        blocks=ratios.size,
    )


def _warnings(candidates: Sequence[Candidate], seen: Surroundings) -> list[str]:
    found = [
        f"{each.model.file}: the times had not settled after {each.warm_up.count} parts"
        for each in candidates
        if not each.warm_up.settled
    ]
    if said := load_warning(seen.load):
        found.append(said)
    if seen.throttled:
        found.append(f"clocks were throttled by {', '.join(seen.throttled)}")
    return found


def load_warning(load: Load) -> str | None:
    """Say how busy other programs were, if they were busy enough to disturb a measurement."""
    limit = min(_MUCH_LOAD * load.cores, _MOST_OF_ONE)
    if load.other_cores is None or load.other_cores <= limit:
        return None
    return (
        f"other programs kept {load.other_cores:.2f} of {load.cores} processors busy meanwhile; an idle "
        "machine is faster"
    )
