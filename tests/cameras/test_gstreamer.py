"""GStreamer's pipelines and a real RTSP server, on loopback."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pytest

from ast_edge.cameras.base import Camera, Frame, NoFrame
from ast_edge.cameras.gi_bindings import load
from ast_edge.cameras.gstreamer import GStreamerCamera, csi_pipeline
from ast_edge.cameras.opening import list_cameras, open_camera
from ast_edge.cameras.supervised import Supervised, Watch
from ast_edge.cameras.uri import parse_uri
from ast_edge.errors import CameraError, UsageError
from ast_edge.frames.pixel_formats import COLOURS, decode
from tests.paths import ROOT
from tests.waiting import free_port, listens, wait_for

SERVER = Path(__file__).with_name("rtsp_server.py")


@pytest.fixture(autouse=True)
def gstreamer() -> None:
    try:
        for name in ("Gst", "GstVideo"):
            load(name, "1.0")
    except CameraError as exc:
        pytest.skip(str(exc))


class Server:
    """The process of `rtsp_server.py`, which can be killed and started again on its port."""

    def __init__(self, *account: str) -> None:
        self.port, self._account = free_port(), account
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        try:
            load("GstRtspServer", "1.0")
        except CameraError as exc:
            pytest.skip(str(exc))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(SERVER), str(self.port), *self._account]
        self._process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        wait_for(lambda: listens(self.port), within_s=60)

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


def frame_of(camera: Camera, within_s: float = 20.0) -> Frame:
    end = time.monotonic() + within_s
    while not isinstance(frame := camera.read(0.5), Frame):
        assert frame is NoFrame.TIMEOUT
        assert time.monotonic() < end, "no frame"
    return frame


def read_on(camera: Camera) -> None:
    """Until it raises, or long enough."""
    for _ in range(100):
        camera.read(0.5)


@pytest.mark.parametrize(
    ("name", "colour", "shape"),
    [
        ("BGR", "bgr", (50, 101, 3)),
        ("RGB", "rgb", (50, 101, 3)),
        ("GRAY8", "mono", (50, 101)),
        ("NV12", "nv12", (75, 102)),
        ("YUY2", "yuyv", (50, 102, 2)),
    ],
)
def test_pixels_are_exact_whatever_the_rows_are_filled_up_with(
    tmp_path: Path, name: str, colour: str, shape: tuple[int, ...]
) -> None:
    """A picture with every value written raw and read through a pipeline; odd widths make padded rows."""
    rng = np.random.default_rng(0)
    rows = rng.integers(16, 236, shape, dtype=np.uint8)
    used = rows[0].nbytes
    padded = np.zeros((shape[0], -(-used // 4) * 4), np.uint8)
    padded[:, :used] = rows.reshape(shape[0], -1)
    file = tmp_path / "frames.raw"
    file.write_bytes(padded.tobytes() * 3)
    caps = f"rawvideoparse format={name.lower()} width={shape[1]} height=50 framerate=25/1"
    with open_camera("gst:///" + quote(f"filesrc location={file} ! {caps}")) as camera:
        frame = frame_of(camera)
        assert frame.colour == colour
        assert frame.pixels is not None
        assert frame.pixels.shape == shape
        if name != "I420":
            np.testing.assert_array_equal(frame.pixels, rows)
        numbers = [frame.number]
        while isinstance(found := camera.read(5), Frame):
            numbers.append(found.number)
        assert found is NoFrame.END
        assert camera.read(0) is NoFrame.END
        assert numbers == [0, 1, 2]


def test_other_formats_are_converted_to_one_that_is_known() -> None:
    source = "videotestsrc num-buffers=1 pattern=solid-color foreground-color=0xff00ff00"
    with open_camera("gst:///" + quote(f"{source} ! video/x-raw,format=I420,width=102,height=50")) as camera:
        frame = frame_of(camera)
    assert frame.pixels is not None
    assert frame.colour in COLOURS
    rgb = decode(frame.pixels, frame.colour)
    assert rgb.shape == (50, 102, 3)
    np.testing.assert_allclose(rgb.reshape(-1, 3).mean(axis=0), (0, 255, 0), atol=6)


def test_bayer_patterns_pass_as_they_are() -> None:
    source = "videotestsrc num-buffers=1 pattern=solid-color foreground-color=0xffff0000"
    with open_camera(
        "gst:///" + quote(f"{source} ! video/x-bayer,format=rggb,width=101,height=50")
    ) as camera:
        frame = frame_of(camera)
    assert frame.colour == "bayer_rggb"
    assert frame.pixels is not None
    assert frame.pixels.shape == (50, 101)
    assert frame.pixels[::2, ::2].min() > 240
    assert frame.pixels[1::2].max() < 16


def test_a_video_file_is_what_opencv_sees(tmp_path: Path) -> None:
    path = tmp_path / "parts.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for number in range(5):
        writer.write(np.full((48, 64, 3), 40 * number + 20, np.uint8))
    writer.release()
    text = quote(f"filesrc location={path} ! decodebin")
    with open_camera(f"gst:///{text}") as camera:
        for number in range(5):
            frame = frame_of(camera)
            assert frame.pixels is not None
            assert frame.colour is not None
            grey = float(decode(frame.pixels, frame.colour).mean())
            assert abs(grey - (40 * number + 20)) < 12
            assert frame.device_ns == pytest.approx(number * 40_000_000, abs=1_000_000)


def test_pipelines_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="no pipeline"):
        open_camera("gst:///")
    with pytest.raises(CameraError, match="no element"):
        open_camera("gst:///nosuchelement")
    with pytest.raises(CameraError, match=r"No such file|Could not open"):
        open_camera("gst:///filesrc location=/no/such/file ! decodebin")
    with pytest.raises(UsageError, match="no option rate"):
        open_camera("gst:///videotestsrc?rate=5")


def test_closing_ends_the_reading_and_every_thread() -> None:
    camera = open_camera("gst:///videotestsrc is-live=true ! video/x-raw,width=64,height=48")
    frame_of(camera)
    camera.close()
    camera.close()
    assert camera.state == "closed"
    with pytest.raises(CameraError, match="was closed"):
        camera.read(1)


def test_the_pipeline_of_a_csi_camera_and_its_absence() -> None:
    text = csi_pipeline(parse_uri("csi://1?width=640&height=480&fps=60"))
    assert "nvarguscamerasrc sensor-id=1 " in text
    assert "width=640,height=480,framerate=60/1" in text
    with pytest.raises(UsageError, match="sensor's number"):
        csi_pipeline(parse_uri("csi://front"))
    if load("Gst", "1.0").ElementFactory.find("nvarguscamerasrc") is None:
        with pytest.raises(CameraError, match="need a Jetson"):
            open_camera("csi://0")


def test_a_stream_is_read_and_its_end_seen() -> None:
    with Server() as server, open_camera(f"rtsp://127.0.0.1:{server.port}/cam") as camera:
        first = frame_of(camera)
        assert first.pixels is not None
        assert first.pixels.max() > 150, "the ball is white"
        second = frame_of(camera)
        assert second.number > first.number
        server.kill()
        with pytest.raises(CameraError):
            read_on(camera)


def test_a_server_that_dies_and_comes_back() -> None:
    with Server() as server:
        uri = f"rtsp://127.0.0.1:{server.port}/cam"
        watch = Watch(stall_s=1.0, lost_s=3.0, policy="latest")
        with Supervised(uri, lambda: open_camera(uri), watch) as camera:
            first = frame_of(camera, 60)
            server.kill()
            wait_for(lambda: camera.state == "lost", within_s=60)
            server.start()
            wait_for(lambda: camera.state == "live", within_s=60)
            assert frame_of(camera, 60).number > first.number
            assert camera.counters["reconnects"] >= 1


def test_accounts_work_and_no_password_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", "s3cr3t-word")
    with Server("ann", "s3cr3t-word") as server:
        place = f"127.0.0.1:{server.port}/cam"
        for uri in (f"rtsp://ann@{place}?password_env=CAMERA_PASSWORD", f"rtsp://ann:s3cr3t-word@{place}"):
            with open_camera(uri) as camera:
                frame = frame_of(camera)
                assert "s3cr3t" not in f"{camera.uri} {frame} {vars(camera)['uri']}"
        with pytest.raises(CameraError) as caught, open_camera(f"rtsp://ann:wrong-w0rd@{place}") as camera:
            frame_of(camera)
        assert "wrong-w0rd" not in str(caught.value)
        with pytest.raises(UsageError, match="no password in the URI"):
            open_camera(f"rtsp://ann:x@{place}?password_env=CAMERA_PASSWORD")
        with pytest.raises(CameraError, match="NO_SUCH is empty"):
            open_camera(f"rtsp://ann@{place}?password_env=NO_SUCH")
    with pytest.raises(UsageError, match="expected tcp or udp"):
        open_camera("rtsp://127.0.0.1/cam?transport=pigeon")
    assert "x:y" not in repr(parse_uri("rtsp://x:y@host/cam"))
    assert "'y'" not in repr(parse_uri("rtsp://x:y@host/cam"))


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(CameraError), open_camera(f"rtsp://127.0.0.1:{free_port()}/cam") as camera:
        frame_of(camera)


def test_listing_cameras_never_fails() -> None:
    assert isinstance(list_cameras(), list)


LIVE = "videotestsrc is-live=true {} ! video/x-raw,width=64,height=48,framerate=100/1"


def test_the_end_of_a_live_source_is_an_error_and_of_a_file_an_end() -> None:
    with open_camera("gst:///" + LIVE.format("num-buffers=3")) as camera:
        with pytest.raises(CameraError, match="the stream has ended"):
            read_on(camera)
        assert camera.counters["frames"] == 3
    with open_camera("gst:///videotestsrc num-buffers=3 ! video/x-raw,width=64,height=48") as camera:
        while camera.read(1) is not NoFrame.END:
            pass
        assert camera.read(0.1) is NoFrame.END
        assert camera.counters["frames"] == 3


def test_of_a_live_source_the_newest_are_kept_and_the_others_counted() -> None:
    with open_camera("gst:///" + LIVE.format("")) as camera:
        frame_of(camera)
        wait_for(lambda: camera.counters["dropped"] >= 10)
        held = [frame_of(camera) for _ in range(4)]
        now = time.monotonic_ns()
        assert held[0].number >= 10
        numbers = [frame.number for frame in held]
        assert numbers == list(range(numbers[0], numbers[0] + 4))
        # They arrived when they did, not when they were read.
        arrived = [frame.host_ns for frame in held]
        assert arrived == sorted(arrived)
        assert arrived[-1] - arrived[0] > 10_000_000
        assert arrived[0] < now - 20_000_000


def test_a_file_waits_for_a_slow_reader(tmp_path: Path) -> None:
    with open_camera(
        "gst:///videotestsrc num-buffers=12 ! video/x-raw,width=64,height=48,framerate=100/1"
    ) as camera:
        time.sleep(0.5)
        numbers = []
        while isinstance(found := camera.read(5), Frame):
            numbers.append(found.number)
        assert found is NoFrame.END
        assert numbers == list(range(12))
        assert camera.counters["dropped"] == 0


def test_closing_ends_a_read_that_waits_and_a_file_that_does() -> None:
    before = threading.active_count()
    for pipeline in ("videotestsrc ! video/x-raw,width=64,height=48", LIVE.format("")):
        camera = open_camera(f"gst:///{pipeline}")
        timer = threading.Timer(0.2, camera.close)
        timer.start()
        with pytest.raises(CameraError, match="was closed"):
            read_on(camera)
        timer.join()
    # It may end while it is being opened.
    with contextlib.suppress(CameraError):
        open_camera(
            "gst:///fakesrc is-live=true do-timestamp=true num-buffers=0 ! video/x-raw,width=8"
        ).close()
    assert threading.active_count() <= before


def test_a_pipeline_does_not_outlive_its_camera() -> None:
    camera = open_camera("gst:///" + LIVE.format(""))
    assert isinstance(camera, GStreamerCamera)
    pipeline = camera._pipeline.weak_ref()
    frame_of(camera)
    camera.close()
    assert pipeline() is not None
    del camera
    gc.collect()
    assert pipeline() is None


def test_an_account_within_a_pipeline_is_not_shown() -> None:
    for text in (
        f"rtspsrc location=rtsp://ann:s3cr3t-word@127.0.0.1:{free_port()}/cam ! decodebin",
        f"rtspsrc location=rtsp://127.0.0.1:{free_port()}/cam user-id=ann user-pw=s3cr3t-word ! decodebin",
        "rtspsrc location=rtsp://ann:s3cr3t-word@127.0.0.1/cam ! nosuchelement",
        "filesrc location=/no/such/ann:s3cr3t-word@camera ! decodebin",
        "rtspsrc protocols=ann:s3cr3t-word@camera ! decodebin",
    ):
        for uri in (f"gst:///{text}", f"gst:///{quote(text)}"):
            with pytest.raises(CameraError) as caught, open_camera(uri) as camera:
                read_on(camera)
            assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))
            assert "s3cr3t" not in caught.value.args[0]


def test_the_path_of_a_stream_may_have_a_query() -> None:
    with Server() as server, open_camera(f"rtsp://127.0.0.1:{server.port}/cam?channel=1&a=2") as camera:
        frame_of(camera)


def test_a_malformed_account_is_not_shown() -> None:
    assert "geheim" not in parse_uri("rtsp://admin:geheim@host/s?channel=1").public
    for text in ("rtsp://admin:ge/heim@host/s", "rtsp://admin:ge?heim@host/s", "rtsp:/admin:geheim@host"):
        with pytest.raises(UsageError) as caught:
            parse_uri(text)
        assert "heim" not in str(caught.value)


def test_a_live_frame_says_when_it_was_stamped_at_the_latest_and_a_file_says_nothing(tmp_path: Path) -> None:
    """However late it is read; how long it was under way before that nothing tells."""
    with open_camera(f"gst:///{LIVE.format('')}") as camera:
        frame_of(camera)
        for _ in range(5):
            frame = frame_of(camera)
            assert frame.exposed_from_ns is None
            assert frame.exposed_to_ns is not None
            assert 0 <= frame.host_ns - frame.exposed_to_ns < 1_000_000_000
            assert frame.latest_ns == frame.exposed_to_ns
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(64 * 48))
    source = f"filesrc location={raw} ! rawvideoparse format=gray8 width=64 height=48"
    with open_camera(f"gst:///{source}") as camera:
        still = frame_of(camera)
        assert (still.exposed_from_ns, still.exposed_to_ns, still.latest_ns) == (None, None, still.host_ns)
