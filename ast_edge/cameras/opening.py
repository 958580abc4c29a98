"""Opening and listing cameras; a module, and its library, is imported only when its kind is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ast_edge.cameras.base import Camera
from ast_edge.cameras.uri import CameraUri, parse_uri
from ast_edge.errors import CameraError, UsageError

_KINDS = {
    "dir": "recorded:FolderCamera",
    "file": "recorded:VideoCamera",
    "synthetic": "recorded:SyntheticCamera",
    "v4l2": "v4l2:V4l2Camera",
    "gige": "gige:GigeCamera",
    "gst": "gstreamer:pipeline_camera",
    "rtsp": "rtsp:rtsp_camera",
    "csi": "gstreamer:csi_camera",
    "realsense": "realsense:RealSenseCamera",
    "pylon": "pylon:PylonCamera",
}
_VIDEO_DEVICES = Path("/sys/class/video4linux")


def open_camera(uri: str) -> Camera:
    """Open a camera by its URI; the options of each kind are described at the top of its module.

    Raises UsageError for an invalid URI, CameraError for a camera that is not available.
    """
    parsed = parse_uri(uri)
    if parsed.scheme not in _KINDS:
        raise UsageError(
            f"{parsed.public}: unknown kind of camera {parsed.scheme}://; known: "
            f"{', '.join(f'{kind}://' for kind in _KINDS)}."
        )
    module, _, name = _KINDS[parsed.scheme].partition(":")
    kind = getattr(importlib.import_module(f"ast_edge.cameras.{module}"), name)
    return cast("Callable[[CameraUri], Camera]", kind)(parsed)


@dataclass(frozen=True)
class FoundCamera:
    """A camera found on this machine: the URI that opens it, and its own name."""

    uri: str
    description: str

    def __str__(self) -> str:
        return f"{self.uri} ({self.description})"


def list_cameras() -> list[FoundCamera]:
    """List the cameras that answer, each under the URI that opens it, and the CSI port of a Jetson."""
    return [
        *_video_devices(),
        *_gige_cameras(),
        *_csi_cameras(),
        *_by_serial("pylon"),
        *_by_serial("realsense"),
    ]


def _video_devices() -> list[FoundCamera]:
    found = []
    for device in sorted(_VIDEO_DEVICES.glob("video*")):
        try:
            name = (device / "name").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            continue
        found.append(FoundCamera(f"v4l2:///dev/{device.name}", name))
    return found


def _gige_cameras() -> list[FoundCamera]:
    from ast_edge.cameras.gi_bindings import load  # noqa: PLC0415 (only where cameras are listed)
    from ast_edge.cameras.gige import list_devices  # noqa: PLC0415

    try:
        devices = list_devices(load("Aravis", "0.8"))
    except CameraError:
        return []
    return [FoundCamera(f"gige://{it.serial or it.address}", f"{it.model} at {it.address}") for it in devices]


def _csi_cameras() -> list[FoundCamera]:
    from ast_edge.cameras.gi_bindings import load  # noqa: PLC0415 (only where cameras are listed)

    try:
        there = load("Gst", "1.0").ElementFactory.find("nvarguscamerasrc") is not None
    except CameraError:
        return []
    return [FoundCamera("csi://0", "CSI, by nvarguscamerasrc")] if there else []


def _by_serial(kind: str) -> list[FoundCamera]:
    """The cameras that the library of `kind` finds, none where it is not installed."""
    module = importlib.import_module(f"ast_edge.cameras.{kind}")
    try:
        return [FoundCamera(f"{kind}://{serial}", name) for serial, name in module.list_devices()]
    except CameraError:
        return []
