"""Reasons as numbers, for outputs without room for sentences."""

from __future__ import annotations

import re

from ast_edge.verdict.scoring import Verdict

OTHER = 99
# The meaning of each number, and the pattern by which a reason is recognised. Numbers are never reused: PLC
# programs rely on them.
REASONS: tuple[tuple[int, str, str], ...] = (
    (1, "the trigger was lost", r"trigger was lost"),
    (2, "no verdict in time", r"no verdict within|the verdict took"),
    (3, "too many parts waited", r"parts are waiting"),
    (4, "no frame, or one that may show another part", r"no frame|frame is missing|no more frames"),
    (5, "the camera's frame was lost", r"frame was lost"),
    (6, "the frame or depth map equals the one before", r"equals? the one before"),
    (
        7,
        "the frame is no part as trained: size, brightness, contrast",
        r"good parts (have|were)|no part found",
    ),
    (8, "the network gave no finite number", r"no usable score|no finite number|not finite"),
    (9, "the engine failed", r"\bengine\b|inspection failed|ONNX|CUDA|TensorRT"),
    (10, "the station was stopping", r"station (is stopping|stopped)"),
    (11, "the camera failed", r"camera|://"),
    (12, "the station was paused", r"station is paused"),
)
_PATTERNS = tuple((code, re.compile(pattern, re.IGNORECASE)) for code, _, pattern in REASONS)


def reason_code(verdict: Verdict, reason: str) -> int:
    """Return 0 for no fault, else the first number in `REASONS` whose pattern matches, else 99."""
    if verdict != "fault":
        return 0
    return next((code for code, pattern in _PATTERNS if pattern.search(reason)), OTHER)
