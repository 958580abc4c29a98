"""A camera that answers late must not give one part the picture, and the verdict, of another."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from queue import Empty, Queue

import numpy as np
import pytest

from ast_edge.cameras.base import Camera, Frame, NoFrame, State
from ast_edge.cameras.supervised import Supervised, Watch
from ast_edge.line.station.recipes import Recipes
from ast_edge.line.station.setup import Setup
from ast_edge.line.station.station import Station
from ast_edge.line.station.timing import Timing
from tests.line.rig import Remembering, recipe
from tests.waiting import wait_for

GOOD, BAD = 128, 255


class Delayed(Camera):
    """One frame a trigger: the grey levels in turn, each after its delay in seconds."""

    def __init__(self, answers: list[tuple[int, float]]) -> None:
        self.uri = "delayed://"
        self._answers = iter(answers)
        self._frames: Queue[int] = Queue()
        self._number = -1

    def trigger(self) -> None:
        level, delay_s = next(self._answers)
        timer = threading.Timer(delay_s, self._frames.put, [level])
        timer.daemon = True
        timer.start()

    def read(self, timeout_s: float) -> Frame | NoFrame:
        try:
            level = self._frames.get(timeout=timeout_s)
        except Empty:
            return NoFrame.TIMEOUT
        self._number += 1
        pixels = np.full((40, 48, 3), level, np.uint8)
        pixels[0, :, 0] = self._number  # noise, or the camera would count as frozen
        return Frame(pixels, "rgb", self._number, None, time.monotonic_ns())

    @property
    def state(self) -> State:
        return "live"

    @property
    def counters(self) -> Mapping[str, int]:
        return {}

    def close(self) -> None:
        pass


@pytest.mark.slow
@pytest.mark.alone
def test_a_late_frame_belongs_to_no_part() -> None:
    camera = Delayed([(GOOD, 0.6), (BAD, 0.2), (BAD, 0.0)])
    output = Remembering()
    watched = Supervised("delayed://", lambda: camera, Watch(triggered=True))
    recipes = Recipes({}, recipe(), lambda *_: None)
    timing = Timing(deadline_ms=300)
    station = Station(
        Setup(
            name="bench",
            run="run",
            camera=watched,
            recipes=recipes,
            outputs=[output],
            triggering="external",
            software_trigger=True,
            timing=timing,
        )
    )
    wait_for(lambda: watched.state == "live")
    station.start()
    try:
        station.trigger()  # a good part, whose picture comes when its deadline is over
        time.sleep(0.45)
        station.trigger()  # a bad one: the good one's picture comes first
        wait_for(lambda: len(output.results) == 2)
        wait_for(lambda: watched.counters["frames"] >= 1)
        time.sleep(0.5)  # whatever was on its way has come
        station.trigger()
        wait_for(lambda: len(output.results) == 3)
    finally:
        station.stop()
    results = sorted(output.results, key=lambda result: result.number)
    assert [result.verdict for result in results] == ["fault", "fault", "reject"]
    assert "has not arrived yet" in results[1].reason


@pytest.mark.slow
@pytest.mark.alone
def test_a_late_frame_is_never_the_next_parts_however_their_times_meet() -> None:
    """Parts come as often as the camera is late: each frame arrives just when the next part is there."""
    delay_s, parts = 0.33, 9
    camera = Delayed([(GOOD if number % 2 else BAD, delay_s) for number in range(parts)])
    output = Remembering()
    watched = Supervised("delayed://", lambda: camera, Watch(triggered=True))
    recipes = Recipes({}, recipe(), lambda *_: None)
    station = Station(
        Setup(
            name="bench",
            run="run",
            camera=watched,
            recipes=recipes,
            outputs=[output],
            software_trigger=True,
            timing=Timing(deadline_ms=300),
        )
    )
    wait_for(lambda: watched.state == "live")
    station.start()
    try:
        for number in range(parts):
            # A poll was sent just before the frame of the part before arrives, and answered just after it.
            taken = watched.counters["frames"]
            sent_ns = time.monotonic_ns() - 5_000_000
            if number:
                wait_for(lambda: watched.counters["frames"] > taken, 2)  # noqa: B023 (called at once)
                sent_ns = time.monotonic_ns() - 5_000_000
            station.trigger(sent_ns)
        wait_for(lambda: len(output.results) == parts)
    finally:
        station.stop()
    assert {result.verdict for result in output.results} == {"fault"}
