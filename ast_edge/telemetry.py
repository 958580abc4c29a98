"""Switches off the telemetry of libraries: a station belongs to a factory's network.

ONNX Runtime reads its switch once, when its library is loaded, so `import ast_edge` sets it; a program that
loads ONNX Runtime first must set ORT_DISABLE_TELEMETRY itself. OpenVINO's Python package reports its own
import through a package that is optional.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, cast

_SWITCHES = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY")
_OF_OPENVINO = "openvino_telemetry"


def switch_off() -> None:
    """Set the switches that ONNX Runtime and the Hugging Face client read when they are loaded."""
    for name in _SWITCHES:
        os.environ[name] = "1"


@contextlib.contextmanager
def without_openvino_telemetry() -> Iterator[None]:
    """Import OpenVINO inside this block: its telemetry package appears as not installed there.

    Its documented opt-out is a file in the home folder that affects every program of that user, and that a
    station with a read-only home cannot write; without the package OpenVINO uses its own stub.
    """
    modules = cast("dict[str, Any]", sys.modules)
    before = {name: modules.pop(name) for name in list(modules) if name.split(".")[0] == _OF_OPENVINO}
    modules[_OF_OPENVINO] = None
    try:
        yield
    finally:
        del modules[_OF_OPENVINO]
        modules.update(before)
