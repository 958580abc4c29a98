"""A station whose camera, trigger, engine or output hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import pytest

from ast_edge.backends.base import Outputs
from ast_edge.line.events import ignore
from ast_edge.line.station.recipes import Recipes
from ast_edge.line.station.setup import Setup
from ast_edge.line.station.station import Station
from ast_edge.line.station.timing import Timing
from ast_edge.model.arrays import Array
from tests.line.rig import BenchCamera, Remembering, by_brightness, recipe, rig
from tests.waiting import wait_for


def test_an_engine_that_hangs_is_overtaken_by_the_clock() -> None:
    """Its late answer is worth nothing, and the parts behind it get their faults in time too."""
    release = threading.Event()

    def answer(inputs: Mapping[str, Array]) -> Outputs:
        release.wait(20)
        return by_brightness(inputs)

    with rig(answer, deadline_ms=80.0) as bench:
        started = time.monotonic()
        for _ in range(3):
            bench.station.trigger()
            bench.camera.show()
        bench.settle(3)
        assert time.monotonic() - started < 5
        assert not release.is_set()
        release.set()
    assert bench.verdicts == ["fault"] * 3
    assert all("80 ms" in result.reason for result in bench.results)


def test_a_camera_that_hangs_over_its_trigger_makes_faults_and_is_not_asked_for_parts_that_passed() -> None:
    release, fired = threading.Event(), []

    with rig(software_trigger=True, deadline_ms=100.0) as bench:

        def hang() -> None:
            fired.append(1)
            release.wait(20)

        bench.camera.on_trigger = hang
        for _ in range(3):
            bench.station.trigger()
        bench.settle(3)
        bench.camera.on_trigger = bench.camera.show
        release.set()
        wait_for(bench.station._shutter._queue.empty)
        assert fired == [1]
        bench.station.trigger()
        bench.settle(4)
    assert bench.verdicts == ["fault"] * 3 + ["pass"]


@pytest.mark.slow
def test_a_trigger_that_never_returns_is_left_to_itself_and_the_line_goes_on() -> None:
    """As often as threads may be risked; the queue before the camera stays short all the while."""
    release = threading.Event()

    def hang() -> None:
        release.wait(60)

    with rig(software_trigger=True, deadline_ms=200.0, max_waiting=4) as bench:
        for hung in range(1, 4):
            bench.camera.on_trigger = hang
            for _ in range(8):
                bench.station.trigger()
            wait_for(lambda: bench.station._shutter.hung == hung)  # noqa: B023 (called at once)
            bench.camera.on_trigger = bench.camera.show
            wait_for(lambda: bench.station.balance().open == 0)
            bench.station.trigger()
            bench.settle(bench.station.balance().triggers)
            assert bench.results[-1].verdict == "pass"
            assert bench.station._shutter._queue.qsize() <= 4
        assert "does not return" in bench.station.last_failure
        assert {result.verdict for result in bench.results if result is not bench.results[-1]} >= {"fault"}
        release.set()
        wait_for(lambda: bench.station._shutter.hung == 0)


def test_an_engine_that_hangs_for_ever_does_not_keep_the_station_from_stopping() -> None:
    release = threading.Event()

    def answer(inputs: Mapping[str, Array]) -> Outputs:
        release.wait(60)
        return by_brightness(inputs)

    own = recipe(answer=answer)
    camera, output = BenchCamera(), Remembering()
    setup = Setup(
        name="bench",
        run="run",
        camera=camera,
        recipes=Recipes({}, own, ignore),
        outputs=[output],
        timing=Timing(drain_s=0.2, delay_ms=0.0),
    )
    station = Station(setup)
    station.start()
    station.trigger()
    camera.show()
    wait_for(lambda: station.waiting == 0)
    balance = station.stop()
    assert balance.open == 0
    assert [result.verdict for result in output.results] == ["fault"]
    assert "still busy: ast-edge-inspect" in station.last_failure
    release.set()
    own.inspector.close()


def test_parts_that_a_camera_shows_are_late_too_when_the_engine_hangs() -> None:
    release = threading.Event()

    def answer(inputs: Mapping[str, Array]) -> Outputs:
        release.wait(20)
        return by_brightness(inputs)

    with rig(answer, triggering="camera", deadline_ms=100.0) as bench:
        for _ in range(5):
            bench.camera.show()
        bench.settle(5)
        assert not release.is_set()
        release.set()
    assert bench.verdicts == ["fault"] * 5


def test_what_does_not_close_keeps_nothing_else_open() -> None:
    with rig(outputs=3) as bench:

        def refuse(timeout_s: float) -> None:
            bench.outputs[0].closed = True
            raise RuntimeError("no")

        bench.outputs[0].close = refuse  # type: ignore[method-assign]
    assert "closing output remembering: RuntimeError: no" in bench.station.last_failure
