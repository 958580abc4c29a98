"""Video4Linux: refusals everywhere, frames where the machine has a device."""

from __future__ import annotations

from pathlib import Path

import pytest

from ast_edge.cameras.base import Frame
from ast_edge.cameras.opening import open_camera
from ast_edge.cameras.v4l2 import exposed_between
from ast_edge.errors import CameraError, UsageError


def test_what_is_no_camera_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="there is no device /dev/video99"):
        open_camera("v4l2:///dev/video99")
    with pytest.raises(CameraError, match="there is no device"):
        open_camera(f"v4l2://{tmp_path}")
    with pytest.raises(CameraError, match="is not a camera, is in use"):
        open_camera("v4l2:///dev/null")
    with pytest.raises(UsageError, match="no option colour"):
        open_camera("v4l2:///dev/null?colour=7")


def test_a_device_gives_frames() -> None:
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        pytest.skip("this machine has no Video4Linux device")
    with open_camera(f"v4l2://{devices[0]}") as camera:
        assert isinstance(camera.read(10), Frame)


def test_a_buffers_stamp_bounds_its_exposure_and_another_clocks_does_not() -> None:
    second = 1_000_000_000
    assert exposed_between(50 * second, 51 * second, second // 25) == (
        50 * second - 2 * (second // 25),
        50 * second,
    )
    for stamp_ns in (None, 52 * second, 5 * second, 1_700_000_000 * second):
        assert exposed_between(stamp_ns, 51 * second, second // 25) == (None, None)
