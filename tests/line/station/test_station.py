"""The station: one verdict for every trigger, in time, whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ast_edge.backends.base import Outputs
from ast_edge.cameras.base import Frame, NoFrame
from ast_edge.errors import BackendError, CameraError, LineError
from ast_edge.line.outputs.reasons import reason_code
from ast_edge.line.part import PartResult, Trigger
from ast_edge.line.station.ledger import Ledger
from ast_edge.line.station.pairing import Pairing
from ast_edge.line.station.timing import Timing
from ast_edge.model.arrays import Array
from tests.line.rig import BenchCamera, by_brightness, rig
from tests.tiny import MAP_SIZE
from tests.waiting import wait_for


def test_each_trigger_gets_the_verdict_of_its_frame() -> None:
    with rig() as bench:
        for bad in (False, True, False, True, True):
            bench.station.trigger(encoder=7)
            bench.camera.show(bad=bad)
            bench.settle(bench.station.balance().triggers)
    assert bench.verdicts == ["pass", "reject", "pass", "reject", "reject"]
    assert {result.trigger.encoder for result in bench.results} == {7}
    assert all(0 <= result.latency_ms < 2000 for result in bench.results)
    assert len({result.part_id for result in bench.results}) == 5


def test_a_software_trigger_asks_the_camera() -> None:
    with rig(software_trigger=True) as bench:
        for _ in range(20):
            bench.station.trigger()
            bench.settle(bench.station.balance().triggers)
    assert bench.verdicts == ["pass"] * 20


def test_a_frozen_depth_sensor_is_a_fault() -> None:
    """The colour camera beside it goes on: every picture differs, every depth map is the same."""
    rng = np.random.default_rng(0)
    frozen = np.full((40, 48), 0.5, np.float32)

    def frame(number: int, depth_m: np.ndarray[Any, Any]) -> Frame:
        pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        return Frame(pixels, "rgb", number, None, time.monotonic_ns(), "bench", depth_m)

    pairing = Pairing(BenchCamera(), Timing(), lambda: None, lambda _: False)
    moving = frozen + rng.normal(0, 1e-4, frozen.shape).astype(np.float32)
    found = [pairing.repeated(frame(number, frozen), "rgbd") for number in range(3)]
    assert found[0] == ""
    assert all(reason_code("fault", words) == 6 and "depth map" in words for words in found[1:])
    assert pairing.repeated(frame(3, moving), "rgbd") == ""
    assert not any(pairing.repeated(frame(number, frozen), "rgb") for number in range(4, 7))
    one = frame(7, frozen)
    assert [pairing.repeated(one, "depth"), pairing.repeated(one, "rgbd") != ""] == ["", True]


def test_a_depth_map_of_a_discarded_frame_is_noticed() -> None:
    """The sensor froze while the belt was empty: the first part has the map of the frame before it."""
    camera = BenchCamera()
    pairing = Pairing(camera, Timing(delay_ms=0.0), lambda: None, lambda _: False)
    rng = np.random.default_rng(0)
    depth_m = rng.normal(0.5, 1e-4, (40, 48)).astype(np.float32)
    moving = rng.normal(0.5, 1e-4, (40, 48)).astype(np.float32)

    def frame(number: int, at_ns: int, depth: np.ndarray[Any, Any]) -> Frame:
        return Frame(np.full((40, 48, 3), number, np.uint8), "rgb", number, None, at_ns, "bench", depth)

    now_ns = time.monotonic_ns()
    trigger = Trigger(number=1, at_ns=now_ns, wall_s=0.0)
    for number, depth in ((0, moving), (1, depth_m)):
        camera.frames.put(frame(number, now_ns - 1_000_000_000, depth))
    camera.frames.put(frame(2, now_ns + 1_000_000, depth_m))
    found = pairing.frame_for(trigger)
    assert isinstance(found, Frame)
    assert found.number == 2
    assert "the depth map equals the one before" in pairing.repeated(found, "rgbd")
    assert pairing.repeated(frame(3, now_ns, moving), "rgbd") == ""


def test_a_frozen_camera_is_a_fault() -> None:
    with rig() as bench:
        bench.station.trigger()
        bench.camera.show()
        bench.settle(1)
        frozen = bench.results[0].frame
        assert frozen is not None
        bench.station.trigger()
        bench.camera.frames.put(type(frozen)(frozen.pixels, "rgb", 1, None, time.monotonic_ns()))
        bench.settle(2)
    assert bench.verdicts == ["pass", "fault"]
    assert "frozen" in bench.results[1].reason


def test_a_dead_camera_makes_faults_and_recovers() -> None:
    with rig() as bench:
        bench.station.trigger()
        bench.camera.frames.put(CameraError("the cable is out"))
        bench.settle(1)
        bench.station.trigger()
        bench.camera.show()
        bench.settle(2)
    assert bench.verdicts == ["fault", "pass"]
    assert bench.results[0].reason == "the cable is out"


def test_an_engine_that_raises_makes_faults_and_the_line_goes_on() -> None:
    calls = iter(range(1000))

    def answer(inputs: Mapping[str, Array]) -> Outputs:
        if next(calls) % 2:
            raise BackendError("out of memory") if len(bench.results) < 2 else ZeroDivisionError("bug")
        return by_brightness(inputs)

    with rig(answer) as bench:
        for _ in range(4):
            bench.station.trigger()
            bench.camera.show()
            bench.settle(bench.station.balance().triggers)
    assert bench.verdicts == ["pass", "fault", "pass", "fault"]
    assert [bench.results[1].reason, bench.results[3].reason][0] == "out of memory"
    assert "ZeroDivisionError" in bench.results[3].reason


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_a_fault(score: float) -> None:
    def answer(_: Mapping[str, Array]) -> Outputs:
        return Outputs(np.array([score], np.float32), np.zeros((1, MAP_SIZE, MAP_SIZE), np.float32))

    with rig(answer) as bench:
        bench.station.trigger()
        bench.camera.show()
        bench.settle(1)
    assert bench.verdicts == ["fault"]


def test_more_parts_than_can_wait_are_faults_at_once() -> None:
    release = threading.Event()

    def answer(inputs: Mapping[str, Array]) -> Outputs:
        release.wait(20)
        return by_brightness(inputs)

    with rig(answer, max_waiting=2, deadline_ms=20_000.0) as bench:
        bench.station.trigger()
        bench.camera.show()
        end = time.monotonic() + 10
        while bench.station.waiting and time.monotonic() < end:
            time.sleep(0.001)
        for _ in range(5):
            bench.station.trigger()
        bench.settle(3)
        assert [result.reason for result in bench.results] == ["more than 2 parts are waiting"] * 3
        for _ in range(2):
            bench.camera.show()
        release.set()
        time.sleep(0.05)


def test_an_output_that_raises_or_is_slow_keeps_no_result_from_the_others() -> None:
    with rig(outputs=3) as bench:
        bench.outputs[1].spoil = lambda: 1 // 0  # type: ignore[assignment]
        for _ in range(3):
            bench.station.trigger()
            bench.camera.show()
            bench.settle(bench.station.balance().triggers)
        assert bench.station.failures == 3
        assert "output remembering: ZeroDivisionError" in bench.station.last_failure
    assert [len(output.results) for output in bench.outputs] == [3, 3, 3]


def test_missed_triggers_are_faults() -> None:
    with rig() as bench:
        bench.station.missed(3, "modbus")
        bench.settle(3)
    assert {result.reason for result in bench.results} == {"the trigger was lost in transit"}


def test_a_camera_that_triggers_itself_counts_its_lost_frames() -> None:
    with rig(triggering="camera") as bench:
        bench.camera.show()
        bench.camera.show(lost=2)
        bench.settle(4)
    assert bench.verdicts == ["pass", "fault", "fault", "pass"]


def test_a_free_running_camera_judges_what_it_takes_and_ends_with_its_frames() -> None:
    with rig(triggering="free") as bench:
        for _ in range(5):
            bench.camera.show(lost=1)
        bench.camera.frames.put(NoFrame.END)
        bench.settle(5)
    assert bench.verdicts == ["pass"] * 5


def test_stopping_judges_the_last_parts_and_refuses_new_ones() -> None:
    with rig() as bench:
        for _ in range(10):
            bench.station.trigger()
            bench.camera.show()
    late = bench.station.trigger()
    assert not bench.station.ledger.is_open(late.number)
    assert bench.station.balance().balanced
    assert bench.results[-1].reason == "the station is stopping"
    assert "the station stopped before" not in {result.reason for result in bench.results[:10]}


def test_triggers_from_many_threads() -> None:
    with rig(max_waiting=10_000, deadline_ms=60_000.0, refuse_repeated=False) as bench:

        def fire() -> None:
            for _ in range(50):
                bench.station.trigger()
                bench.camera.show()

        threads = [threading.Thread(target=fire) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        bench.settle(400, within_s=60)
    assert len({result.number for result in bench.results}) == 400


def result_of(trigger: Trigger, verdict: str = "pass") -> PartResult:
    return PartResult(
        run="run",
        trigger=trigger,
        recipe="r",
        verdict=verdict,  # type: ignore[arg-type]
        reason="",
        score=0.0,
        threshold=1.0,
        latency_ms=1.0,
        stages_ms={},
    )


@pytest.mark.slow
@settings(max_examples=200)
@given(
    steps=st.lists(st.tuples(st.sampled_from(["enter", "decide"]), st.integers(1, 12)), max_size=60),
)
def test_the_ledger_always_balances(steps: list[tuple[str, int]]) -> None:
    given_out: list[int] = []
    ledger = Ledger(lambda result: given_out.append(result.number))
    entered: dict[int, Trigger] = {}
    for what, number in steps:
        if what == "enter":
            trigger = ledger.enter(0, 0.0)
            entered[trigger.number] = trigger
        elif number in entered:
            first = number not in given_out
            assert ledger.decide(result_of(entered[number])) is first
        else:
            with pytest.raises(LineError, match="never triggered"):
                ledger.decide(result_of(Trigger(number=number + 100, at_ns=0, wall_s=0.0)))
        balance = ledger.balance()
        assert balance.balanced
        assert balance.triggers == len(entered)
        assert balance.given == len(given_out) == len(set(given_out))


def test_the_bench_camera_is_one() -> None:
    with BenchCamera() as camera:
        camera.show()
        assert not isinstance(camera.read(1), NoFrame)
        assert camera.read(0.001) is NoFrame.TIMEOUT


def test_a_part_is_photographed_while_the_one_before_it_is_inspected() -> None:
    """The shutter does not wait for the engine: by then the part would have moved on."""
    release, fired = threading.Event(), []

    def answer(inputs: Mapping[str, Array]) -> Outputs:
        release.wait(20)
        return by_brightness(inputs)

    with rig(answer, software_trigger=True, deadline_ms=20_000.0) as bench:

        def shoot() -> None:
            fired.append(time.monotonic_ns())
            bench.camera.show()

        bench.camera.on_trigger = shoot
        bench.station.trigger()
        wait_for(lambda: bench.station.waiting == 0)
        bench.station.trigger()
        wait_for(lambda: len(fired) == 2)
        assert not bench.results
        release.set()
        bench.settle(2)
    assert bench.verdicts == ["pass", "pass"]


def test_a_camera_that_refuses_its_trigger_makes_a_fault_at_once() -> None:
    def refuse() -> None:
        raise CameraError("the camera is lost: the cable is out")

    with rig(software_trigger=True, deadline_ms=20_000.0) as bench:
        bench.camera.on_trigger = refuse
        bench.station.trigger()
        bench.settle(1)
    assert bench.results[0].reason == "the camera is lost: the cable is out"


def test_the_status_tells_how_the_station_is() -> None:
    with rig() as bench:
        bench.station.trigger()
        bench.camera.show()
        bench.settle(1)
        status = bench.station.status()
        assert (status.state, status.recipe, status.camera, status.ready) == (
            "running",
            "first",
            "live",
            True,
        )
        assert status.balance.verdicts == {"pass": 1}
        assert status.balance.triggers == 1
    assert bench.station.status().state == "stopped"
    assert not bench.station.status().ready


def test_a_camera_without_more_frames_ends_the_line() -> None:
    with rig() as bench:
        bench.station.trigger()
        bench.camera.frames.put(NoFrame.END)
        bench.settle(1)
        wait_for(lambda: bench.station.ended)
    assert bench.verdicts == ["fault"]
