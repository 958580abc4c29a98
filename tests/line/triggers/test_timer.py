"""Triggers by the clock."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from ast_edge.line.triggers.timer import TimerTrigger, TimerTriggerOptions
from tests.line.rig import rig
from tests.line.sink import Sink
from tests.waiting import wait_for


def test_a_timer_gives_parts_at_its_rate_and_stops() -> None:
    with rig(software_trigger=True) as bench:
        timer = TimerTrigger(TimerTriggerOptions(kind="timer", per_s=50))
        timer.start(bench.station)
        bench.settle(20)
        timer.close()
        timer.close()
        after = bench.station.balance().triggers
        assert timer.status.triggers + timer.status.missed == after
        times = [result.trigger.at_ns for result in bench.results[:20]]
        # Late moments are caught up with, so the mean rate is right whatever the machine does meanwhile.
        assert (times[19] - times[0]) / 19 > 15e6
        assert bench.results[0].trigger.source == "timer"
    assert bench.station.balance().triggers == after


def test_a_moment_that_is_noticed_too_late_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process stood still for half a second: its clock says so, and the parts of that time are faults."""
    stood_ns = 0
    real = time.monotonic_ns
    monkeypatch.setattr(time, "monotonic_ns", lambda: real() + stood_ns)
    sink = Sink("timer")
    timer = TimerTrigger(TimerTriggerOptions(kind="timer", per_s=20, max_gap_ms=200))
    timer.start(sink)
    wait_for(lambda: sink.count("trigger") >= 2)
    stood_ns = 500_000_000
    wait_for(lambda: sink.count("missed") >= 5)
    seen = sink.count("trigger")
    wait_for(lambda: sink.count("trigger") >= seen + 2)
    timer.close()
    assert timer.status.missed == sink.count("missed")
    assert "the part may be gone" in sink.reasons[0]
    times = [trigger.at_ns for trigger in sink.triggers]
    assert all((after - before) % 50_000_000 == 0 for before, after in pairwise(times))
