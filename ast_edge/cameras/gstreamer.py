"""Any GStreamer pipeline, through the system bindings.

gst:///PIPELINE                          as for gst-launch-1.0, without a sink: gst:///videotestsrc
csi://0?width=1280&height=720&fps=60     a CSI camera of a Jetson by its sensor number

Frames in BGR, RGB, grey, Bayer, NV12 and YUY2 are passed unchanged, others are converted to one of these. If
frames of a live source are not read in time, the oldest are dropped and counted; a file waits.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import override

from ast_edge.cameras.base import Camera, Frame, NoFrame, State
from ast_edge.cameras.gi_bindings import load
from ast_edge.cameras.gst_frames import CAPS, pixels_of
from ast_edge.cameras.uri import CameraUri, masked, secrets_in, whole
from ast_edge.errors import CameraError, UsageError

SINK = f'appsink name=ast_edge_sink max-buffers=1 emit-signals=true caps="{CAPS}"'
_KEPT = 4
_POLL_S = 0.05
_OPEN_S = 15.0
_OLDEST_NS = 10_000_000_000


class GStreamerCamera(Camera):
    """Frames of a pipeline that ends in `SINK`.

    Raises CameraError if it does not start. The end of a live source is an error. `secrets` are removed from
    every message.
    """

    def __init__(self, uri: str, pipeline: Any, *, secrets: Sequence[str] = ()) -> None:
        self.uri = uri
        self._gst = load("Gst", "1.0")
        self._live = False
        self._secrets = [secret for secret in secrets if secret]
        self._pipeline = pipeline
        self._sink = pipeline.get_by_name("ast_edge_sink")
        self._bus = pipeline.get_bus()
        self._arrived: deque[tuple[Any, int, int]] = deque()
        self._news = threading.Condition()
        self._count = {"frames": 0, "dropped": 0}
        self._number = 0
        self._ended = False
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._listening = self._sink.connect("new-sample", self._on_sample)
        try:
            self._play()
        except BaseException:
            self.close()
            raise

    @override
    def read(self, timeout_s: float) -> Frame | NoFrame:
        end = time.monotonic() + timeout_s
        while True:
            if self._closed.is_set():
                raise CameraError(f"{self.uri}: the camera was closed.")
            left_s = max(min(end - time.monotonic(), _POLL_S), 0.0)
            with self._news:
                self._news.wait_for(lambda: self._arrived, left_s)
                arrived = self._arrived.popleft() if self._arrived else None
                self._news.notify_all()
            if arrived is not None:
                return self._frame(*arrived)
            self._look_at_bus()
            if self._ended and not self._arrived:
                return NoFrame.END
            if time.monotonic() >= end:
                return NoFrame.TIMEOUT

    @property
    @override
    def state(self) -> State:
        return "closed" if self._closed.is_set() else "live"

    @property
    @override
    def counters(self) -> Mapping[str, int]:
        return dict(self._count)

    @override
    def close(self) -> None:
        with self._lock:
            if not self._closed.is_set():
                self._closed.set()
                with self._news:
                    self._news.notify_all()
                self._pipeline.set_state(self._gst.State.NULL)
                self._sink.disconnect(self._listening)

    # ---- GStreamer's threads -------------------------------------------------------------------------------

    def _on_sample(self, sink: Any) -> Any:
        """Receive a frame; without room, the oldest is dropped, or a file waits."""
        host_ns = time.monotonic_ns()
        sample = sink.emit("pull-sample")
        with self._news:
            if not self._live:
                self._news.wait_for(lambda: len(self._arrived) < _KEPT or self._closed.is_set())
            if sample is None or self._closed.is_set():
                return self._gst.FlowReturn.EOS
            while len(self._arrived) >= _KEPT:
                self._arrived.popleft()
                self._count["dropped"] += 1
            self._arrived.append((sample, host_ns, self._number))
            self._number += 1
            self._news.notify_all()
        return self._gst.FlowReturn.OK

    # ---- pieces --------------------------------------------------------------------------------------------

    def _play(self) -> None:
        """Start; return when the pipeline plays, or raise its error."""
        states, changes = self._gst.State, self._gst.StateChangeReturn
        self._live = self._reach(states.PAUSED) == changes.NO_PREROLL
        if self._live:
            # Frames are delivered on arrival and not at their presentation time.
            self._sink.set_property("sync", False)  # noqa: FBT003 (GObject's signature)
        self._reach(states.PLAYING)

    def _reach(self, state: Any) -> Any:
        """Request a state and return GStreamer's result."""
        changes = self._gst.StateChangeReturn
        change = self._pipeline.set_state(state)
        end = time.monotonic() + _OPEN_S
        while change == changes.ASYNC and not self._ended:
            self._look_at_bus()
            if time.monotonic() > end:
                raise CameraError(f"{self.uri}: no frame within {_OPEN_S:g} s after the start.")
            change = self._pipeline.get_state(int(_POLL_S * 1e9))[0]
        if change == changes.FAILURE:
            self._look_at_bus()
            raise CameraError(f"{self.uri}: GStreamer cannot start the pipeline and gives no reason.")
        return change

    def _look_at_bus(self) -> None:
        """Note the end of the stream. Raises CameraError for GStreamer errors and if a live source ends."""
        kinds = self._gst.MessageType
        message = self._bus.pop_filtered(kinds.ERROR | kinds.EOS)
        if message is None:
            return
        if message.type == kinds.EOS:
            if self._live:
                raise CameraError(f"{self.uri}: the stream has ended.")
            self._ended = True
            return
        error, details = message.parse_error()
        source = "" if message.src is None else f"{message.src.get_name()}: "
        last = (details or "").strip().splitlines()[-1:]
        words = f"{self.uri}: {source}{error.message} {' '.join(last)}".strip()
        raise CameraError(masked(words, self._secrets))

    def _frame(self, sample: Any, host_ns: int, number: int) -> Frame:
        pixels, colour = pixels_of(sample)
        self._count["frames"] += 1
        pts = sample.get_buffer().pts
        device_ns = None if pts == self._gst.CLOCK_TIME_NONE else int(pts)
        stamped_ns = self._stamped(device_ns, host_ns)
        return Frame(pixels, colour, number, device_ns, host_ns, self.uri, None, None, stamped_ns)

    def _stamped(self, pts_ns: int | None, host_ns: int) -> int | None:
        """Return a live source's stamp as `time.monotonic_ns()`, an upper bound of the exposure time.

        How much earlier the picture was exposed is unknown. None for files and for other clocks.
        """
        clock = self._pipeline.get_clock() if self._live and pts_ns is not None else None
        if clock is None or pts_ns is None:
            return None
        ahead_ns = int(clock.get_time()) - time.monotonic_ns()
        stamped_ns = int(self._pipeline.get_base_time()) + pts_ns - ahead_ns
        return min(stamped_ns, host_ns) if host_ns - stamped_ns < _OLDEST_NS else None


