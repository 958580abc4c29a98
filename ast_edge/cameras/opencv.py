"""Import of OpenCV, which is optional."""

from __future__ import annotations

from types import ModuleType

from ast_edge.cameras import sdk
from ast_edge.cameras.uri import CameraUri


def opencv(uri: CameraUri) -> ModuleType:
    """Return the module. Raises CameraError if it is missing or does not load."""
    return sdk.module("cv2", "OpenCV", uri.public, "cpu", " (on a Jetson use the OpenCV of JetPack)")
