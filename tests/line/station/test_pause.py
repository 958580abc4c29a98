"""A paused station judges and passes nothing, and every output shows the pause."""

from __future__ import annotations

import pytest

from ast_edge.line.outputs.reasons import reason_code
from ast_edge.line.station.setup import PAUSED
from tests.line.rig import rig
from tests.waiting import wait_for


@pytest.mark.parametrize("triggering", ["external", "camera"])
def test_what_comes_during_a_pause_is_a_fault(triggering: str) -> None:
    with rig(triggering="external" if triggering == "external" else "camera") as bench:

        def part() -> None:
            if triggering == "external":
                bench.station.trigger()
            bench.camera.show()

        part()
        bench.settle(1)
        bench.station.paused.set()
        assert bench.station.status().state == "paused"
        assert not bench.station.status().ready
        part()
        bench.settle(2)
        bench.station.paused.clear()
        assert bench.station.status().ready
        part()
        bench.settle(3)
    assert [result.verdict for result in bench.results] == ["pass", "fault", "pass"]
    assert bench.results[1].reason == PAUSED
    assert reason_code("fault", PAUSED) == 12


def test_a_free_running_camera_shows_no_parts_during_a_pause() -> None:
    with rig(triggering="free") as bench:
        bench.camera.show()
        bench.settle(1)
        bench.station.paused.set()
        bench.camera.show()
        wait_for(lambda: bench.station.status().state == "paused")
        assert bench.station.balance().triggers <= 2  # the inspection may have been reading already
        bench.station.paused.clear()
        bench.camera.show()
        wait_for(lambda: bench.station.balance().verdicts.get("pass", 0) >= 2)
    assert bench.station.balance().balanced
