"""Basler cameras, USB3 and GigE Vision, through `pypylon`.

pylon://SERIAL?trigger=software&exposure_us=800&gain=0&pixel_format=BayerRG8&width=1280&height=1024
pylon://SERIAL?trigger=off&rate=30&feature.LineSelector=Line2&feature.LineMode=Output

Without a serial number the first camera found is opened. `trigger`: software, line0 to line3 (the camera's
input), or off (free-running at `rate` frames per second). `exposure_us` and `gain` (in the camera's unit,
mostly dB) switch the automatic modes off; up to `buffers` frames may be in flight. `feature.NAME` sets any
other feature by its GenICam name, in the order given, before all other settings. Settings that are not given
stay as the camera has them, and every setting is read back. pylon's own timers use SIGALRM: a program with a
camera open must not use `signal.alarm` or `signal.setitimer` itself.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ast_edge.cameras import genicam, sdk
from ast_edge.cameras.base import Camera, Frame, NoFrame, State
from ast_edge.cameras.genicam import Asking, Clock, Settings
from ast_edge.cameras.pylon_setup import Features
from ast_edge.cameras.uri import CameraUri, whole
from ast_edge.errors import CameraError, LostFrameError, NotTriggeredError, message

_FEATURE = "feature."
_POLL_S = 0.1  # the longest that pylon is waited for at once, so that `close` is not kept waiting
_WARM_UP_S = 2.0
_ASKED_AT_OPENING = 3
_READY_MS = 200  # after a frame's exposure and readout a camera waits for the next trigger
_NO_ID = (1 << 64) - 1  # of a camera that does not count its frames


class PylonCamera(Camera):
    """One camera. Raises CameraError if it is missing, in use, or refuses a setting."""

    def __init__(self, uri: CameraUri) -> None:
        features = {key: value for key, value in uri.options.items() if key.startswith(_FEATURE)}
        uri.check_keys(*genicam.OPTIONS, "width", "height", *features)
        self._settings = settings = Settings.parsed(uri)
        self.uri = uri.public
        self._pylon = library(self.uri)
        self._asking = Asking(self.uri)
        self._count = Counter({"frames": 0, "incomplete": 0, "missing": 0})
        self._number = -1
        self._last_id: int | None = None
        self._clock = Clock(self.uri)
        self._closed = False
        self._using = threading.RLock()  # pylon must not be closed while it is called
        self._camera: Any = self._opened(uri)
        try:
            known = Features(self._camera, importlib.import_module("pypylon.genicam"), self._asking)
            self._features, self._tick_ns = known, known.tick_ns()
            for key, value in features.items():
                known.set(key.removeprefix(_FEATURE), value)
            for name in ("width", "height"):
                if (size := uri.option(name, whole, None)) is not None:
                    known.set(name.capitalize(), str(size))
            self._colour = self._asking("cannot be set up", lambda: known.set_up(settings))
            self._reported: Mapping[str, float | str]
            self._reported = self._asking("does not report its settings", known.reported)
            self._warm_up()
        except BaseException:
            self.close()
            raise

    # ---- opening -------------------------------------------------------------------------------------------

    def _opened(self, uri: CameraUri) -> Any:
        pylon = self._pylon
        factory = pylon.TlFactory.GetInstance()
        devices = self._asking("cannot be searched for", factory.EnumerateDevices)
        found = {info.GetSerialNumber(): info for info in devices}
        check = "power and cable, and for GigE that camera and network card are in one subnet"
        info = found[sdk.serial_of(uri, found, check)]
        camera = self._asking("cannot be opened", lambda: pylon.InstantCamera(factory.CreateDevice(info)))
        self._asking("cannot be opened", camera.Open)
        return camera

    def _warm_up(self) -> None:
        """Discard a few frames triggered by software, whatever triggers the camera later.

        They calibrate the transit time, from which the exposure time of every later frame follows by its
        stamp. A free-running camera or one with an input stays uncalibrated if it takes no software trigger.
        """
        try:
            self._asking("cannot be set up", lambda: self._features.set_trigger("software"))
            self._start()
            for _ in range(_ASKED_AT_OPENING):
                self._ask_one()
        except CameraError:
            if self._settings.software:
                raise
            self._clock = Clock(self.uri)
        if self._settings.software:
            return
        self._camera.StopGrabbing()
        self._last_id = None
        wanted = self._settings.trigger, self._settings.rate
        self._asking("cannot be set up", lambda: self._features.set_trigger(*wanted))
        self._start()

    def _start(self) -> None:
        pylon = self._pylon
        self._asking("does not start", lambda: self._camera.StartGrabbing(pylon.GrabStrategy_OneByOne))

    def _ask_one(self) -> None:
        """Request one frame by software, to calibrate the clock."""
        asked_ns = time.monotonic_ns()
        self._execute()
        result = self._retrieved(_WARM_UP_S)
        if result is None:
            raise CameraError(f"{self.uri}: no frame within {_WARM_UP_S:g} s after a software trigger.")
        host_ns = time.monotonic_ns()
        with result:
            self._clock.learn(self._stamp_ns(result), asked_ns, host_ns)
            self._last_id = int(result.BlockID)

    # ---- frames --------------------------------------------------------------------------------------------

    @override
    def read(self, timeout_s: float) -> Frame | NoFrame:
        end = time.monotonic() + timeout_s
        while True:
            left_s = end - time.monotonic()
            with self._using:
                self._check_living()
                result = self._retrieved(min(max(left_s, 0.0), _POLL_S))
                if result is not None:
                    host_ns = time.monotonic_ns()
                    with result:
                        return self._frame(result, host_ns)
            if left_s <= 0:
                return NoFrame.TIMEOUT

    def trigger(self) -> None:
        """Trigger by software; the frame gets the next number by the camera's own count."""
        if not self._settings.software:
            raise CameraError(f"{self.uri}: the URI has no trigger=software; add it.")
        # Not under the lock, which `read` holds while it waits; pylon takes calls of several threads.
        self._check_living()
        self._execute()

    def _execute(self) -> None:
        camera, handling = self._camera, self._pylon.TimeoutHandling_Return
        if self._asking("does not say whether it waits for triggers", camera.CanWaitForFrameTriggerReady):
            ready = self._asking("fails", lambda: camera.WaitForFrameTriggerReady(_READY_MS, handling))
            if not ready:
                raise NotTriggeredError(f"{self.uri}: the camera takes no trigger within {_READY_MS} ms.")
        self._asking("did not accept the software trigger", camera.ExecuteSoftwareTrigger)

    def _retrieved(self, timeout_s: float) -> Any:
        """Return the next grab result; None if there is none in time."""
        handling = self._pylon.TimeoutHandling_Return
        wait_ms = max(int(1e3 * timeout_s), 1)
        result = self._asking("fails", lambda: self._camera.RetrieveResult(wait_ms, handling))
        return result if result.IsValid() else None

    def _check_living(self) -> None:
        if self._closed:
            raise CameraError(f"{self.uri}: the camera was closed.")
        if self._camera.IsCameraDeviceRemoved():
            raise CameraError(f"{self.uri}: the camera is disconnected; check cable and power.")

    def _frame(self, result: Any, host_ns: int) -> Frame:
        lost = self._lost_before(int(result.BlockID))
        self._count["missing"] += lost
        self._number += 1 + lost
        if not result.GrabSucceeded():
            self._count["incomplete"] += 1
            why = " ".join(str(result.ErrorDescription).split()).rstrip(".")
            raise LostFrameError(f"{self.uri}: frame {self._number} is incomplete ({why}).", self._number)
        self._count["frames"] += 1
        pixels: NDArray[np.uint8] = np.array(result.Array, np.uint8)
        device_ns = self._stamp_ns(result)
        exposed = self._clock.exposed(device_ns, host_ns)
        return Frame(pixels, self._colour, self._number, device_ns, host_ns, self.uri, None, *exposed)

    def _stamp_ns(self, result: Any) -> int | None:
        """The camera's stamp; None of a camera that gives none."""
        ticks = int(result.TimeStamp)
        return round(ticks * self._tick_ns) if ticks else None

    def _lost_before(self, frame_id: int) -> int:
        """Return the frames lost between the previous and this one, by the camera's own count."""
        last, self._last_id = self._last_id, frame_id
        if last is None or _NO_ID in (last, frame_id):
            return 0
        return genicam.frames_between(last, frame_id)

    @property
    @override
    def state(self) -> State:
        return "closed" if self._closed else "live"

    @property
    @override
    def settings(self) -> Mapping[str, float | str]:
        return self._reported

    @property
    @override
    def counters(self) -> Mapping[str, int]:
        return dict(self._count)

    @override
    def close(self) -> None:
        self._closed = True  # first, so that `read` does not take the lock again
        with self._using:
            for release in (self._camera.StopGrabbing, self._camera.Close):
                with contextlib.suppress(Exception):  # a disconnected camera cannot be stopped
                    release()


def list_devices() -> list[tuple[str, str]]:
    """Serial number and name of each camera that pylon finds. Raises CameraError without pypylon."""
    pylon = library("pylon://")
    try:
        found = pylon.TlFactory.GetInstance().EnumerateDevices()
    except Exception as exc:
        raise CameraError(f"pylon://: {message(exc)}") from exc
    return [(info.GetSerialNumber(), info.GetModelName()) for info in found]


def library(uri: str) -> ModuleType:
    """The module `pypylon.pylon`. Raises CameraError if it is missing or does not load."""
    with warnings.catch_warnings():
        # As an error, a warning about its types, which SWIG made, would crash the process.
        warnings.simplefilter("ignore", DeprecationWarning)
        return sdk.module("pypylon.pylon", "pypylon", uri, "pylon")
