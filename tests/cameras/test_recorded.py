"""Folders, videos and generated parts as cameras."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from ast_edge.cameras.base import Camera, Frame, NoFrame
from ast_edge.cameras.opening import open_camera
from ast_edge.cameras.supervised import Supervised
from ast_edge.errors import CameraError, LostFrameError, UsageError
from ast_edge.synthetic import SyntheticPart, part, render
from tests.waiting import wait_for


def frames(camera: Camera, count: int, within_s: float = 20.0) -> list[Frame]:
    """The next frames; fails when they do not come."""
    found: list[Frame] = []
    end = time.monotonic() + within_s
    while len(found) < count and time.monotonic() < end:
        frame = camera.read(0.5)
        assert frame is not NoFrame.END
        if isinstance(frame, Frame):
            found.append(frame)
    assert len(found) == count
    return found


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for index, name in enumerate(("b", "a", "c")):
        Image.fromarray(np.full((12, 16, 3), 40 * index, np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def test_pictures_come_by_name_and_end(pictures: Path) -> None:
    with open_camera(f"dir://{pictures}") as camera:
        found = frames(camera, 3)
        assert [Path(frame.source).name for frame in found] == ["a.png", "b.png", "c.png"]
        assert [frame.number for frame in found] == [0, 1, 2]
        assert [int(frame.pixels.max()) for frame in found if frame.pixels is not None] == [40, 0, 80]
        assert camera.read(0.1) is NoFrame.END
        assert camera.counters["frames"] >= 3
    with pytest.raises(CameraError, match="was closed"):
        camera.read(0.1)


def test_a_loop_goes_on_and_a_rate_is_kept(pictures: Path) -> None:
    started = time.monotonic()
    with open_camera(f"dir://{pictures}?loop=1&rate=20") as camera:
        assert [frame.number for frame in frames(camera, 7)] == list(range(7))
        assert time.monotonic() - started >= 6 / 20
    with open_camera(f"dir://{pictures}?rate=0.01") as camera:
        frames(camera, 1)
        assert camera.read(0.0) is NoFrame.TIMEOUT


def test_an_unreadable_picture_is_reported_and_the_next_one_read(pictures: Path) -> None:
    (pictures / "a.png").write_bytes(b"no picture")
    with open_camera(f"dir://{pictures}") as camera:
        with pytest.raises(LostFrameError, match=r"a\.png"):
            camera.read(1)
        # The gap in the numbers is the unreadable picture.
        assert [frame.number for frame in frames(camera, 2)] == [1, 2]
        assert camera.counters == {"frames": 2, "unreadable": 1}
    # Under supervision, too: starting again at the first picture would never reach the others.
    with Supervised("dir://", lambda: open_camera(f"dir://{pictures}")) as camera:
        wait_for(lambda: camera.counters["frames"] == 2)
        assert [frame.number for frame in frames(camera, 2)] == [1, 2]
        wait_for(lambda: camera.read(0.1) is NoFrame.END)
        assert camera.counters["incomplete"] == 1
        assert camera.counters["reconnects"] == 0


@pytest.mark.slow
def test_depth_comes_from_beside_the_pictures(product: Path) -> None:
    with open_camera(f"dir://{product}/test/good/rgb") as camera:
        frame = frames(camera, 1)[0]
    assert frame.pixels is not None
    assert frame.depth_m is not None
    assert frame.depth_m.shape == frame.pixels.shape[:2]


def test_depth_maps_of_integers_have_a_unit_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "rgb").mkdir()
    (tmp_path / "xyz").mkdir()
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "rgb" / "0.png")
    units = np.arange(24, dtype=np.uint16).reshape(4, 6) * 1000
    Image.fromarray(units).save(tmp_path / "xyz" / "0.png")
    with open_camera(f"dir://{tmp_path}/rgb?depth_scale=0.0002") as camera:
        depth_m = frames(camera, 1)[0].depth_m
    assert depth_m is not None
    np.testing.assert_array_equal(depth_m, (units * 0.0002).astype(np.float32))
    with open_camera(f"dir://{tmp_path}/rgb") as camera, pytest.raises(LostFrameError, match="--depth-scale"):
        camera.read(1)
    with pytest.raises(UsageError, match=r"depth_scale.*expected the metres of one unit, above 0"):
        open_camera(f"dir://{tmp_path}/rgb?depth_scale=5")


def test_a_video_file(tmp_path: Path) -> None:
    path = tmp_path / "part.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 50.0, (64, 48))
    for index in range(10):
        writer.write(np.full((48, 64, 3), 20 * index, np.uint8))
    writer.release()
    with open_camera(f"file://{path}?pace=0") as camera:
        found = frames(camera, 10)
        assert camera.read(0.1) is NoFrame.END
    for index, frame in enumerate(found):
        assert frame.colour == "bgr"
        assert frame.pixels is not None
        assert frame.pixels.shape == (48, 64, 3)
        assert abs(float(frame.pixels.mean()) - 20 * index) < 4
    with open_camera(f"file://{path}?loop=1") as camera:
        started = time.monotonic()
        assert len(frames(camera, 15)) == 15
        assert time.monotonic() - started >= 14 / 50


def test_generated_parts_are_the_same_for_a_seed_and_tell_the_truth() -> None:
    uri = "synthetic://?seed=3&defects=0.5&rate=1000&size=64"
    with open_camera(uri) as one, open_camera(uri) as other:
        first, second = frames(one, 12), frames(other, 12)
    for left, right in zip(first, second, strict=True):
        np.testing.assert_array_equal(left.pixels, right.pixels)
        assert left.source == right.source
        assert left.depth_m is not None
    assert len({frame.source.partition(", ")[2] for frame in first}) > 2
    with open_camera(uri.replace("0.5", "0")) as camera:
        assert all(frame.source.endswith(", good") for frame in frames(camera, 5))


@pytest.mark.parametrize(
    ("uri", "error", "words"),
    [
        ("/dev/video0", UsageError, "expected a URI"),
        ("ftp://somewhere", UsageError, "unknown kind of camera ftp://"),
        ("dir:///nowhere/at/all", CameraError, "there is no folder"),
        ("file:///nowhere.mp4", CameraError, "there is no file"),
        ("synthetic://?sead=1", UsageError, "there is no option sead"),
        ("synthetic://?defects=2", UsageError, "defects=2 is not possible"),
        ("synthetic://?size=10", UsageError, "size=10 is not possible"),
        ("dir:///parts#2", UsageError, "write %23"),
        ("gige://[::1", UsageError, "not a valid URI"),
        ("synthetic://?rate=0", UsageError, "rate=0 is not possible"),
        ("synthetic://?rate=nan", UsageError, "rate=nan is not possible"),
        ("synthetic://?seed=1&seed=2", UsageError, "given twice"),
    ],
)
def test_cameras_that_cannot_be(uri: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        open_camera(uri)


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="there is no picture directly in"):
        open_camera(f"dir://{tmp_path}")
    (tmp_path / "part.avi").write_bytes(b"no video")
    with pytest.raises(CameraError, match="cannot read"):
        open_camera(f"file://{tmp_path}/part.avi")


def test_credentials_are_not_in_the_error() -> None:
    with pytest.raises(UsageError) as caught:
        open_camera("rtsps://operator:secret@camera/path?x=1")
    assert "secret" not in str(caught.value)
    assert "operator" not in str(caught.value)


def test_a_camera_with_software_trigger_gives_a_frame_for_each(tmp_path: Path) -> None:
    with open_camera("synthetic://?seed=1&trigger=software&size=64") as camera:
        assert camera.read(0.05) is NoFrame.TIMEOUT
        for number in range(3):
            camera.trigger()
            frame = camera.read(20)
            assert isinstance(frame, Frame)
            assert frame.number == number
        assert camera.read(0.05) is NoFrame.TIMEOUT
    with (
        open_camera("synthetic://?trigger=off&size=64") as camera,
        pytest.raises(CameraError, match="no software"),
    ):
        camera.trigger()
    with pytest.raises(UsageError, match="expected software or off"):
        open_camera("synthetic://?trigger=line1")


def test_a_triggered_part_is_rendered_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = []

    def noted(*arguments: Any, **options: Any) -> SyntheticPart:
        rendered.append(arguments)
        return render(*arguments, **options)

    monkeypatch.setattr(part, "render", noted)
    with (
        open_camera("synthetic://?seed=1&trigger=software&size=64") as asked,
        open_camera("synthetic://?seed=1&rate=1000&size=64") as free,
    ):
        for number in range(3):
            assert asked.read(0.01) is NoFrame.TIMEOUT
            before = len(rendered)
            asked.trigger()
            (triggered,) = frames(asked, 1)
            assert len(rendered) == before
            (expected,) = frames(free, 1)
            assert triggered.number == expected.number == number
            np.testing.assert_array_equal(triggered.pixels, expected.pixels)


def test_closing_ends_a_read_that_waits_for_a_trigger() -> None:
    camera = open_camera("synthetic://?trigger=software&size=64")
    timer = threading.Timer(0.1, camera.close)
    timer.start()
    started = time.monotonic()
    assert camera.read(30) is NoFrame.TIMEOUT
    assert time.monotonic() - started < 15
    timer.join()


def test_a_video_may_be_closed_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "part.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 50.0, (640, 480))
    for index in range(10):
        writer.write(np.full((480, 640, 3), 20 * index, np.uint8))
    writer.release()
    for _ in range(20):
        camera = open_camera(f"file://{path}?pace=0&loop=1")
        timer = threading.Timer(0.02, camera.close)
        timer.start()
        with pytest.raises(CameraError, match="was closed"):
            read_on(camera)
        timer.join()


def read_on(camera: Camera) -> None:
    """Until it raises; a video that is closed while it is read has no next frame."""
    while True:
        camera.read(1)


def test_without_opencv_the_reason_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    (tmp_path / "part.avi").write_bytes(b"")
    for uri in (f"file://{tmp_path}/part.avi", "synthetic://?seed=1", "v4l2:///dev/video0"):
        with pytest.raises(CameraError, match=r'needs OpenCV.*pip install "\.\[cpu\]"'):
            open_camera(uri)
