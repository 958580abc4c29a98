"""Whatever GStreamer can show, through the system's bindings.

gst:///PIPELINE                          the text of gst-launch-1.0 without a sink, as gst:///videotestsrc
rtsp://user@host:554/path?password_env=NAME&latency_ms=50&transport=tcp
csi://0?width=1280&height=720&fps=60     a CSI camera of a Jetson by its sensor number

Frames in BGR, RGB, grey, Bayer, NV12 and YUY2 are taken as they come, others are converted to one of these.
Of frames that nobody takes in time the oldest go. A password stands in the environment variable
`password_env`, or in the URI, and never in a message.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from ast_edge.cameras.base import Camera, Frame, NoFrame, State
from ast_edge.cameras.gi_bindings import load
from ast_edge.cameras.uri import CameraUri, whole
from ast_edge.errors import CameraError, UsageError
from ast_edge.pixel_formats import Colour

_FORMATS: dict[str, Colour] = {
    "BGR": "bgr",
    "RGB": "rgb",
    "GRAY8": "mono",
    "NV12": "nv12",
    "YUY2": "yuyv",
    "rggb": "bayer_rggb",
    "bggr": "bayer_bggr",
    "grbg": "bayer_grbg",
    "gbrg": "bayer_gbrg",
}
_BAYER = ",".join(name for name in _FORMATS if name.islower())
# YUV in the one colorimetry that `ast_edge.pixel_formats` decodes: BT.601 in limited range.
_CAPS = (
    "video/x-raw,format=(string){BGR,RGB,GRAY8};"
    "video/x-raw,format=(string){NV12,YUY2},colorimetry=(string)bt601;"
    f"video/x-bayer,format=(string){{{_BAYER}}}"
)
_SINK = f'appsink name=ast_edge_sink max-buffers=4 drop=true caps="{_CAPS}"'
_KEPT = 4
_POLL_S = 0.05
_OPEN_S = 15.0
_SERVER_S = 5.0
_RTSP_OPTIONS = ("password_env", "latency_ms", "transport")


class GStreamerCamera(Camera):
    """Frames of a pipeline that ends in an appsink called `ast_edge_sink`.

    Raises CameraError where it does not start. A `live` source never ends: its end is an error. `secrets` are
    taken out of every message.
    """

    def __init__(self, uri: str, pipeline: Any, *, live: bool, secrets: Sequence[str] = ()) -> None:
        self.uri = uri
        self._gst = load("Gst", "1.0")
        self._live, self._secrets = live, [secret for secret in secrets if secret]
        self._pipeline = pipeline
        self._sink = pipeline.get_by_name("ast_edge_sink")
        self._bus = pipeline.get_bus()
        self._number = 0
        self._ended = False
        self._closed = threading.Event()
        self._lock = threading.Lock()
        try:
            self._play()
        except BaseException:
            self.close()
            raise

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """See `Camera`."""
        end = time.monotonic() + timeout_s
        while True:
            if self._closed.is_set():
                raise CameraError(f"{self.uri}: the camera was closed.")
            left_s = max(min(end - time.monotonic(), _POLL_S), 0.0)
            sample = self._sink.emit("try-pull-sample", int(left_s * 1e9))
            if sample is not None:
                return self._frame(sample, time.monotonic_ns())
            if (ended := self._looked_at_bus()) is not None:
                return ended
            if time.monotonic() >= end:
                return NoFrame.TIMEOUT

    @property
    def state(self) -> State:
        """See `Camera`."""
        return "closed" if self._closed.is_set() else "live"

    @property
    def counters(self) -> Mapping[str, int]:
        """See `Camera`."""
        return {"frames": self._number}

    def close(self) -> None:
        """See `Camera`."""
        with self._lock:
            if not self._closed.is_set():
                self._closed.set()
                self._pipeline.set_state(self._gst.State.NULL)

    def _play(self) -> None:
        """Start, and wait until it plays or says why not."""
        gst = self._gst
        self._pipeline.set_state(gst.State.PLAYING)
        end = time.monotonic() + _OPEN_S
        while self._pipeline.get_state(int(_POLL_S * 1e9))[0] == gst.StateChangeReturn.ASYNC:
            self._looked_at_bus()
            if time.monotonic() > end:
                raise CameraError(f"{self.uri}: no frame within {_OPEN_S:g} s of the start.")
        self._looked_at_bus(ends=False)

    def _looked_at_bus(self, *, ends: bool = True) -> NoFrame | None:
        """END where there is no more; CameraError with GStreamer's words. With `ends` an end is taken."""
        kinds = self._gst.MessageType
        message = self._bus.pop_filtered(kinds.ERROR | kinds.EOS if ends else kinds.ERROR)
        if message is None:
            return NoFrame.END if self._ended else None
        if message.type == kinds.EOS:
            if self._live:
                raise CameraError(f"{self.uri}: the stream has ended.")
            self._ended = True
            return NoFrame.END
        error, details = message.parse_error()
        source = "" if message.src is None else f"{message.src.get_name()}: "
        last = (details or "").strip().splitlines()[-1:]
        raise CameraError(self._clean(f"{self.uri}: {source}{error.message} {' '.join(last)}".strip()))

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _frame(self, sample: Any, host_ns: int) -> Frame:
        structure, buffer = sample.get_caps().get_structure(0), sample.get_buffer()
        name = structure.get_string("format")
        width, height = structure.get_int("width")[1], structure.get_int("height")[1]
        planes = _planes(name, width, height, sample.get_caps(), buffer)
        data = np.frombuffer(buffer.extract_dup(0, buffer.get_size()), np.uint8)
        pixels = _pixels(data, name, width, planes)
        number, self._number = self._number, self._number + 1
        pts = buffer.pts
        device_ns = None if pts == self._gst.CLOCK_TIME_NONE else int(pts)
        return Frame(pixels, _FORMATS[name], number, device_ns, host_ns, self.uri)


