"""Triggers by the clock."""

from __future__ import annotations

from ast_edge.line.triggers.timer import TimerTrigger, TimerTriggerOptions
from tests.line.rig import rig


def test_a_timer_gives_parts_at_its_rate_and_stops() -> None:
    with rig(software_trigger=True) as bench:
        timer = TimerTrigger(TimerTriggerOptions(kind="timer", per_s=50))
        timer.start(bench.station)
        bench.settle(20)
        timer.close()
        timer.close()
        after = bench.station.balance().triggers
        assert timer.status.triggers == after
        times = [result.trigger.at_ns for result in bench.results[:20]]
        # Late moments are caught up with, so the mean rate is right whatever the machine does meanwhile.
        assert (times[19] - times[0]) / 19 > 15e6
        assert bench.results[0].trigger.source == "timer"
    assert bench.station.balance().triggers == after
