"""GStreamer and Aravis through the system bindings, and the cameras found."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ast_edge.cameras import pylon, realsense
from ast_edge.cameras.gi_bindings import load
from ast_edge.doctor.finding import Finding
from ast_edge.doctor.software import version_of
from ast_edge.errors import CameraError
from ast_edge.machine.asking import ROOT
from ast_edge.machine.jetson import is_jetson

_CSI = "nvarguscamerasrc"


def look_at_gstreamer() -> list[Finding]:
    """Check GStreamer (V4L2, RTSP and CSI cameras) and the element for the CSI cameras of a Jetson."""
    gst, problem = _loaded("Gst", "1.0", "GStreamer")
    if gst is None:
        return [problem]
    found = Finding("ok", "GStreamer", gst.version_string().removeprefix("GStreamer "))
    return [found, csi_finding(there=gst.ElementFactory.find(_CSI) is not None, jetson=is_jetson())]


def csi_finding(*, there: bool, jetson: bool) -> Finding:
    """Return the finding for the presence of the element for CSI cameras."""
    if there:
        return Finding("ok", "CSI cameras", f"GStreamer has {_CSI}")
    if not jetson:
        return Finding("ok", "CSI cameras", "only on a Jetson")
    fix = "Install it with `sudo apt install nvidia-l4t-gstreamer`."
    return Finding("warning", "CSI cameras", f"GStreamer has no {_CSI}", fix)


def look_at_aravis() -> list[Finding]:
    """Check Aravis, which GigE Vision cameras need."""
    aravis, problem = _loaded("Aravis", "0.8", "Aravis")
    if aravis is None:
        return [problem]
    numbers = (getattr(aravis, f"get_{part}_version", None) for part in ("major", "minor", "micro"))
    version = ".".join(str(ask()) for ask in numbers if ask is not None)
    return [Finding("ok", "Aravis", version or "0.8")]


def look_at_realsense() -> list[Finding]:
    """Check the SDK of RealSense depth cameras."""
    return [_library("RealSense", "pyrealsense2", realsense.library)]


def look_at_pylon() -> list[Finding]:
    """Check pypylon, which Basler cameras need."""
    return [_library("pylon", "pypylon", pylon.library)]


def _library(what: str, package: str, load_it: Callable[[str], object]) -> Finding:
    try:
        load_it(what)
    except CameraError as exc:
        return Finding("note", what, "not usable by this Python", str(exc))
    return Finding("ok", what, version_of(package) or "of unknown version")


def _loaded(namespace: str, version: str, what: str) -> tuple[Any, Finding]:
    try:
        return load(namespace, version), Finding("ok", what, version)
    except CameraError as exc:
        return None, Finding("note", what, "not usable by this Python", str(exc))


def look_at_cameras(root: Path = ROOT) -> list[Finding]:
    """List the cameras that this machine sees; the network search takes a second."""
    from ast_edge.cameras import opening  # noqa: PLC0415 (needs numpy)

    search = getattr(opening, "list_cameras", None)
    if search is not None:
        return cameras_findings([str(camera) for camera in search()], [])
    devices = sorted((root / "dev").glob("video[0-9]*"))
    locked = [str(path) for path in devices if not os.access(path, os.R_OK | os.W_OK)]
    return cameras_findings([*map(str, devices), *_gige_cameras()], locked)


def cameras_findings(found: Sequence[str], locked: Sequence[str]) -> list[Finding]:
    """Return the finding for the cameras found; `locked` are those this user may not read."""
    if not found:
        fix = "Check power, cable and subnet; folders and videos of parts need no camera."
        return [Finding("note", "cameras", "none answers", fix)]
    if locked:
        fix = "Add the user to the group with `sudo usermod -aG video $USER` and log in again."
        return [Finding("warning", "cameras", f"no rights on {', '.join(locked)}", fix)]
    return [Finding("ok", "cameras", ", ".join(found))]


def _gige_cameras() -> list[str]:
    from ast_edge.cameras.gige import list_devices  # noqa: PLC0415 (needs numpy)

    try:
        aravis = load("Aravis", "0.8")
    except CameraError:
        return []
    return [f"gige://{device.serial} ({device.model} at {device.address})" for device in list_devices(aravis)]
