"""GigE Vision against Aravis' fake camera, on loopback; the standard fixes its port, so one at a time."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ast_edge.cameras.base import Camera, Frame, NoFrame
from ast_edge.cameras.gi_bindings import load
from ast_edge.cameras.gige import list_devices
from ast_edge.cameras.opening import open_camera
from ast_edge.cameras.supervised import Supervised, Watch
from ast_edge.errors import CameraError, LostFrameError, UsageError
from benchmarks.line.camera import FakeCamera
from tests.paths import ROOT
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

TRIGGERED = "gige://127.0.0.1?trigger=software&exposure_us=10000&packet_size=9000"


@pytest.fixture
def aravis() -> None:
    try:
        load("Aravis", "0.8")
    except CameraError as exc:
        pytest.skip(str(exc))


@pytest.fixture
def fake(aravis: None) -> Iterator[FakeCamera]:
    with FakeCamera() as camera:
        yield camera


def frame_of(camera: Camera, within_s: float = 20.0) -> Frame:
    frame = camera.read(within_s)
    assert isinstance(frame, Frame)
    return frame


def whole_frame_of(camera: Camera) -> Frame:
    """Of a camera that runs freely; a busy machine may lose packets of one."""
    while True:
        with contextlib.suppress(LostFrameError):
            return frame_of(camera)


def shot(camera: Camera) -> Frame:
    """A frame for a trigger; a busy machine loses packets, and an incomplete frame is never given."""
    for _ in range(5):
        camera.trigger()
        frame = camera.read(3.0)
        if isinstance(frame, Frame):
            return frame
        assert camera.counters["incomplete"] > 0, "a trigger without a frame"
    raise AssertionError("five frames in a row were incomplete")


def read_on(camera: Camera) -> None:
    """Until it raises, or long enough."""
    for _ in range(100):
        camera.read(0.2)


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
        frame = whole_frame_of(camera)
        assert frame.colour == "bayer_rggb"
        following = [whole_frame_of(camera) for _ in range(3)]
        assert following[-1].number > frame.number
        with pytest.raises(CameraError, match="no trigger=software"):
            camera.trigger()
        with pytest.raises(CameraError, match="another program controls"):
            open_camera("gige://127.0.0.1")
    with open_camera("gige://127.0.0.1?pixel_format=RGB8") as camera:
        frame = whole_frame_of(camera)
        assert frame.colour == "rgb"
        assert frame.pixels is not None
        assert frame.pixels.shape == (512, 512, 3)
    with pytest.raises(CameraError, match=r"rate=5000 is not possible; the camera set 1000"):
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


def test_a_camera_that_was_too_late_is_released_and_opened_again(aravis: None, tmp_path: Path) -> None:
    """Without the garbage collector too, which a station hardly runs: the error must not hold the device."""
    watch = Watch(stall_s=1.0, lost_s=2.0, triggered=True)
    gc.disable()
    try:
        with (
            FakeCamera(scene=tmp_path / "scene") as fake,
            Supervised("gige://127.0.0.1", lambda: open_camera(TRIGGERED), watch) as camera,
        ):
            wait_for(lambda: camera.state == "live")
            fake.late(1500)
            with contextlib.suppress(CameraError):
                camera.trigger()
            wait_for(lambda: camera.state == "lost")
            fake.late(0)
            wait_for(lambda: camera.state == "live", within_s=40)
            shot(camera)
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("gain=nan", "expected a number"),
        ("exposure_us=inf", "expected a number above 0"),
        ("buffers=0", "expected 1 to 256"),
        ("packet_size=-1", "expected 0 or more"),
        ("rate=10&trigger=software", "has no effect with trigger=software"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_opened(query: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_camera(f"gige://127.0.0.1?{query}")


def test_values_are_read_back(fake: FakeCamera) -> None:
    with open_camera("gige://127.0.0.1?packet_size=auto&exposure_us=5000&gain=3&trigger=line0") as camera:
        assert camera.read(0.2) is NoFrame.TIMEOUT, "its input is never raised"
    with pytest.raises(CameraError, match="packet_size=100000 is not possible; the camera set"):
        open_camera("gige://127.0.0.1?packet_size=100000")
    with pytest.raises(CameraError, match="trigger=line3"):
        open_camera("gige://127.0.0.1?trigger=line3")


def test_a_dead_camera_is_seen_without_being_asked_for_a_frame(fake: FakeCamera) -> None:
    """By its pulse: Aravis' own heartbeat would say it in other words, after five seconds."""
    with open_camera("gige://127.0.0.1?trigger=line0") as camera:
        assert camera.read(0.5) is NoFrame.TIMEOUT
        fake.kill()
        with pytest.raises(CameraError, match="no longer answers"):
            read_on(camera)
        assert camera.state == "lost"
        started = time.monotonic()
    assert time.monotonic() - started < 2.4, "a single question of Aravis to a dead camera takes 2.5 s"


