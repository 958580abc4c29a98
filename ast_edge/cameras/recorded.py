"""Frames without a camera: a folder of pictures, a video file, and generated parts.

dir:///folder?loop=1&rate=5          pictures by name; depth from ../xyz if the folder is called rgb,
                                     with depth_scale=0.001 if it holds 16-bit PNGs of millimetres
file:///video.mp4?loop=1&pace=0      at the frame rate of the video, or as fast as it is read
synthetic://?seed=1&defects=0.2&rate=10&size=256

With trigger=software each yields a frame only when one is requested.
"""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from ast_edge.cameras.base import Camera, Frame, NoFrame, State
from ast_edge.cameras.opencv import opencv
from ast_edge.cameras.uri import CameraUri, positive, share, whole, yes_or_no
from ast_edge.errors import AstEdgeError, CameraError, LostFrameError
from ast_edge.frames.depth import depth_unit

_SLOWEST, _USUAL, _FASTEST = (
    0.01,
    25.0,
    1000.0,
)  # plausible frame rates of a video; otherwise the default


def _trigger(text: str) -> bool:
    if text not in {"software", "off"}:
        raise ValueError("expected software or off")
    return text == "software"


def _size(text: str) -> int:
    from ast_edge.synthetic.part import LARGEST, SMALLEST  # noqa: PLC0415 (OpenCV)

    if not SMALLEST <= (size := whole(text)) <= LARGEST:
        raise ValueError(f"expected {SMALLEST} to {LARGEST}")
    return size


class Recorded(Camera):
    """Existing frames, delivered at `rate` per second, or as fast as they are read."""

    def __init__(self, uri: CameraUri, rate: float | None) -> None:
        self.uri = uri.public
        self._asked = threading.Semaphore(0) if uri.option("trigger", _trigger, False) else None  # noqa: FBT003
        self._period_s = 0.0 if rate is None else 1 / rate
        self._due = time.monotonic()
        self._number = self._unreadable = 0
        self._ended = False
        self._closed = threading.Event()

    @override
    def read(self, timeout_s: float) -> Frame | NoFrame:
        if self._closed.is_set():
            raise CameraError(f"{self.uri}: the camera was closed.")
        if self._ended:
            return NoFrame.END
        if self._asked is not None:
            self._prepare(self._number)
            if not self._asked.acquire(timeout=timeout_s) or self._closed.is_set():
                return NoFrame.TIMEOUT
        elif (waited := self._pace(timeout_s)) is not None:
            return waited
        number, self._number = self._number, self._number + 1
        try:
            found = self._next(number)
        except LostFrameError as exc:
            self._unreadable += 1  # the number is skipped, so the gap shows that a part is missing
            raise LostFrameError(str(exc), number) from exc
        if found is None:
            self._ended = True
            return NoFrame.END
        now = time.monotonic_ns()
        return replace(found, number=number, host_ns=now, exposed_from_ns=now, exposed_to_ns=now)

    def _pace(self, timeout_s: float) -> NoFrame | None:
        """Wait until the next frame is due; return None when it is."""
        wait_s = self._due - time.monotonic()
        if wait_s > timeout_s:
            self._closed.wait(timeout_s)
            return NoFrame.TIMEOUT
        if wait_s > 0 and self._closed.wait(wait_s):
            return NoFrame.END
        # A slow reader does not cause a burst of frames afterwards.
        self._due = max(self._due, time.monotonic() - self._period_s) + self._period_s
        return None

    def trigger(self) -> int | None:
        """Request one frame; its number is unknown if another request is pending."""
        if self._asked is None:
            return super().trigger()
        self._asked.release()
        return None

    def _prepare(self, number: int) -> None:
        """Prepare the frame with this number before it is requested."""

    @abstractmethod
    def _next(self, number: int) -> Frame | None:
        """Return the frame with this number, None after the last; LostFrameError for an unreadable one."""

    @property
    @override
    def state(self) -> State:
        return "closed" if self._closed.is_set() else "live"

    @property
    @override
    def counters(self) -> Mapping[str, int]:
        return {"frames": self._number - self._unreadable, "unreadable": self._unreadable}

    @override
    def close(self) -> None:
        self._closed.set()
        if self._asked is not None:
            self._asked.release()


