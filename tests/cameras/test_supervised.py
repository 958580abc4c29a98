"""The camera's supervisor: cameras that die, stall, freeze or are too fast."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import numpy as np
import pytest

from ast_edge.cameras.base import Camera, Frame, NoFrame, State
from ast_edge.cameras.supervised import Supervised, Watch
from ast_edge.errors import CameraError, LostFrameError, NotTriggeredError
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
        self._number += isinstance(step, LostFrameError)  # it takes its number with it
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


def test_counters_never_go_back_and_zeros_are_shown() -> None:
    seen: list[int] = []
    with Supervised("scripted://", lambda: Scripted([1, CameraError("dead")])) as camera:
        while camera.counters["reconnects"] < 2:
            counters = camera.counters
            assert counters["dropped"] == counters["incomplete"] == counters["hung"] == 0
            seen.append(counters.get("packets", 0))
        assert seen == sorted(seen)
        assert camera.counters["packets"] >= 14


class Asked(Scripted):
    """Gives what the test puts into `script`, and notes every trigger."""

    def __init__(self, script: list[int | Exception | NoFrame]) -> None:
        super().__init__(script)
        self.triggers = 0

    def trigger(self) -> None:
        self.triggers += 1


def test_a_second_frame_is_not_asked_for_while_the_first_is_on_its_way() -> None:
    """A frame that comes late is not taken for the next part's, which would have its verdict from it."""
    script: list[int | Exception | NoFrame] = []
    asked = Asked(script)
    with Supervised("scripted://", lambda: asked, Watch(triggered=True)) as camera:
        wait_for(lambda: camera.state == "live")
        camera.trigger()
        with pytest.raises(CameraError, match=r"requested \d+ ms ago has not arrived"):
            camera.trigger()
        script.append(1)
        next_frame(camera)
        camera.trigger()
        script.append(LostFrameError("came incomplete"))
        wait_for(lambda: camera.counters["incomplete"] == 1)
        camera.trigger()
        assert asked.triggers == 3
        assert camera.counters["reconnects"] == 0
        assert camera.last_error == "came incomplete"


def test_a_frame_that_never_comes_is_not_waited_for_for_ever() -> None:
    """The camera is opened again: its late frame, if it comes after all, is of another life."""
    lives: list[Asked] = []

    def factory() -> Camera:
        lives.append(Asked([]))
        return lives[-1]

    with Supervised("scripted://", factory, Watch(0.1, 0.3, triggered=True)) as camera:
        wait_for(lambda: camera.state == "live")
        camera.trigger()
        with pytest.raises(CameraError, match="has not arrived"):
            camera.trigger()
        wait_for(lambda: len(lives) == 2 and camera.state == "live")
        assert camera.trigger() == 0
        assert [life.triggers for life in lives] == [1, 1]


def test_a_request_that_did_not_reach_the_camera_owes_no_frame() -> None:
    class Busy(Scripted):
        asked = 0

        def trigger(self) -> None:
            self.asked += 1
            if self.asked == 1:
                raise NotTriggeredError("busy")
            self._script.append(9)

    watch = Watch(triggered=True, stall_s=0.3, lost_s=0.6)
    with Supervised("scripted://", lambda: Busy([]), watch) as camera:
        wait_for(lambda: camera.state == "live")
        with pytest.raises(NotTriggeredError):
            camera.trigger()
        time.sleep(1.0)
        assert (camera.state, camera.counters["errors"]) == ("live", 0)
        camera.trigger()
        assert next_frame(camera).number == 0


def test_the_number_of_a_frame_is_known_when_it_is_asked_for() -> None:
    """Frames that cannot be had take their numbers with them."""
    script: list[int | Exception | NoFrame] = []
    with Supervised("scripted://", lambda: Asked(script), Watch(triggered=True)) as camera:
        wait_for(lambda: camera.state == "live")
        for lost in (False, True, False):
            number = camera.trigger()
            script.append(LostFrameError("came incomplete", 1) if lost else 1)
            if lost:
                wait_for(lambda: camera.counters["incomplete"] == 1)
            else:
                assert next_frame(camera).number == number


