"""Basler cameras: pylon's own camera emulation, opened, triggered and failing as a real one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ast_edge.cameras.base import Frame, NoFrame
from ast_edge.cameras.opening import list_cameras, open_camera
from ast_edge.cameras.pylon import PylonCamera, list_devices
from ast_edge.doctor.cameras import look_at_pylon
from ast_edge.errors import CameraError, LostFrameError, UsageError
from ast_edge.frames.pixel_formats import Colour
from benchmarks.line.plc import VERDICTS, Plc
from tests.line.process import StationProcess
from tests.line.service.test_condition import output
from tests.line.service.test_condition import trigger as counter
from tests.waiting import wait_for

pytest.importorskip("pypylon", reason="pypylon is not installed")

# pylon's timers use SIGALRM, which the usual method of the time limit would take for the limit.
pytestmark = pytest.mark.timeout(300, method="thread")

FIRST, SECOND = "0815-0000", "0815-0001"
SMALL = "width=64&height=48"


@pytest.fixture(autouse=True, scope="module")
def emulated() -> Iterator[None]:
    """Two emulated cameras, in this process and in stations that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYLON_CAMEMU", "2")
        yield


def opened(options: str, serial: str = FIRST) -> PylonCamera:
    camera = open_camera(f"pylon://{serial}?{SMALL}&{options}")
    assert isinstance(camera, PylonCamera)
    return camera


def one(camera: PylonCamera) -> Frame:
    frame = camera.read(5)
    assert isinstance(frame, Frame)
    return frame


def test_cameras_are_found() -> None:
    assert [serial for serial, _ in list_devices()] == [FIRST, SECOND]
    assert [camera.uri for camera in list_cameras() if camera.uri.startswith("pylon")] == [
        f"pylon://{FIRST}",
        f"pylon://{SECOND}",
    ]
    (finding,) = look_at_pylon()
    assert (finding.level, finding.what) == ("ok", "pylon")


def test_each_software_trigger_gives_one_frame() -> None:
    with opened("trigger=software&exposure_us=500") as camera:
        for number in range(5):
            assert camera.read(0.05) is NoFrame.TIMEOUT
            camera.trigger()
            assert one(camera).number == number
        assert camera.counters == {"frames": 5, "incomplete": 0, "missing": 0}


def test_a_camera_reports_exposure_and_gain() -> None:
    with opened("trigger=software&exposure_us=700&gain=1") as camera:
        assert camera.settings["exposure_us"] == pytest.approx(700, rel=0.01)
        assert camera.settings["gain"] == pytest.approx(1, abs=0.1)
        assert camera.settings["exposure_auto"] == "Off"


def test_a_free_running_camera_keeps_its_rate() -> None:
    with opened("trigger=off&rate=40&exposure_us=500") as camera:
        one(camera)
        began = time.monotonic()
        numbers = [one(camera).number for _ in range(20)]
        assert time.monotonic() - began == pytest.approx(20 / 40, rel=0.5)
        assert numbers == list(range(1, 21))
        with pytest.raises(CameraError, match="has no trigger=software"):
            camera.trigger()


@pytest.mark.parametrize(
    ("pixel_format", "colour", "shape"),
    [
        ("Mono8", "mono", (48, 64)),
        ("BayerRG8", "bayer_rggb", (48, 64)),
        ("BayerGB8", "bayer_gbrg", (48, 64)),
        ("RGB8Packed", "rgb", (48, 64, 3)),
        ("BGR8Packed", "bgr", (48, 64, 3)),
    ],
)
def test_pixels_are_those_of_the_file(
    tmp_path: Path, pixel_format: str, colour: Colour, shape: tuple[int, ...]
) -> None:
    """The emulation shows pictures of a folder; grey ones, so that every format has the same values."""
    import cv2  # noqa: PLC0415

    grey = np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)
    grey = np.repeat(np.repeat(grey[::4, ::4], 4, axis=0), 4, axis=1)
    cv2.imwrite(str(tmp_path / "part.png"), grey)
    shown = f"feature.ImageFilename={tmp_path / 'part.png'}&feature.ImageFileMode=On"
    options = f"trigger=software&exposure_us=500&{shown}&feature.TestImageSelector=Off"
    with opened(f"{options}&pixel_format={pixel_format}") as camera:
        camera.trigger()
        frame = one(camera)
    assert frame.pixels is not None
    assert (frame.colour, frame.pixels.shape) == (colour, shape)
    assert frame.pixels.dtype == np.uint8
    expected = grey if len(shape) == 2 else np.repeat(grey[..., None], 3, axis=2)
    assert np.array_equal(frame.pixels, expected)


