"""One way to every camera."""

from __future__ import annotations

from collections.abc import Callable

from ast_edge.cameras.base import Camera
from ast_edge.cameras.recorded import FolderCamera, SyntheticCamera, VideoCamera
from ast_edge.cameras.uri import CameraUri, parse_uri
from ast_edge.errors import UsageError


def _gige(uri: CameraUri) -> Camera:
    from ast_edge.cameras.gige import GigeCamera  # noqa: PLC0415 (with its kind's own name)

    return GigeCamera(uri)


_KINDS: dict[str, Callable[[CameraUri], Camera]] = {
    "dir": FolderCamera,
    "file": VideoCamera,
    "gige": _gige,
    "synthetic": SyntheticCamera,
}


def open_camera(uri: str) -> Camera:
    """Open `dir://`, `file://` or `synthetic://`; their options are in `ast_edge.cameras.recorded`.

    Raises UsageError for a URI that cannot be, CameraError for a camera that is not there.
    """
    parsed = parse_uri(uri)
    if parsed.scheme not in _KINDS:
        raise UsageError(
            f"{parsed.public}: there is no camera of the kind {parsed.scheme}://; known: "
            f"{', '.join(f'{kind}://' for kind in _KINDS)}."
        )
    return _KINDS[parsed.scheme](parsed)