def test_a_trigger_that_never_returns_is_a_camera_that_is_lost() -> None:
    release, lives = threading.Event(), list[Asked]()

    class Hanging(Asked):
        def trigger(self) -> None:
            release.wait(30)

    def factory() -> Camera:
        lives.append(Asked([1]) if lives else Hanging([]))
        return lives[-1]

    refused: list[str] = []

    def ask() -> None:
        try:
            camera.trigger()
        except CameraError as exc:
            refused.append(str(exc))

    with Supervised("scripted://", factory, Watch(0.1, 0.3, triggered=True)) as camera:
        wait_for(lambda: camera.state == "live")
        asking = threading.Thread(target=ask)
        asking.start()
        wait_for(lambda: len(lives) == 2 and camera.state == "live")
        next_frame(camera)
        release.set()
        asking.join()
    assert "opened again" in refused[0]


def test_a_camera_that_gives_nothing_whole_is_not_live() -> None:
    changes: list[str] = []

    class Broken(Scripted):
        def read(self, timeout_s: float) -> Frame | NoFrame:  # noqa: ARG002
            time.sleep(0.01)
            raise LostFrameError("came incomplete")

    watch = Watch(stall_s=0.2, lost_s=0.5)
    with Supervised(
        "scripted://", lambda: Broken([]), watch, lambda state, _: changes.append(state)
    ) as camera:
        wait_for(lambda: "lost" in changes)
        assert changes[:2] == ["stalled", "lost"]
        assert camera.counters["incomplete"] > 5


@pytest.mark.slow
def test_a_library_that_never_returns_is_left_to_itself_and_another_life_begun() -> None:
    release = threading.Event()
    lives: list[Scripted] = []
    changes: list[tuple[str, str]] = []

    class Hanging(Scripted):
        def read(self, timeout_s: float) -> Frame | NoFrame:
            if not self._script:
                release.wait(60)
                return Frame(np.zeros((4, 4), np.uint8), "mono", 99, None, time.monotonic_ns())
            return super().read(timeout_s)

    def factory() -> Camera:
        lives.append(Hanging([1]) if not lives else Scripted([2]))
        return lives[-1]

    watch = Watch(stall_s=0.2, lost_s=0.5)
    with Supervised("scripted://", factory, watch, lambda *change: changes.append(change)) as camera:
        next_frame(camera)
        second = next_frame(camera)
        assert second.number == 1
        assert second.pixels is not None
        assert second.pixels.max() == 2
        assert [state for state, _ in changes[:3]] == ["live", "stalled", "lost"]
        assert "its library does not return" in changes[1][1]
        assert camera.counters["hung"] == 1
        release.set()
        wait_for(lambda: lives[0].closed)
        assert camera.counters["frames"] == 2, "frames of the abandoned camera are discarded"


@pytest.mark.slow
def test_a_library_that_hangs_does_not_keep_the_station_from_stopping() -> None:
    release = threading.Event()

    def factory() -> Camera:
        release.wait(60)
        return Scripted([])

    camera = Supervised("scripted://", factory)
    with pytest.raises(CameraError, match="connecting: not open yet"):
        camera.trigger()
    started = time.monotonic()
    camera.close()
    assert time.monotonic() - started < 40
    assert camera.state == "closed"
    release.set()


@pytest.mark.slow
def test_threads_that_hang_are_bounded() -> None:
    release = threading.Event()
    lives: list[Scripted] = []

    class Hanging(Scripted):
        def read(self, timeout_s: float) -> Frame | NoFrame:  # noqa: ARG002
            release.wait(60)
            return NoFrame.END

        def close(self) -> None:
            super().close()
            release.wait(60)

    def factory() -> Camera:
        lives.append(Hanging([]))
        return lives[-1]

    with Supervised("scripted://", factory, Watch(stall_s=0.1, lost_s=0.2, close_s=0.1)) as camera:
        wait_for(lambda: camera.counters["hung"] == 3)
        time.sleep(1.5)
        assert len(lives) == 3
        assert camera.state == "lost"
        assert camera.hung_s > 0, "the watchdog of the whole station looks at this"
        release.set()
        wait_for(lambda: len(lives) > 3)
        assert camera.hung_s == 0


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
