"""Judging parts that lie in files: one that cannot be read or does not fit the model is a fault."""

from __future__ import annotations

import math

import numpy as np

from ast_edge.data import LoadedSample, Sample, load
from ast_edge.errors import DataError, FrameError
from ast_edge.inspector import Inspection, Inspector
from ast_edge.model.manifest import Mode, ModelSpec


def load_or_why(sample: Sample, mode: Mode) -> LoadedSample | str:
    """Read the inputs of `mode` of a part, or say why that cannot be done."""
    try:
        return load(sample, mode)
    except DataError as exc:
        return str(exc).removeprefix(f"{sample.name}: ")


def inspect_loaded(inspector: Inspector, loaded: LoadedSample | str) -> Inspection:
    """Judge a part as it was read, or not. BackendError when the engine fails, as it would on every part."""
    if isinstance(loaded, str):
        return unjudged(inspector.spec, loaded)
    try:
        colour = None if loaded.image is None else "rgb"
        return inspector.inspect(loaded.image, colour=colour, depth_m=loaded.depth_m)  # type: ignore[arg-type]
    except FrameError as exc:
        return unjudged(inspector.spec, str(exc))


def unjudged(spec: ModelSpec, reason: str) -> Inspection:
    """Return the fault of a part that no inspector took: without stages, its map unknown everywhere."""
    grid = spec.preprocessing.map_size
    unknown = np.full((grid, grid), np.nan, np.float32)
    return Inspection("fault", math.nan, spec.threshold.value, reason, unknown, {}, None, None)