Plane = tuple[int, int, int]  # where it begins in the buffer, bytes from row to row, rows


def _planes(name: str, width: int, height: int, caps: Any, buffer: Any) -> list[Plane]:
    """Where the rows are: rows may be longer than the picture is wide."""
    if name.islower():  # Bayer patterns have no video info; rows are filled up to four bytes
        return [(0, -(-width // 4) * 4, height)]
    video = load("GstVideo", "1.0")
    meta = video.buffer_get_video_meta(buffer)
    info = video.VideoInfo.new_from_caps(caps) if meta is None else meta
    rows = (height, -(-height // 2)) if name == "NV12" else (height,)
    return [(int(info.offset[at]), int(info.stride[at]), count) for at, count in enumerate(rows)]


def _pixels(data: NDArray[np.uint8], name: str, width: int, planes: Sequence[Plane]) -> NDArray[np.uint8]:
    """The picture without what fills the rows up; raises CameraError for too few bytes."""
    depth = {"BGR": 3, "RGB": 3, "YUY2": 2}.get(name, 1)
    used = width * depth
    parts = []
    for start, stride, rows in planes:
        need = start + stride * (rows - 1) + used
        if stride < used or need > data.size:
            raise CameraError(f"a frame of {data.size} bytes, where {name} needs {need}.")
        view = np.lib.stride_tricks.as_strided(data[start:], (rows, used), (stride, 1), writeable=False)
        parts.append(view)
    flat = np.concatenate(parts)
    return flat.reshape(flat.shape[0], width, depth) if depth > 1 else flat


def pipeline_camera(uri: CameraUri) -> GStreamerCamera:
    """gst:///PIPELINE. Raises UsageError where there is none, CameraError where it does not run."""
    uri.check_keys()
    text = uri.place.strip("/ ")
    if not text:
        raise UsageError(f"{uri.public}: there is no pipeline after gst:///.")
    try:
        # What the sink takes as it is goes through videoconvert untouched; only Bayer is unknown to it.
        return GStreamerCamera(
            uri.public, _parsed(uri.public, f"{text} ! videoconvert ! {_SINK}"), live=False
        )
    except CameraError as exc:
        if "not-negotiated" not in str(exc) and "could not link" not in str(exc):
            raise
    return GStreamerCamera(uri.public, _parsed(uri.public, f"{text} ! {_SINK}"), live=False)


def csi_camera(uri: CameraUri) -> GStreamerCamera:
    """csi://N. Raises CameraError on a machine that is no Jetson, or has no such camera."""
    text = csi_pipeline(uri)
    if load("Gst", "1.0").ElementFactory.find("nvarguscamerasrc") is None:
        raise CameraError(
            f"{uri.public}: GStreamer has no element nvarguscamerasrc here; CSI cameras need a Jetson with "
            "JetPack's multimedia packages (nvidia-l4t-gstreamer)."
        )
    return GStreamerCamera(uri.public, _parsed(uri.public, f"{text} ! {_SINK}"), live=True)


def csi_pipeline(uri: CameraUri) -> str:
    """The pipeline of a CSI camera. Raises UsageError for options that cannot be."""
    uri.check_keys("width", "height", "fps")
    if not uri.place.isdigit():
        raise UsageError(f"{uri.public}: expected the sensor's number, as in csi://0.")
    width, height = uri.option("width", whole, 1280), uri.option("height", whole, 720)
    fps = uri.option("fps", whole, 30)
    return (
        f"nvarguscamerasrc sensor-id={uri.place} ! video/x-raw(memory:NVMM),width={width},height={height},"
        f"framerate={fps}/1 ! nvvidconv ! video/x-raw,format=NV12 ! videoconvert"
    )


def rtsp_camera(uri: CameraUri) -> GStreamerCamera:
    """rtsp://. Raises CameraError where the server is not there, refuses, or has no video."""
    # Every other option is the server's own, as in ?channel=1.
    of_server = {key: value for key, value in uri.options.items() if key not in _RTSP_OPTIONS}
    location = f"{uri.public}?{urlencode(of_server)}" if of_server else uri.public
    gst = load("Gst", "1.0")
    secret = _password(uri)
    pipeline = gst.Pipeline.new(None)
    source, decoder = _element(gst, "rtspsrc"), _element(gst, "decodebin")
    convert, sink = _element(gst, "videoconvert"), gst.parse_launch(_SINK)
    settings = {
        "location": location,
        "latency": uri.option("latency_ms", whole, 50),
        "timeout": int(_SERVER_S * 1e6),
        "tcp-timeout": int(_SERVER_S * 1e6),
    }
    for name, value in settings.items():
        source.set_property(name, value)
    gst.util_set_object_arg(source, "protocols", uri.option("transport", _transport, "tcp"))
    if uri.user is not None:
        source.set_property("user-id", uri.user)
        source.set_property("user-pw", secret)
    sink.set_property("sync", False)  # noqa: FBT003 (GObject's signature)
    for element in (source, decoder, convert, sink):
        pipeline.add(element)
    convert.link(sink)
    source.connect("pad-added", lambda _, pad: _link(pad, decoder))
    decoder.connect("pad-added", lambda _, pad: _link(pad, convert))
    return GStreamerCamera(uri.public, pipeline, live=True, secrets=[secret])


def _link(pad: Any, element: Any) -> None:
    """A new pad of pictures to the next element; sound and the like stay open."""
    target = element.get_static_pad("sink")
    caps = pad.get_current_caps() or pad.query_caps(None)
    kind = caps.get_structure(0)
    if not target.is_linked() and (kind.get_string("media") or kind.get_name()).startswith("video"):
        pad.link(target)


def _element(gst: Any, name: str) -> Any:
    made = gst.ElementFactory.make(name, None)
    if made is None:
        raise CameraError(
            f"GStreamer has no element {name} here; Debian, Ubuntu: sudo apt install "
            "gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav."
        )
    return made


def _parsed(uri: str, text: str) -> Any:
    gst = load("Gst", "1.0")
    try:
        return gst.parse_launch(text)
    except Exception as exc:
        raise CameraError(f"{uri}: GStreamer: {getattr(exc, 'message', exc)}.") from exc


def _password(uri: CameraUri) -> str:
    variable = uri.options.get("password_env")
    if variable is None:
        return uri.password or ""
    if uri.password is not None or uri.user is None:
        raise UsageError(f"{uri.public}: with password_env give a user and no password in the URI.")
    value = os.environ.get(variable, "")
    if not value:
        raise CameraError(f"{uri.public}: the environment variable {variable} is empty or not set.")
    return value


def _transport(text: str) -> str:
    if text not in {"tcp", "udp"}:
        raise ValueError("expected tcp or udp")
    return text
