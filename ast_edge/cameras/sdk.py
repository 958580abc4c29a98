"""Cameras that a package opens: its module, and the one camera that a URI means."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from types import ModuleType

from ast_edge.cameras.uri import CameraUri
from ast_edge.errors import CameraError
from ast_edge.wording import install_hint


def module(name: str, package: str, where: str, extra: str, more: str = "") -> ModuleType:
    """Return the module `name` of `package`, which the extra brings; `where` is the camera's URI.

    Raises CameraError if it is missing or does not load; `more` is added to the advice.
    """
    try:
        return importlib.import_module(name)
    except ImportError as exc:
        raise CameraError(
            f"{where}: needs {package}, which is not installed or does not load ({exc}); "
            f"run: {install_hint(extra)}{more}."
        ) from exc


def serial_of(uri: CameraUri, found: Collection[str], check: str) -> str:
    """Return the serial number that the URI means among those found: its own, or the first without one.

    Raises CameraError if there is none; `check` says what to check then.
    """
    if not found or (uri.place and uri.place not in found):
        raise CameraError(
            f"{uri.public}: no camera with this serial number answers (cameras found: "
            f"{', '.join(found) or 'none'}); check {check}."
        )
    return uri.place or next(iter(found))
