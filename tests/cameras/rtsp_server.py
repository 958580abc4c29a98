"""An RTSP server of GStreamer's own library, as a process: a moving ball in H.264, until it is killed.

python tests/cameras/rtsp_server.py PORT [USER PASSWORD]
"""

from __future__ import annotations

import sys

from ast_edge.cameras.gi_bindings import load

_SOURCE = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=120,framerate=25/1 ! "
    "x264enc tune=zerolatency key-int-max=10 ! rtph264pay name=pay0 pt=96 )"
)


def main() -> None:
    """Serve for ever."""
    glib, rtsp = load("GLib", "2.0"), load("GstRtspServer", "1.0")
    load("Gst", "1.0")
    server, factory = rtsp.RTSPServer.new(), rtsp.RTSPMediaFactory.new()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    factory.set_launch(_SOURCE)
    factory.set_shared(True)
    if len(sys.argv) > 2:
        _protect(rtsp, server, factory)
    server.get_mount_points().add_factory("/cam", factory)
    server.attach(None)
    print("serving", flush=True)
    glib.MainLoop().run()


def _protect(rtsp: object, server: object, factory: object) -> None:
    """Only the user of the command line may look."""
    token = rtsp.RTSPToken()  # type: ignore[attr-defined]
    token.set_string("media.factory.role", "watcher")
    auth = rtsp.RTSPAuth.new()  # type: ignore[attr-defined]
    auth.add_basic(rtsp.RTSPAuth.make_basic(sys.argv[2], sys.argv[3]), token)  # type: ignore[attr-defined]
    server.set_auth(auth)  # type: ignore[attr-defined]
    permissions = rtsp.RTSPPermissions()  # type: ignore[attr-defined]
    permissions.add_permission_for_role("watcher", "media.factory.access", True)
    permissions.add_permission_for_role("watcher", "media.factory.construct", True)
    factory.set_permissions(permissions)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
