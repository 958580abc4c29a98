"""Good parts as networks judged them that were not trained on them: what a threshold is computed from."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from ast_edge.frames.levels import GreyLevels
from ast_edge.verdict.calibration import GoodParts


class JudgedPart(BaseModel):
    """A good part: its file, score, largest map value, and grey levels in the modes with pictures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    part: str
    score: float
    map_maximum: float
    levels: GreyLevels | None = None


def evidence(judged: Sequence[JudgedPart], sha256: str) -> GoodParts:
    """What a calibration takes from these parts, whose files have the digest `sha256`."""
    return GoodParts(
        [part.score for part in judged],
        [part.map_maximum for part in judged],
        [part.levels for part in judged if part.levels is not None],
        sha256,
    )
