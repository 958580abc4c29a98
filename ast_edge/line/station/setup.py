"""The components of a station."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from ast_edge.cameras.base import Camera
from ast_edge.line.outputs.base import Output
from ast_edge.line.station.recipes import Recipes
from ast_edge.line.station.timing import Timing

Triggering = Literal["free", "camera", "external"]
PAUSED = "the station is paused by an operator"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Components of a station. `software_trigger`: every trigger requests a frame from the camera;
    `one_frame_each`: the camera waits for triggers, from this station or others, and delivers one frame for
    each.
    """

    name: str
    run: str
    camera: Camera
    recipes: Recipes
    outputs: Sequence[Output]
    triggering: Triggering = "external"
    software_trigger: bool = False
    timing: Timing = field(default_factory=Timing)
    one_frame_each: bool = False