def test_a_camera_that_was_switched_off_and_on_does_not_know_the_station(fake: FakeCamera) -> None:
    with open_camera("gige://127.0.0.1?trigger=line0") as camera:
        fake.kill()
        fake.start()
        with pytest.raises(CameraError, match=r"was power-cycled|no longer answers|is disconnected"):
            read_on(camera)


def test_a_camera_may_be_opened_while_its_former_life_is_being_let_go_of(fake: FakeCamera) -> None:
    camera = open_camera(TRIGGERED)
    fake.kill()
    camera.close()
    fake.start()
    # Aravis goes on for about ten seconds to ask the dead one; that must not take the new one's control away.
    with open_camera(TRIGGERED) as camera:
        end = time.monotonic() + 6
        while time.monotonic() < end:
            camera.trigger()
            frame_of(camera)
            time.sleep(0.1)


def test_incomplete_frames_are_counted_and_never_given(aravis: None) -> None:
    frames: list[Frame] = []
    lost = 0
    with FakeCamera(lost_share=0.01), open_camera("gige://127.0.0.1?packet_size=9000&rate=50") as camera:
        while len(frames) < 5 or lost < 3:
            with contextlib.suppress(LostFrameError):
                lost += 1
                frames.append(frame_of(camera))
                lost -= 1
        assert camera.counters["incomplete"] in (lost, lost + 1), "the first loss is not always reported"
        assert camera.counters["missing_packets"] > 0
        assert camera.counters["frames"] == len(frames)
        assert frames[-1].number - frames[0].number >= len(frames) - 1 + lost - 3
    for frame in frames:
        assert frame.pixels is not None
        # Aravis' picture is a ramp; a packet that is missing would be a black band in it.
        steps = np.diff(frame.pixels.astype(int), axis=1)
        assert set(np.unique(steps)) <= {1, -254}


def test_incomplete_frames_under_supervision_are_gaps_in_the_numbers(aravis: None) -> None:
    uri = "gige://127.0.0.1?packet_size=9000&rate=50"
    with FakeCamera(lost_share=0.01), Supervised(uri, lambda: open_camera(uri)) as camera:
        numbers = [frame_of(camera).number]
        while camera.counters["incomplete"] < 3 or len(numbers) < 5:
            numbers.append(frame_of(camera).number)
        assert camera.counters["reconnects"] == 0
        numbers += [frame_of(camera).number for _ in range(5)]
    gaps = [after - before - 1 for before, after in itertools.pairwise(numbers)]
    assert min(gaps) == 0
    assert sum(gaps) >= 2


def test_a_camera_that_a_killed_program_left_running_is_taken_over(fake: FakeCamera) -> None:
    script = (
        "from ast_edge.cameras.opening import open_camera\n"
        f"camera = open_camera({TRIGGERED!r})\nprint('open', flush=True)\ninput()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        other.kill()
    # The camera gives up on the dead one by itself after three seconds.
    watch = Watch(triggered=True)
    with Supervised("gige://127.0.0.1", lambda: open_camera(TRIGGERED), watch) as camera:
        wait_for(lambda: camera.state == "live", within_s=60)
        camera.trigger()
        frame_of(camera)
        assert "no frame within" not in camera.last_error


def test_frames_that_found_no_buffer_are_missing_in_the_numbers(fake: FakeCamera) -> None:
    with open_camera("gige://127.0.0.1?packet_size=9000&rate=50&pixel_format=Mono8&buffers=1") as camera:
        before = whole_frame_of(camera).number
        time.sleep(0.5)
        after = [whole_frame_of(camera).number for _ in range(2)]
        assert after[-1] - before > 3
        assert camera.counters["missing"] > 2


@pytest.mark.parametrize("mode", ["off&rate=20", "software"])
def test_it_is_known_when_a_frame_was_exposed_however_late_it_is_taken(fake: FakeCamera, mode: str) -> None:
    """The fake camera stamps its frames by the wall clock of this machine, so that the truth is known."""
    with open_camera(f"gige://{fake.address}?trigger={mode}&packet_size=9000") as camera:
        for wait_s in (0.0, 0.0, 0.25, 0.0):
            if mode == "software":
                camera.trigger()
            time.sleep(wait_s)
            frame = whole_frame_of(camera)
            ahead_ns = time.time_ns() - time.monotonic_ns()
            assert frame.device_ns is not None
            assert frame.exposed_from_ns is not None
            assert frame.exposed_to_ns is not None
            assert frame.exposed_from_ns <= frame.device_ns - ahead_ns <= frame.exposed_to_ns <= frame.host_ns
            assert frame.exposed_to_ns - frame.exposed_from_ns < 100_000_000