class FolderCamera(Recorded):
    """The pictures directly in a folder, sorted by name."""

    def __init__(self, uri: CameraUri) -> None:
        from ast_edge.frames.reading import list_images  # noqa: PLC0415 (Pillow)

        uri.check_keys("depth_scale", "loop", "rate", "trigger")
        super().__init__(uri, uri.option("rate", positive, None) if "rate" in uri.options else None)
        self._loop = uri.option("loop", yes_or_no, False)  # noqa: FBT003
        self._scale_m = uri.option("depth_scale", depth_unit, None) if "depth_scale" in uri.options else None
        folder = Path(uri.place)
        if not folder.is_dir():
            raise CameraError(f"{self.uri}: there is no folder {folder}.")
        self._pictures = list_images(folder)
        if not self._pictures:
            raise CameraError(f"{self.uri}: there is no picture directly in {folder}.")

    def _next(self, number: int) -> Frame | None:
        from ast_edge.frames.reading import read_depth_beside, read_image  # noqa: PLC0415 (Pillow)

        if number >= len(self._pictures) and not self._loop:
            return None
        path = self._pictures[number % len(self._pictures)]
        try:
            depth = None
            if path.resolve().parent.name == "rgb" and (path.resolve().parent.parent / "xyz").is_dir():
                depth = read_depth_beside(path, registered=True, scale_m=self._scale_m)
            return Frame(read_image(path), "rgb", number, None, 0, str(path), depth)
        except AstEdgeError as exc:
            raise LostFrameError(str(exc)) from exc


class VideoCamera(Recorded):
    """A video file, decoded by OpenCV."""

    def __init__(self, uri: CameraUri) -> None:
        cv2 = opencv(uri)
        uri.check_keys("loop", "pace", "trigger")
        self._path = Path(uri.place)
        if not self._path.is_file():
            raise CameraError(f"{uri.public}: there is no file {self._path}.")
        self._video: Any = cv2.VideoCapture(str(self._path))
        if not self._video.isOpened():
            raise CameraError(f"{uri.public}: OpenCV cannot read {self._path} as a video.")
        rate = float(self._video.get(cv2.CAP_PROP_FPS))
        rate = rate if _SLOWEST <= rate <= _FASTEST else _USUAL
        super().__init__(uri, rate if uri.option("pace", yes_or_no, True) else None)  # noqa: FBT003
        self._loop = uri.option("loop", yes_or_no, False)  # noqa: FBT003
        self._start = cv2.CAP_PROP_POS_FRAMES
        self._decoding = threading.Lock()  # OpenCV must not be closed while it decodes

    def _next(self, number: int) -> Frame | None:
        with self._decoding:
            there, pixels = self._video.read()
            if not there and self._loop:
                self._video.set(self._start, 0)
                there, pixels = self._video.read()
        return Frame(pixels, "bgr", number, None, 0, str(self._path)) if there else None

    @override
    def close(self) -> None:
        super().close()
        with self._decoding:
            self._video.release()


class SyntheticCamera(Recorded):
    """Generated parts, some of them defective; `source` is the ground truth of each."""

    def __init__(self, uri: CameraUri) -> None:
        opencv(uri)
        uri.check_keys("seed", "defects", "rate", "size", "trigger")
        super().__init__(uri, uri.option("rate", positive, 10.0))
        self._seed = uri.option("seed", whole, 0)
        self._defects = uri.option("defects", share, 0.2)
        self._size = uri.option("size", _size, 256)
        self._ready: Frame | None = None

    def _prepare(self, number: int) -> None:
        # A camera delivers milliseconds after its trigger; rendering takes longer.
        if self._ready is None or self._ready.number != number:
            self._ready = self._rendered(number)

    def _next(self, number: int) -> Frame | None:
        ready, self._ready = self._ready, None
        return ready if ready is not None and ready.number == number else self._rendered(number)

    def _rendered(self, number: int) -> Frame:
        from ast_edge.synthetic.part import DEFECTS, render  # noqa: PLC0415 (OpenCV)

        rng = np.random.default_rng([self._seed, number])
        defect = str(rng.choice(DEFECTS)) if rng.random() < self._defects else None
        part = render(int(rng.integers(2**62)), defect, size=self._size)
        truth = f"part {number}, {f'defect {defect}' if defect else 'good'}"
        return Frame(part.image, "rgb", number, None, 0, truth, part.xyz[..., 2])
