"""The result file of `ast-edge benchmark`: schema, writing, reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from ast_edge.errors import DataError
from ast_edge.files import write_text
from ast_edge.latency.figures import Figures, Histogram
from ast_edge.latency.frames import FrameKind
from ast_edge.machine.record import Strict
from ast_edge.machine.watch import Surroundings
from ast_edge.wording import first_problem

SCHEMA_VERSION = 1
# The engine's own stages; everything else happens before or after the engine.
ENGINE_STAGES = ("copy_in", "engine", "copy_out")


class ModelFacts(Strict):
    """The measured network: the name of the file without its folder, and facts of its manifest.

    `preset` is None in results of the C++ library, which does not read it.
    """

    file: str
    model_id: str
    mode: str
    preset: str | None
    precision: str
    image_size: int
    bytes: int


class WarmUpFacts(Strict):
    """Seconds to open the model, then the warm-up inspections; `settled` as in `stopwatch.WarmUp`."""

    open_s: float
    count: int
    seconds: float
    first_ms: float
    settled: bool


class Candidate(Strict):
    """One model's times in milliseconds.

    `stages_ms` are measured inside (by CUDA events on a GPU), `total_ms` from call to return on one
    monotonic clock; `beside_stages_ms` is the difference. `outside_engine_ms` is the total minus the engine
    and the copies to and from it. A percentile that too few parts support is null; `jitter` is p99 / p50.
    """

    model: ModelFacts
    engine: str
    threads: int | None
    frame: FrameKind
    concurrency: int
    warm_up: WarmUpFacts
    count: int
    stages_ms: dict[str, Figures]
    total_ms: Figures
    beside_stages_ms: Figures
    outside_engine_ms: Figures
    jitter: float | None
    throughput_per_s: float
    histogram: Histogram


class Ratio(Strict):
    """Ratio of the first model's time to the other's, over blocks of parts measured alternately: median, and
    quartiles if there were enough blocks.
    """

    median: float
    lower_quartile: float | None
    upper_quartile: float | None
    blocks: int


class Result(Candidate):
    """One run of the stopwatch, in Python or by `ast_edge_bench` of the C++ library.

    `against` is the model that alternated with the first; `warnings` name what makes the figures less
    reliable. The C++ program does not watch its `surroundings`; its `machine` has `language` "C++".
    """

    schema_version: Literal[1] = 1
    benchmark: Literal["latency"] = "latency"
    date: str
    against: Candidate | None
    ratio: Ratio | None
    surroundings: Surroundings | None
    machine: dict[str, Any]
    warnings: tuple[str, ...]


def write_result(path: Path, result: Result) -> None:
    """Write the result atomically, as indented JSON."""
    write_text(path, json.dumps(result.model_dump(mode="json"), indent=1, allow_nan=False) + "\n")


def read_result(path: Path) -> Result:
    """Read a result. Raises DataError for another kind of file or another schema version."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as exc:
        raise DataError(f"{path}: cannot be read as a result of `ast-edge benchmark` ({exc}).") from exc
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{path}: expected a result of `ast-edge benchmark` with schema_version {SCHEMA_VERSION}, found "
            f"{version!r}; measure again with this version."
        )
    try:
        return Result.model_validate(content)
    except ValidationError as exc:
        key, said = first_problem(exc)
        raise DataError(
            f"{path}: is not a result of `ast-edge benchmark`: {key or 'the file'}: {said}; measure again."
        ) from exc
