"""Video4Linux: refusals everywhere, frames where the machine has a device."""

from __future__ import annotations

from pathlib import Path

import pytest

from ast_edge.cameras.base import Frame
from ast_edge.cameras.opening import open_camera
from ast_edge.errors import CameraError, UsageError


def test_what_is_no_camera_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="there is no device /dev/video99"):
        open_camera("v4l2:///dev/video99")
    with pytest.raises(CameraError, match="there is no device"):
        open_camera(f"v4l2://{tmp_path}")
    with pytest.raises(CameraError, match="is no camera or in use"):
        open_camera("v4l2:///dev/null")
    with pytest.raises(UsageError, match="no option colour"):
        open_camera("v4l2:///dev/null?colour=7")


def test_a_device_gives_frames() -> None:
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        pytest.skip("this machine has no Video4Linux device")
    with open_camera(f"v4l2://{devices[0]}") as camera:
        assert isinstance(camera.read(10), Frame)
