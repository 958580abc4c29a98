"""One camera session: opened, read and closed in its own thread, so that a hang stays isolated."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping

from ast_edge.cameras.base import Camera, Frame, NoFrame
from ast_edge.errors import LostFrameError

_POLL_S = 0.1


class Link:
    """Reads until the camera ends or raises, or `leave` is called; then closes it.

    `take` receives every frame and `lost` the error of every frame that could not be delivered, on the link's
    thread. `error` is the exception of the camera; `counted` its counters so far.
    """

    def __init__(
        self,
        factory: Callable[[], Camera],
        take: Callable[[Link, Frame], None],
        lost: Callable[[Link, LostFrameError], None],
    ) -> None:
        self._factory, self._take, self._lost = factory, take, lost
        self._leaving = threading.Event()
        self.camera: Camera | None = None
        self.counted: Mapping[str, int] = {}
        self.error: Exception | None = None
        self.ended = False
        self.taken = 0  # whole frames
        self.over = threading.Event()  # no more frames; closing may take longer
        self._turned = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="ast-edge-camera-read", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def hung_s(self) -> float:
        """Seconds since a read call has not returned; 0 while the camera is being opened."""
        if self.camera is None or self.over.is_set():
            return 0.0
        return max(time.monotonic() - self._turned - _POLL_S, 0.0)

    def leave(self) -> None:
        """Stop reading; does not wait."""
        self._leaving.set()

    def join(self, timeout_s: float) -> bool:
        """Wait until the camera is closed; return False if its library does not return in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            with self._factory() as camera:
                self._turned = time.monotonic()
                self.camera = camera
                try:
                    self._read(camera)
                except Exception as exc:  # noqa: BLE001 (known before closing takes its time)
                    _drop_locals(exc)
                    self.error = exc
                finally:
                    self.over.set()
        except Exception as exc:  # noqa: BLE001 (whatever a camera does, the station hears of it)
            _drop_locals(exc)
            self.error = self.error or exc
        finally:
            self.over.set()

    def _read(self, camera: Camera) -> None:
        while not self._leaving.is_set() and not self.ended:
            self._turned = time.monotonic()
            try:
                found = camera.read(_POLL_S)
                if isinstance(found, Frame):
                    self._take(self, found)
                self.ended = found is NoFrame.END
            except LostFrameError as exc:
                self._lost(self, exc)
            finally:
                self.counted = camera.counters


def _drop_locals(error: BaseException) -> None:
    """Clear the local variables of the calls that `error` passed through.

    Its traceback would keep them, a stream or a buffer of the camera's library among them, and with these the
    device: it could not be opened again.
    """
    following: BaseException | None = error
    while following is not None:
        traceback.clear_frames(following.__traceback__)
        following = following.__cause__ or following.__context__