def pipeline_camera(uri: CameraUri) -> GStreamerCamera:
    """Open gst:///PIPELINE. Raises UsageError without a pipeline, CameraError if it does not run."""
    uri.check_keys()
    text = uri.place.strip("/ ")
    if not text:
        raise UsageError(f"{uri.public}: no pipeline follows gst:///.")
    try:
        # Formats that the sink accepts pass videoconvert unchanged; it only lacks Bayer.
        return _parsed(uri, f"{text} ! videoconvert ! {SINK}")
    except CameraError as exc:
        if "not-negotiated" not in str(exc) and "could not link" not in str(exc):
            raise
    return _parsed(uri, f"{text} ! {SINK}")


def csi_camera(uri: CameraUri) -> GStreamerCamera:
    """Open csi://N. Raises CameraError if the machine is not a Jetson or has no such camera."""
    text = csi_pipeline(uri)
    if load("Gst", "1.0").ElementFactory.find("nvarguscamerasrc") is None:
        raise CameraError(
            f"{uri.public}: GStreamer has no element nvarguscamerasrc here; CSI cameras need a Jetson with "
            "JetPack's multimedia packages (nvidia-l4t-gstreamer)."
        )
    return _parsed(uri, f"{text} ! {SINK}")


def csi_pipeline(uri: CameraUri) -> str:
    """Return the pipeline of a CSI camera. Raises UsageError for impossible options."""
    uri.check_keys("width", "height", "fps")
    if not uri.place.isdigit():
        raise UsageError(f"{uri.public}: expected the sensor's number, as in csi://0.")
    width, height = uri.option("width", whole, 1280), uri.option("height", whole, 720)
    fps = uri.option("fps", whole, 30)
    return (
        f"nvarguscamerasrc sensor-id={uri.place} ! video/x-raw(memory:NVMM),width={width},height={height},"
        f"framerate={fps}/1 ! nvvidconv ! video/x-raw,format=NV12 ! videoconvert"
    )


def _parsed(uri: CameraUri, text: str) -> GStreamerCamera:
    """Open the camera described by a pipeline."""
    gst, secrets = load("Gst", "1.0"), secrets_in(uri.place)
    try:
        pipeline = gst.parse_launch(text)
    except Exception as exc:  # noqa: BLE001 (GLib's; not chained, it may quote an account)
        words = masked(str(getattr(exc, "message", exc)), secrets)
        raise CameraError(f"{uri.public}: GStreamer: {words}.") from None
    return GStreamerCamera(uri.public, pipeline, secrets=secrets)
