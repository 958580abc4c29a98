"""A part as the network takes it, by the definition in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

from ast_edge.frames.levels import GreyLevels, grey_levels
from ast_edge.frames.part import Part
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import Preprocessing


@dataclass(frozen=True, eq=False)
class PreparedPart:
    """The network's inputs with a batch of one, the grey levels of its picture (None in mode depth), and
    whether the depth map shows a part (true in mode rgb).
    """

    inputs: dict[str, Array]
    levels: GreyLevels | None
    part_seen: bool


def prepare(part: Part, spec: Preprocessing) -> PreparedPart:
    """Prepare a part. Raises FrameError for a depth map with unusable values."""
    inputs = part.inputs(spec)
    levels = grey_levels(inputs["image"][0], spec.looked_at) if "image" in inputs else None
    return PreparedPart(inputs, levels, "foreground" not in inputs or bool(inputs["foreground"].any()))
