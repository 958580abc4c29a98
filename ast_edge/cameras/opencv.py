"""Import of OpenCV, which is optional."""

from __future__ import annotations

import importlib
from types import ModuleType

from ast_edge.cameras.uri import CameraUri
from ast_edge.errors import CameraError
from ast_edge.wording import install_hint


def opencv(uri: CameraUri) -> ModuleType:
    """Return the module. Raises CameraError if it is missing or does not load."""
    try:
        return importlib.import_module("cv2")
    except ImportError as exc:
        raise CameraError(
            f"{uri.public}: needs OpenCV, which is not installed or does not load ({exc}); "
            f"run: {install_hint('cpu')} (on a Jetson use the OpenCV of JetPack)."
        ) from exc
