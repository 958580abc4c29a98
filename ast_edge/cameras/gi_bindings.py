"""The system's Python bindings of the GObject libraries GStreamer and Aravis."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import warnings
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

from ast_edge.errors import CameraError

# Where Debian, Ubuntu and JetPack install their Python packages.
_SYSTEM = Path("/usr/lib/python3/dist-packages")
_PACKAGES = {
    "Gst": "python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0",
    "GstVideo": "python3-gi gir1.2-gst-plugins-base-1.0",
    "Aravis": "python3-gi gir1.2-aravis-0.8",
}


_loading = threading.RLock()  # sys.modules holds a partial package during the import


def load(namespace: str, version: str) -> Any:
    """Return a namespace of `gi.repository` in this version; GStreamer is initialised.

    In a virtual environment without system packages, PyGObject alone is loaded from the system, if its
    compiled part fits this Python. Raises CameraError that names the missing packages.
    """
    with _loading:
        return _loaded(namespace, version)


@cache
def _loaded(namespace: str, version: str) -> Any:
    gi = _gi(namespace)
    try:
        gi.require_version(namespace, version)
        with warnings.catch_warnings():
            # Newer Pythons warn about the importer of older PyGObjects.
            warnings.simplefilter("ignore", ImportWarning)
            module = importlib.import_module(f"gi.repository.{namespace}")
    except (ValueError, ImportError) as exc:
        raise CameraError(f"{namespace} {version} is missing: {exc}; {_install(namespace)}.") from exc
    if namespace == "Gst" and not module.is_initialized():
        module.init(None)
    return module


def _gi(namespace: str) -> Any:
    try:
        return importlib.import_module("gi")
    except ImportError as exc:
        package = _SYSTEM / "gi"
        if not any((package / f"_gi{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
            raise CameraError(
                f"{namespace} needs the system's PyGObject, which this Python does not see or cannot use; "
                f"{_install(namespace)}, and make the virtual environment with the system's own Python "
                "(python3 -m venv --system-site-packages)."
            ) from exc
        return _load_alone(package)


def _load_alone(package: Path) -> Any:
    """Import the package `gi` from a folder that is not on the path."""
    spec = importlib.util.spec_from_file_location(
        "gi", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None  # noqa: S101 (an .py file always has one)
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules["gi"] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as exc:
        for name in [name for name in sys.modules if name == "gi" or name.startswith("gi.")]:
            del sys.modules[name]
        if isinstance(exc, Exception):
            raise CameraError(f"the system's PyGObject does not load in this Python: {exc}.") from exc
        raise
    return module


def _install(namespace: str) -> str:
    return f"Debian, Ubuntu, JetPack: sudo apt install {_PACKAGES.get(namespace, 'python3-gi')}"
