"""Which frame belongs to a part: exposure, delay, numbers and gaps."""

from __future__ import annotations

import time

import numpy as np

from ast_edge.cameras.base import Frame
from tests.line.rig import rig


def test_a_frame_from_before_the_trigger_is_never_taken() -> None:
    with rig(deadline_ms=150.0) as bench:
        bench.camera.show()
        time.sleep(0.01)
        bench.station.trigger()
        bench.settle(1)
    assert bench.verdicts == ["fault"]
    assert "no frame arrived in time" in bench.results[0].reason or "within 150 ms" in bench.results[0].reason


def test_a_frame_of_the_next_part_is_not_taken_for_this_one() -> None:
    """The first part's frame is lost; the second part's frame must judge the second part."""
    with rig(deadline_ms=3000.0) as bench:
        now = time.monotonic_ns()
        bench.station.trigger(now - 2_000_000)
        bench.station.trigger(now - 1_000_000)
        bench.camera.show(bad=True, host_ns=now)
        bench.settle(2)
    assert bench.verdicts == ["fault", "reject"]
    assert "may show the next part" in bench.results[0].reason


def test_a_picture_that_is_asked_for_too_late_is_not_taken() -> None:
    """The camera's library held the thread up: what it would show now is another part."""
    asked = []
    with rig(software_trigger=True, deadline_ms=2000.0, picture_within_ms=100.0) as bench:

        def slowly() -> None:
            asked.append(time.monotonic_ns())
            time.sleep(0.3 if len(asked) == 1 else 0)
            bench.camera.show()

        bench.camera.on_trigger = slowly
        bench.station.trigger()
        bench.station.trigger()
        bench.settle(2)
        bench.station.trigger(time.monotonic_ns() - 150_000_000)
        bench.settle(3)
        bench.station.trigger()
        bench.settle(4)
    assert bench.verdicts == ["fault", "fault", "fault", "pass"]
    assert "the camera accepted its request" in bench.results[0].reason
    assert "would be requested" in bench.results[1].reason
    assert len(asked) == 2


def test_the_frame_with_another_number_is_another_parts() -> None:
    """The first part's frame comes when the second part's was asked for; the third part's is lost."""
    with rig(software_trigger=True, deadline_ms=300.0) as bench:
        numbers = iter(range(4))

        def shoot() -> int:
            number = next(numbers)
            if number == 1:
                bench.camera.show(bad=True)
            if number == 3:
                bench.camera.show(lost=1)
            elif number:
                bench.camera.show()
            return number

        bench.camera.on_trigger = shoot
        for part in range(4):
            bench.station.trigger()
            bench.settle(part + 1)
            if part == 1:
                bench.camera.number += 1  # the frame of the next one is lost
                bench.camera.on_trigger = lambda: next(numbers)
            elif part == 2:
                bench.camera.number -= 1
                bench.camera.on_trigger = shoot
    assert bench.verdicts == ["fault", "pass", "fault", "pass"]
    assert bench.results[1].frame is not None
    assert bench.results[1].frame.number == 1


def test_a_part_is_photographed_when_it_has_settled() -> None:
    with rig(software_trigger=True, settle_ms=60.0) as bench:
        now = time.monotonic_ns()
        bench.station.trigger(now, until_ns=now + 20_000_000)
        bench.settle(1)
        frame = bench.results[0].frame
    assert frame is not None
    assert frame.host_ns - now >= 80_000_000
    assert bench.verdicts == ["pass"]


def test_a_frame_from_before_the_part_was_there_for_certain_is_never_taken() -> None:
    """The poll that showed the part was answered 50 ms after it was sent: meanwhile the belt was empty."""
    with rig(deadline_ms=5000.0) as bench:
        now = time.monotonic_ns()
        bench.camera.show(bad=True, host_ns=now + 20_000_000)
        bench.camera.show(host_ns=now + 60_000_000)
        bench.station.trigger(now, until_ns=now + 50_000_000)
        bench.settle(1)
    assert bench.verdicts == ["pass"]
    assert bench.results[0].frame is not None
    assert bench.results[0].frame.number == 1


def test_a_frame_counts_from_its_exposure_and_not_from_its_arrival() -> None:
    with rig(deadline_ms=5000.0, delay_ms=None) as bench:
        now = time.monotonic_ns()
        for number, exposed_ms in enumerate((-40, 30)):
            at = now + exposed_ms * 1_000_000
            pixels = np.full((40, 48, 3), 255 if exposed_ms < 0 else 128, np.uint8)
            arrived = now + (50 + number) * 1_000_000
            frame = Frame(pixels, "rgb", number, None, arrived, exposed_from_ns=at, exposed_to_ns=at)
            bench.camera.frames.put(frame)
        bench.station.trigger(now)
        bench.settle(1)
    assert bench.verdicts == ["pass"]


def test_a_camera_that_does_not_tell_when_it_exposed_is_not_believed() -> None:
    with rig(deadline_ms=5000.0, delay_ms=None) as bench:
        bench.station.trigger()
        bench.camera.show()
        bench.settle(1)
    assert bench.verdicts == ["fault"]
    assert "set camera.delay_ms" in bench.results[0].reason


def test_a_delay_is_taken_off_the_arrival_of_a_frame() -> None:
    with rig(deadline_ms=5000.0, delay_ms=40.0) as bench:
        now = time.monotonic_ns()
        bench.camera.show(bad=True, host_ns=now + 39_000_000)
        bench.camera.show(host_ns=now + 41_000_000)
        bench.station.trigger(now)
        bench.settle(1)
    assert bench.verdicts == ["pass"]


def test_frames_that_are_there_already_are_judged_when_the_station_stops() -> None:
    with rig(triggering="camera") as bench:
        for _ in range(8):
            bench.camera.show()
    assert bench.verdicts == ["pass"] * 8


def test_a_frame_after_a_gap_may_show_another_part() -> None:
    with rig(one_frame_each=True, deadline_ms=5000.0) as bench:
        for lost in (0, 1, 0):
            bench.station.trigger()
            bench.camera.show(lost=lost)
            bench.settle(bench.station.balance().triggers)
    assert bench.verdicts == ["pass", "fault", "pass"]
    assert "may show another part" in bench.results[1].reason
