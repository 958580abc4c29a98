"""The components of a station, and what it asks of a judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ast_edge.cameras.base import Camera, Frame
from ast_edge.inspector import Inspection
from ast_edge.line.outputs.base import Output
from ast_edge.line.station.timing import Timing
from ast_edge.model.manifest import Mode, ModelSpec

Triggering = Literal["free", "camera", "external"]
PAUSED = "the station is paused by an operator"


class Judge(Protocol):
    """What gives a part its verdict: a recipe, or on a line without one, what only takes its picture."""

    @property
    def name(self) -> str:
        """Its name in results."""

    @property
    def mode(self) -> Mode:
        """Which inputs of a frame it uses."""

    @property
    def threshold(self) -> float:
        """The threshold; NaN without one."""

    @property
    def spec(self) -> ModelSpec | None:
        """The specification of its model, if it has one."""

    def inspect(self, frame: Frame) -> Inspection:
        """Return the verdict. Raises AstEdgeError for a frame that cannot be judged."""


class Judges(Protocol):
    """The judge in force, and changes between two parts."""

    @property
    def current(self) -> Judge:
        """The judge in force."""

    def take(self) -> Judge:
        """Return the judge for the next part; called between parts. It may wait until one can be taken."""

    def close(self) -> None:
        """Release everything."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Components of a station. `software_trigger`: every trigger requests a frame from the camera;
    `one_frame_each`: the camera waits for triggers, from this station or others, and delivers one frame for
    each.
    """

    name: str
    run: str
    camera: Camera
    recipes: Judges
    outputs: Sequence[Output]
    triggering: Triggering = "external"
    software_trigger: bool = False
    timing: Timing = field(default_factory=Timing)
    one_frame_each: bool = False
