"""Reasons as numbers, for outputs that have no room for sentences."""

from __future__ import annotations

import re

from ast_edge.verdict.scoring import Verdict

OTHER = 99
# What each number means, and by which words of the reason it is known. Numbers are never given anew: PLC
# programs know them.
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
    """0 but for a fault; for a fault the first number of `REASONS` whose words are in its reason, else 99."""
    if verdict != "fault":
        return 0
    return next((code for code, pattern in _PATTERNS if pattern.search(reason)), OTHER)
