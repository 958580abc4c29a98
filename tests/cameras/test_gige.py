"""GigE Vision against Aravis' fake camera, on loopback; the standard fixes its port, so one at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ast_edge.cameras.base import Camera, Frame, NoFrame
from ast_edge.cameras.gi_bindings import load
from ast_edge.cameras.gige import list_devices
from ast_edge.cameras.opening import open_camera
from ast_edge.cameras.supervised import Supervised, Watch
from ast_edge.errors import CameraError, UsageError
from line.camera import FakeCamera
from tests.waiting import wait_for

TRIGGERED = "gige://127.0.0.1?trigger=software&exposure_us=10000&packet_size=9000"


@pytest.fixture
def fake() -> Iterator[FakeCamera]:
    try:
        load("Aravis", "0.8")
    except CameraError as exc:
        pytest.skip(str(exc))
    with FakeCamera() as camera:
        yield camera


def frame_of(camera: Camera, within_s: float = 20.0) -> Frame:
    frame = camera.read(within_s)
    assert isinstance(frame, Frame)
    return frame


def shot(camera: Camera) -> Frame:
    """A frame for a trigger; a busy machine loses packets, and an incomplete frame is never given."""
    for _ in range(5):
        camera.trigger()
        frame = camera.read(3.0)
        if isinstance(frame, Frame):
            return frame
        assert camera.counters["incomplete"] > 0, "a trigger without a frame"
    raise AssertionError("five frames in a row were incomplete")


def test_a_software_trigger_gives_one_frame(fake: FakeCamera) -> None:
    with open_camera(TRIGGERED) as camera:
        assert camera.read(0.3) is NoFrame.TIMEOUT
        numbers = []
        for _ in range(5):
            before = time.monotonic_ns()
            frame = shot(camera)
            numbers.append(frame.number)
            assert before < frame.host_ns <= time.monotonic_ns()
            assert frame.colour == "mono"
            assert frame.pixels is not None
            assert frame.pixels.shape == (512, 512)
            assert frame.pixels.std() > 10, "Aravis' pattern is no flat grey"
            assert frame.device_ns is not None
        incomplete = camera.counters["incomplete"]
        assert numbers[-1] - numbers[0] == 4 + incomplete
        assert camera.read(0.3) is NoFrame.TIMEOUT
        assert camera.counters["frames"] == 5
    camera.close()
    with pytest.raises(CameraError, match="was closed"):
        camera.read(0.1)


def test_colours_and_settings_are_taken_or_refused(fake: FakeCamera) -> None:
    with open_camera("gige://127.0.0.1?pixel_format=BayerRG8&rate=50&gain=2") as camera:
        frame = frame_of(camera)
        assert frame.colour == "bayer_rggb"
        following = [frame_of(camera) for _ in range(3)]
        assert following[-1].number > frame.number
        with pytest.raises(CameraError, match="without trigger=software"):
            camera.trigger()
        with pytest.raises(CameraError, match="another program controls"):
            open_camera("gige://127.0.0.1")
    with open_camera("gige://127.0.0.1?pixel_format=RGB8") as camera:
        frame = frame_of(camera)
        assert frame.colour == "rgb"
        assert frame.pixels is not None
        assert frame.pixels.shape == (512, 512, 3)
    with pytest.raises(CameraError, match=r"rate=5000 is not possible, the camera took 1000"):
        open_camera("gige://127.0.0.1?pixel_format=Mono8&rate=5000")
    with pytest.raises(CameraError, match="Mono16 is not among Mono8"):
        open_camera("gige://127.0.0.1?pixel_format=Mono16")
    with pytest.raises(CameraError, match="refuses pixel_format"):
        open_camera("gige://127.0.0.1?pixel_format=Purple7")
    with pytest.raises(UsageError, match="expected off or one of software"):
        open_camera("gige://127.0.0.1?trigger=line9")
    with pytest.raises(UsageError, match="no option speed"):
        open_camera("gige://127.0.0.1?speed=3")


def test_a_camera_is_found_by_its_serial_number(fake: FakeCamera) -> None:
    found = list_devices(load("Aravis", "0.8"))
    assert ("LINE", "127.0.0.1") in [(device.serial, device.address) for device in found]
    with open_camera("gige://LINE?pixel_format=Mono8&trigger=software") as camera:
        shot(camera)
    with pytest.raises(CameraError, match=r"no camera with this serial number .*found: LINE at"):
        open_camera("gige://NOBODY")


def test_a_camera_that_dies_in_mid_stream_comes_back_by_itself(fake: FakeCamera) -> None:
    states: list[str] = []
    watch = Watch(stall_s=0.5, lost_s=1.0, triggered=True)
    with Supervised(
        "gige://127.0.0.1", lambda: open_camera(TRIGGERED), watch, lambda state, _: states.append(state)
    ) as camera:
        wait_for(lambda: camera.state == "live")
        first = shot(camera)
        fake.kill()

        def lost() -> bool:
            try:
                camera.trigger()
            except CameraError:
                return True
            return False

        wait_for(lost, within_s=60)
        assert camera.state == "lost"
        assert camera.read(0.1) is NoFrame.TIMEOUT
        fake.start()
        wait_for(lambda: camera.state == "live", within_s=60)
        second = shot(camera)
        assert second.number > first.number
        assert camera.counters["reconnects"] >= 1
    assert states[:1] == ["live"]
    assert states[-2:] == ["live", "closed"]
    assert "lost" in states
