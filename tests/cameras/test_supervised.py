"""A camera that dies, stalls, freezes or is too fast, and what its supervisor makes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import numpy as np
import pytest

from ast_edge.cameras.base import Camera, Frame, NoFrame, State
from ast_edge.cameras.supervised import Supervised, Watch
from ast_edge.errors import CameraError
from tests.waiting import wait_for


class Scripted(Camera):
    """Does the steps of a script, then stays silent: a frame's grey level, an error, or an end."""

    def __init__(self, script: list[int | Exception | NoFrame]) -> None:
        self.uri = "scripted://"
        self._script = script
        self._number = 0
        self.closed = False

    def read(self, timeout_s: float) -> Frame | NoFrame:
        if not self._script:
            time.sleep(min(timeout_s, 0.02))
            return NoFrame.TIMEOUT
        step = self._script.pop(0)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, NoFrame):
            return step
        self._number += 1
        pixels = np.full((16, 16), step, np.uint8)
        return Frame(pixels, "mono", self._number - 1, None, time.monotonic_ns())

    @property
    def state(self) -> State:
        return "live"

    @property
    def counters(self) -> Mapping[str, int]:
        return {"packets": 7}

    def close(self) -> None:
        self.closed = True


def next_frame(camera: Camera) -> Frame:
    frame = camera.read(20)
    assert isinstance(frame, Frame)
    return frame


def test_a_camera_that_dies_is_opened_again_and_its_numbers_go_on() -> None:
    cameras: list[Scripted] = []
    scripts: list[list[int | Exception | NoFrame]] = [
        [1, 2, CameraError("the cable is out")],
        [ZeroDivisionError("a bug of the driver")],
        [3, 4],
    ]

    def factory() -> Camera:
        if len(cameras) == 1 and not cameras[0].closed:
            raise AssertionError("the first camera was not closed")
        cameras.append(Scripted(scripts.pop(0)))
        return cameras[-1]

    with Supervised("scripted://", factory) as camera:
        found = [next_frame(camera) for _ in range(4)]
        assert [frame.number for frame in found] == [0, 1, 2, 3]
        assert [int(frame.pixels.max()) for frame in found if frame.pixels is not None] == [1, 2, 3, 4]
        assert camera.counters["reconnects"] == 2
        assert camera.counters["errors"] == 2
        assert "ZeroDivisionError" in camera.last_error
        assert camera.read(0.05) is NoFrame.TIMEOUT
    assert all(each.closed for each in cameras)
    assert camera.state == "closed"
    with pytest.raises(CameraError, match="was closed"):
        camera.read(0.1)
    camera.close()


def test_a_camera_that_is_not_there_yet_is_waited_for() -> None:
    tries = iter(range(100))

    def factory() -> Camera:
        if next(tries) < 2:
            raise CameraError("not there")
        return Scripted([5])

    with Supervised("scripted://", factory) as camera:
        wait_for(lambda: camera.last_error == "not there")
        with pytest.raises(CameraError, match="not there"):
            camera.trigger()
        assert next_frame(camera).number == 0


def test_silence_is_a_stall_and_then_a_loss() -> None:
    opened: list[int] = []

    def factory() -> Camera:
        opened.append(1)
        return Scripted([9])

    watch = Watch(stall_s=0.2, lost_s=0.6)
    with Supervised("scripted://", factory, watch) as camera:
        next_frame(camera)
        wait_for(lambda: camera.state == "stalled")
        wait_for(lambda: len(opened) > 1)
        assert "no frame for" in camera.last_error
        # Two cameras have counted seven packets each by now.
        wait_for(lambda: camera.counters["packets"] >= 14)
        assert camera.counters["reconnects"] >= 1


def test_a_camera_that_waits_for_triggers_owes_nothing_until_it_is_asked() -> None:
    changes: list[str] = []
    asked = threading.Event()

    class Waiting(Scripted):
        def trigger(self) -> None:
            asked.set()

    watch = Watch(stall_s=0.2, lost_s=0.5, triggered=True)
    with Supervised(
        "scripted://", lambda: Waiting([]), watch, lambda state, _: changes.append(state)
    ) as camera:
        wait_for(lambda: camera.state == "live")
        time.sleep(0.8)
        assert changes == ["live"]
        camera.trigger()
        assert asked.is_set()
        wait_for(lambda: changes[:3] == ["live", "stalled", "lost"])
        wait_for(lambda: camera.state == "live")


def test_a_library_that_never_returns_is_seen_and_does_not_keep_the_station() -> None:
    release = threading.Event()

    class Hanging(Scripted):
        def read(self, timeout_s: float) -> Frame | NoFrame:
            if not self._script:
                release.wait(60)
            return super().read(timeout_s)

    camera = Supervised("scripted://", lambda: Hanging([1]), Watch(stall_s=0.2, lost_s=0.5))
    next_frame(camera)
    wait_for(lambda: camera.state == "stalled")
    wait_for(lambda: camera.state == "lost")
    started = time.monotonic()
    camera.close()
    assert time.monotonic() - started < 30
    assert "does not return" in camera.last_error
    release.set()
    camera._thread.join()


def test_the_newest_frame_wins_and_the_others_are_counted() -> None:
    with Supervised("scripted://", lambda: Scripted(list(range(20))), Watch(policy="latest")) as camera:
        wait_for(lambda: camera.counters["frames"] == 20)
        assert next_frame(camera).number == 19
        assert camera.counters["dropped"] == 19
        age = camera.frame_age_s
        assert age is not None
        assert 0 <= age < 20


def test_every_frame_is_kept_up_to_a_bound() -> None:
    with Supervised("scripted://", lambda: Scripted(list(range(20))), Watch(kept=8)) as camera:
        wait_for(lambda: camera.counters["frames"] == 20)
        assert [next_frame(camera).number for _ in range(8)] == list(range(12, 20))
        assert camera.counters["dropped"] == 12


def test_a_frozen_camera_is_counted() -> None:
    with Supervised("scripted://", lambda: Scripted([7, 7, 7, 8])) as camera:
        wait_for(lambda: camera.counters["frames"] == 4)
        assert camera.counters["repeated"] == 2


def test_an_end_is_an_end() -> None:
    with Supervised("scripted://", lambda: Scripted([1, NoFrame.END])) as camera:
        next_frame(camera)
        wait_for(lambda: camera.read(0.1) is NoFrame.END)
        assert camera.counters["reconnects"] == 0


def test_closing_ends_a_read_that_waits() -> None:
    camera = Supervised("scripted://", lambda: Scripted([]))
    started = time.monotonic()
    camera.close()
    with pytest.raises(CameraError):
        camera.read(30)
    assert time.monotonic() - started < 10
