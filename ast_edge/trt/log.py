"""TensorRT's messages, kept for errors and shown nowhere else."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ast_edge.trt import flavours
from ast_edge.trt.layers import BEGIN

if TYPE_CHECKING:
    import tensorrt as trt
else:
    trt = flavours.library()

_KEPT = 8


class Log(trt.ILogger):  # type: ignore[misc]  # TensorRT may be absent where the types are checked
    """Keeps the last errors and warnings, and the list of built layers if there is one.

    May be called from several threads, as TensorRT does.
    """

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: deque[str] = deque(maxlen=_KEPT)
        self.warnings: deque[str] = deque(maxlen=_KEPT)
        self.layers = ""

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT for every message."""
        if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
            self.errors.append(" ".join(msg.split()))
        elif severity == trt.ILogger.WARNING:
            self.warnings.append(" ".join(msg.split()))
        elif msg.startswith(BEGIN):
            self.layers = msg

    def words(self) -> str:
        """The errors so far in one line, or the warnings if there are none; clears both.

        TensorRT 8 reports an unsuitable driver as a warning.
        """
        said = (
            "; ".join(dict.fromkeys(self.errors or self.warnings))
            or f"{flavours.in_use().title} gave no reason"
        )
        self.errors.clear()
        self.warnings.clear()
        return said
