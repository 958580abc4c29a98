"""The JSON file of a part: all that its row says and more, so that a lost index can be had again from it."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ast_edge.cameras.base import Frame
from ast_edge.line.archive.row import Row, row_of
from ast_edge.line.part import PartResult
from ast_edge.model.manifest import Manifest
from ast_edge.verdict.scoring import Verdict

_MOST_BYTES = 65_536
_Int64 = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]


class FrameFacts(BaseModel):
    """What the camera said about the frame; `shape` is that of its pixels in its own pixel format."""

    model_config = ConfigDict(extra="ignore")

    number: int
    device_ns: int | None
    colour: str | None
    shape: list[int] | None


class Document(BaseModel):
    """The content: `PartResult.as_dict`, the model, the frame, and each file's name and size in bytes."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, protected_namespaces=())

    part_id: str
    run: str
    number: Annotated[int, Field(ge=0, lt=1 << 63)]
    external_id: str | None
    time: str
    encoder: _Int64 | None
    trigger: str
    recipe: str
    verdict: Verdict
    reason: str
    score: float | None
    threshold: float | None
    latency_ms: float | None
    stages_ms: dict[str, float]
    source: str
    model_id: str | None = None
    threshold_revision: int | None = None
    p_value: float | None = None
    frame: FrameFacts | None = None
    files: dict[str, int]

    def row(self) -> Row:
        """The part's row, its pictures kept. Raises ValueError for a time that is none."""
        return Row(
            self.run,
            self.number,
            datetime.fromisoformat(self.time).timestamp(),
            self.external_id,
            self.encoder,
            self.trigger,
            self.recipe,
            self.verdict,
            self.reason,
            self.score,
            self.threshold,
            self.latency_ms,
            self.source,
            "kept",
        )


def document_of(result: PartResult, files: dict[str, int]) -> bytes:
    """The JSON file of `result`, whose other files are `files`."""
    row, spec, inspection = row_of(result, "kept"), result.spec, result.inspection
    calibration = spec.calibration if isinstance(spec, Manifest) else None
    content = {
        **result.as_dict(),
        # What came from outside, and numbers, as they stand in the index.
        **{name: value for name, value in row._asdict().items() if name in Document.model_fields},
        "time": result.as_dict()["time"],
        "stages_ms": {name: float(ms) for name, ms in result.stages_ms.items() if math.isfinite(ms)},
        "model_id": spec.model_id if isinstance(spec, Manifest) else None,
        "threshold_revision": calibration.revision if calibration is not None else None,
        "p_value": inspection.p_value if inspection is not None else None,
        "frame": _frame_facts(result.frame) if result.frame is not None else None,
        "files": files,
    }
    return Document.model_validate(content).model_dump_json(indent=1).encode() + b"\n"


def _frame_facts(frame: Frame) -> FrameFacts:
    shape = None if frame.pixels is None else list(frame.pixels.shape)
    return FrameFacts(number=frame.number, device_ns=frame.device_ns, colour=frame.colour, shape=shape)


def read_document(path: Path) -> Document | None:
    """The content of a part's JSON file; None for one that is not whole or not ours."""
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
        document = Document.model_validate_json(data)
        document.row()
    except (OSError, ValidationError, ValueError, OverflowError):
        return None
    return document if len(data) <= _MOST_BYTES else None