def test_failed_frames_are_lost_and_counted() -> None:
    failing = "feature.ForceFailedBufferCount=5&feature.ForceFailedBuffer=1"
    with opened(f"trigger=software&exposure_us=500&{failing}") as camera:
        for number in range(2):  # three were discarded while the camera was opened
            camera.trigger()
            with pytest.raises(LostFrameError, match=f"frame {number} is incomplete") as lost:
                camera.read(5)
            assert lost.value.number == number
        camera.trigger()
        assert one(camera).number == 2
        assert camera.counters == {"frames": 1, "incomplete": 2, "missing": 0}


@pytest.mark.parametrize(
    ("uri", "kind", "words"),
    [
        ("pylon://77", CameraError, r"\(cameras found: 0815-0000, 0815-0001\)"),
        ("pylon://?pixel_format=Mono12", CameraError, "pixel format Mono12 is not among Mono8, BayerRG8"),
        ("pylon://?pixel_format=Nope", CameraError, "refuses PixelFormat=Nope: .* the value is invalid.$"),
        ("pylon://?feature.Nope=1", CameraError, "has no feature Nope.$"),
        ("pylon://?feature.TriggerMode=Maybe", CameraError, "refuses TriggerMode=Maybe: "),
        ("pylon://?exposure_us=1e9", CameraError, r"refuses exposure_us=1e\+09: .* or equal 10000000.0+.$"),
        ("pylon://?width=100000", CameraError, "refuses Width=100000: .* smaller than Max = 4096.$"),
        ("pylon://?trigger=line9", UsageError, "expected off or one of software, line0"),
        ("pylon://?trigger=software&rate=3", UsageError, "has no effect with trigger=software"),
        ("pylon://?packet_size=9000", UsageError, "there is no option packet_size; pylon:// accepts trigger"),
    ],
)
def test_what_is_refused(uri: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        open_camera(uri)


def test_a_closed_camera_answers_in_a_sentence() -> None:
    with opened("trigger=software") as camera:
        camera.close()
        assert camera.state == "closed"
        for ask in (camera.trigger, lambda: camera.read(1)):
            with pytest.raises(CameraError, match="the camera was closed"):
                ask()


def test_closing_ends_a_read_on_another_thread() -> None:
    camera = opened("trigger=software")
    seen: list[object] = []

    def read() -> None:
        try:
            seen.append(camera.read(30))
        except CameraError as exc:
            seen.append(str(exc))

    reading = threading.Thread(target=read)
    reading.start()
    time.sleep(0.3)
    camera.close()
    reading.join(5)
    assert seen == [f"pylon://{FIRST}: the camera was closed."]


@pytest.mark.slow
def test_a_line_from_trigger_to_verdict(tmp_path: Path, tiny_rgb: Path) -> None:
    """Two frames fail: those parts are faults, every other part is judged."""
    uri = f"pylon://{SECOND}?width=64&height=64&trigger=software&exposure_us=500&pixel_format=BGR8Packed"
    failing = "feature.ForceFailedBufferCount=5&feature.ForceFailedBuffer=1"
    (tmp_path / "plc").mkdir()
    with Plc(tmp_path / "plc") as plc:
        toml = f'[camera]\nuri = "{uri}&{failing}"\n{counter(plc.port)}{output(plc.port)}'
        with StationProcess(tmp_path / "station", tiny_rgb, toml) as station:
            station.wait_until("ready", True)
            for part in range(1, 11):
                plc.trigger()
                wait_for(lambda: len(plc.results()) == part)  # noqa: B023 (called at once)
        verdicts = [VERDICTS[result.verdict] for result in plc.results()]
    assert verdicts[:2] == ["fault", "fault"], station.log
    assert "fault" not in verdicts[2:], station.log
    assert os.environ["PYLON_CAMEMU"] == "2"
