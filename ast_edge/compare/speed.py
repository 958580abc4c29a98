"""The latency of two models on one part, alternating, so that disturbances affect both."""

from __future__ import annotations

from ast_edge.compare.result import Latency
from ast_edge.data import LoadedSample
from ast_edge.inspector import Inspector
from ast_edge.latency.figures import figures
from ast_edge.latency.run import load_warning, ratio_of
from ast_edge.latency.stopwatch import Limits, Part, interleaved, warm_up
from ast_edge.machine.watch import Watch

_WARM_UP = 50  # parts at most: both models have just judged many


def latency(
    inspectors: tuple[Inspector, Inspector],
    name: str,
    read: tuple[LoadedSample, LoadedSample],
    limits: Limits,
) -> Latency:
    """Measure both models on the part `name`, which each of them reads in its mode."""
    parts = [_part(one) for one in read]
    warm = [warm_up(*each, most=_WARM_UP) for each in zip(inspectors, parts, strict=True)]
    with Watch() as watch:
        times, blocks = interleaved(inspectors, parts, limits)
    warnings = [
        f"the times of the {which} model had not settled after {one.count} parts"
        for which, one in zip(("old", "new"), warm, strict=True)
        if not one.settled
    ]
    if said := load_warning(watch.seen(None).load):
        warnings.append(said)
    old, new = (figures(one.total_ms) for one in times)
    return Latency(
        part=name, old=old, new=new, ratio=ratio_of(blocks[1], blocks[0]), warnings=tuple(warnings)
    )


def _part(loaded: LoadedSample) -> Part:
    part: Part = {}
    if loaded.image is not None:
        part = {"frame": loaded.image, "colour": "rgb"}
    if loaded.depth_m is not None:
        part["depth_m"] = loaded.depth_m
    return part
