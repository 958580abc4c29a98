"""The fastest engine for a CPU: proven, timed in turns, and kept beside the model for later opens."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import random
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import datetime, timezone
from statistics import median
from time import perf_counter
from typing import NamedTuple

from ast_edge.backends.base import Backend
from ast_edge.backends.onnx_runtime import OnnxRuntimeBackend
from ast_edge.backends.openvino import OpenVinoBackend
from ast_edge.backends.proof import SCORE_TOLERANCE, Parity, prove
from ast_edge.backends.settling import settled
from ast_edge.errors import BackendError, ParityError
from ast_edge.machine.processor import this_processor
from ast_edge.model.arrays import Array
from ast_edge.model.engine_choice import Choice, CpuEngine, Kept, Timed, kept_choice
from ast_edge.model.onnx_file import ModelFile, choice_path
from ast_edge.model.references import load_references

_OPENERS: dict[CpuEngine, type[OnnxRuntimeBackend] | type[OpenVinoBackend]] = {
    "onnxruntime": OnnxRuntimeBackend,
    "openvino": OpenVinoBackend,
}
# The first is taken unless the other takes at most this share of its time: noise must not decide.
_CLEARLY = 0.95
# The packages that hold a module; its version is that of whichever is installed.
_PACKAGES: Mapping[CpuEngine, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-rocm"),
    "openvino": ("openvino",),
}
_BLOCK, _MOST_PARTS = 10, 100
_WARM_UP_S, _MEASURE_S = 2.0, 6.0


class _Proven(NamedTuple):
    engine: Backend
    parity: Parity


def installed() -> dict[CpuEngine, str]:
    """The libraries of this machine with their versions; nothing is imported."""
    return {name: _version(name) for name in _OPENERS if importlib.util.find_spec(name) is not None}


def kept_here(model: ModelFile) -> Kept:
    """What is kept for `model` on this machine. Raises ModelError if the file is damaged."""
    if not choice_path(model.path).exists():  # the usual case costs nothing more
        return Kept(None, None)
    return kept_choice(model, this_processor(), installed())


def why_not_chosen(model: ModelFile, void: str | None, *, asked: bool) -> str | None:
    """Why ONNX Runtime is used instead of a choice; None if no choice was `asked` for or ever made."""
    if void is None and not asked:
        return None
    why = void or "the engines were not measured on this machine"
    return f"ONNX Runtime, since {why}: run `ast-edge verify {model.path} --backend auto`"


def measure(model: ModelFile) -> Choice:
    """Prove and time the engines with one thread per core each; takes some seconds.

    Raises ModelError without reference vectors, BackendError if no library is installed, ParityError if none
    reproduces the model.
    """
    libraries = installed()
    left_out: dict[CpuEngine, str] = {
        name: f"{name} is not installed" for name in _OPENERS if name not in libraries
    }
    if not libraries:
        raise BackendError(f"{model.path}: no engine is installed; `ast-edge doctor` says what to install.")
    with ExitStack() as stack:
        proven = _prove(model, libraries, left_out, stack)
        if not proven:
            raise ParityError(f"{model.path}: no engine can be chosen: {'; '.join(left_out.values())}.")
        times = _in_turns({name: one.engine for name, one in proven.items()}, _part_of(model))
        timed = [_timed(name, one, times[name]) for name, one in proven.items()]
    first, *others = timed
    fastest = min(others, key=lambda one: one.median_ms, default=first)
    return Choice(
        network_sha256=model.manifest.network_sha256,
        processor=this_processor(),
        libraries=libraries,
        timed=tuple(timed),
        left_out=left_out,
        chosen=fastest.backend if fastest.median_ms <= _CLEARLY * first.median_ms else first.backend,
        at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _version(module: CpuEngine) -> str:
    for package in _PACKAGES[module]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    return "of unknown version"


def _prove(
    model: ModelFile, libraries: Iterable[CpuEngine], left_out: dict[CpuEngine, str], stack: ExitStack
) -> dict[CpuEngine, _Proven]:
    """The engines that reproduce the model; why others do not is added to `left_out`."""
    references, _ = load_references(model)
    proven: dict[CpuEngine, _Proven] = {}
    for name in libraries:
        try:
            engine = stack.enter_context(_OPENERS[name](model))
            parity = prove(engine, references, model.manifest, SCORE_TOLERANCE[model.manifest.precision])
        except BackendError as exc:
            left_out[name] = str(exc)
            continue
        if parity.ok:
            proven[name] = _Proven(engine, parity)
        else:
            left_out[name] = f"{engine.name} does not reproduce the model: {parity.differences}"
    return proven


def _part_of(model: ModelFile) -> dict[str, Array]:
    """The first reference vector; a batch that must be larger than one is filled with copies."""
    count = max(model.manifest.inputs[0].shape[0], 1)
    return load_references(model)[0].subset([0] * count).inputs


def _in_turns(
    engines: Mapping[CpuEngine, Backend], part: Mapping[str, Array]
) -> dict[CpuEngine, list[float]]:
    """Milliseconds of every engine, in blocks in random order, the first part of a block not counted."""
    for engine in engines.values():
        _warm_up(engine, part)
    times: dict[CpuEngine, list[float]] = {name: [] for name in engines}
    order, shuffled = list(engines), random.Random(0)  # noqa: S311 (no secret)
    started = perf_counter()
    while not all(times.values()) or (
        min(map(len, times.values())) < _MOST_PARTS and perf_counter() - started < _MEASURE_S
    ):
        shuffled.shuffle(order)  # so that no engine always follows the same one, whose threads may still spin
        for name in order:
            engines[name].run(part)
            begun = perf_counter()
            for _ in range(_BLOCK):
                times[name].append(_clocked_ms(engines[name], part))
                if perf_counter() - begun > _MEASURE_S / 4:
                    break
    return times


def _warm_up(engine: Backend, part: Mapping[str, Array]) -> None:
    times: list[float] = []
    started = perf_counter()
    while not settled(times) and len(times) < _MOST_PARTS and perf_counter() - started < _WARM_UP_S:
        times.append(_clocked_ms(engine, part))


def _clocked_ms(engine: Backend, part: Mapping[str, Array]) -> float:
    started = perf_counter()
    engine.run(part)
    return (perf_counter() - started) * 1e3


def _timed(backend: CpuEngine, one: _Proven, times_ms: list[float]) -> Timed:
    return Timed(
        backend=backend,
        name=one.engine.name,
        proven=one.parity.proven,
        parts=len(times_ms),
        least_ms=round(min(times_ms), 4),
        median_ms=round(median(times_ms), 4),
    )
