"""The JSON file of a part: a superset of its row, from which a lost index can be rebuilt."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ast_edge.cameras.base import Frame
from ast_edge.line.part import PartRecord, PartResult
from ast_edge.model.manifest import Manifest

_MOST_BYTES = 65_536


class FrameFacts(BaseModel):
    """The camera's data about the frame; `shape` is that of its pixels in its own pixel format."""

    model_config = ConfigDict(extra="ignore")

    number: int
    device_ns: int | None
    colour: str | None
    shape: list[int] | None


class Document(BaseModel):
    """The content: the part's record, the model, the frame, and each file's name and size in bytes.

    In the file the record's fields are at the top level, with its time as text.
    """

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, protected_namespaces=())

    part: PartRecord
    stages_ms: dict[str, float]
    model_id: str | None = None
    threshold_revision: int | None = None
    p_value: float | None = None
    frame: FrameFacts | None = None
    files: dict[str, int]

    @model_validator(mode="before")
    @classmethod
    def _nested(cls, content: object) -> object:
        if not isinstance(content, dict) or isinstance(content.get("part"), PartRecord):
            return content
        time_s = datetime.fromisoformat(str(content.get("time"))).timestamp()
        return {**content, "part": {**content, "time_s": time_s}}

    def as_dict(self) -> dict[str, object]:
        """Return the content of the file."""
        own = self.model_dump(mode="json", exclude={"part"})
        return {**self.part.as_dict(), **own}


def document_of(result: PartResult, files: dict[str, int]) -> bytes:
    """Return the JSON file of `result`, whose other files are `files`."""
    spec, inspection = result.spec, result.inspection
    calibration = spec.calibration if isinstance(spec, Manifest) else None
    document = Document(
        part=result.record,
        stages_ms=result.finite_stages_ms,
        model_id=spec.model_id if isinstance(spec, Manifest) else None,
        threshold_revision=calibration.revision if calibration is not None else None,
        p_value=inspection.p_value if inspection is not None else None,
        frame=_frame_facts(result.frame) if result.frame is not None else None,
        files=files,
    )
    return json.dumps(document.as_dict(), indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _frame_facts(frame: Frame) -> FrameFacts:
    shape = None if frame.pixels is None else list(frame.pixels.shape)
    return FrameFacts(number=frame.number, device_ns=frame.device_ns, colour=frame.colour, shape=shape)


def read_document(path: Path) -> Document | None:
    """Return the content of a part's JSON file; None for an incomplete or foreign one."""
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
        document = Document.model_validate_json(data)
    except (OSError, ValidationError, ValueError, OverflowError):
        return None
    return document if len(data) <= _MOST_BYTES else None
