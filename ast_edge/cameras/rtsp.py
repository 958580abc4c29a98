"""RTSP cameras, through GStreamer.

rtsp://user@host:554/path?password_env=NAME&latency_ms=50&transport=tcp

The password is read from the environment variable `password_env`, or from the URI, and never appears in a
message. `latency_ms` is how long frames wait for late packets; `transport` is tcp or udp. All other options
are passed to the server, as in ?channel=1.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote, urlencode

from ast_edge.cameras.gi_bindings import load
from ast_edge.cameras.gstreamer import SINK, GStreamerCamera
from ast_edge.cameras.uri import CameraUri, whole
from ast_edge.errors import CameraError, UsageError

_SERVER_S = 5.0
_OPTIONS = ("password_env", "latency_ms", "transport")
_AS_THEY_ARE = "/:?&=@,;+$!*'()~[]"


def rtsp_camera(uri: CameraUri) -> GStreamerCamera:
    """Open rtsp://. Raises CameraError if the server is unreachable, refuses, or has no video."""
    # All other options are passed to the server, as in ?channel=1.
    of_server = {key: value for key, value in uri.options.items() if key not in _OPTIONS}
    query = f"?{urlencode(of_server)}" if of_server else ""
    gst = load("Gst", "1.0")
    secret = _password(uri)
    pipeline = gst.Pipeline.new(None)
    source, decoder = _element(gst, "rtspsrc"), _element(gst, "decodebin")
    convert, sink = _element(gst, "videoconvert"), gst.parse_launch(SINK)
    settings = {
        "location": f"rtsp://{quote(uri.place, safe=_AS_THEY_ARE)}{query}",
        "latency": uri.option("latency_ms", whole, 50),
        "timeout": int(_SERVER_S * 1e6),
        "tcp-timeout": int(_SERVER_S * 1e6),
    }
    for name, value in settings.items():
        source.set_property(name, value)
    gst.util_set_object_arg(source, "protocols", uri.option("transport", _transport, "tcp"))
    if uri.user is not None:
        # Set as properties, not as text of a pipeline or location: both appear in errors.
        source.set_property("user-id", uri.user)
        source.set_property("user-pw", secret)
    for element in (source, decoder, convert, sink):
        pipeline.add(element)
    convert.link(sink)
    source.connect("pad-added", lambda _, pad: _link(pad, decoder))
    decoder.connect("pad-added", lambda _, pad: _link(pad, convert))
    return GStreamerCamera(uri.public, pipeline, secrets=[secret])


def _link(pad: Any, element: Any) -> None:
    """Link a new video pad to the next element; audio and others stay unlinked."""
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
