"""The loops of the stopwatch on an engine whose times are known."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import numpy as np
import pytest

from ast_edge.backends.base import Outputs
from ast_edge.backends.fake import FakeBackend
from ast_edge.backends.settling import settled
from ast_edge.errors import BackendError, FrameError
from ast_edge.inspector import Inspector
from ast_edge.latency.stopwatch import BLOCK, Limits, Part, interleaved, measure, warm_up
from ast_edge.model.arrays import Array
from tests.tiny import grey, tiny_spec

PART: Part = {"frame": grey(), "colour": "rgb"}


class Engine:
    """Answers after as long as `takes_s` says of the n-th call."""

    def __init__(self, takes_s: list[float] | float = 0.0) -> None:
        self.takes_s, self.calls = takes_s, 0

    def __call__(self, _: Mapping[str, Array]) -> Outputs:
        takes = self.takes_s
        time.sleep(takes if isinstance(takes, float) else takes[min(self.calls, len(takes) - 1)])
        self.calls += 1
        return Outputs(np.zeros(1, np.float32), np.zeros((1, 4, 4), np.float32))


def inspector(engine: Engine) -> Inspector:
    spec = tiny_spec()
    return Inspector(spec, FakeBackend(spec, engine))


@pytest.mark.parametrize(
    ("times", "yes"),
    [
        ([1.0] * 19, False),
        ([1.0] * 20, True),
        ([2.0] * 10 + [1.0] * 10, False),
        ([2.0] * 10 + [1.0] * 20, True),
        ([1.0] * 10 + [1.04] * 10, True),
        ([1.0] * 10 + [1.06] * 10, False),
        ([1.0, 9.0] * 10, True),
    ],
)
def test_settled(times: list[float], yes: bool) -> None:
    assert settled(times) is yes


def test_the_warm_up_outlasts_a_slow_start() -> None:
    engine = Engine([0.03] * 12 + [0.004] * 500)
    with inspector(engine) as opened:
        found = warm_up(opened, PART)
    assert found.settled
    assert found.count == engine.calls >= 25
    assert found.first_ms >= 30


def test_a_warm_up_that_never_settles_says_so() -> None:
    engine = Engine([0.0005 * (1 + i % 7) ** 2 for i in range(40)])
    with inspector(engine) as opened:
        found = warm_up(opened, PART, most=15)
    assert (found.count, found.settled) == (15, False)


def test_the_total_holds_the_stages_and_the_engine_what_it_took() -> None:
    with inspector(Engine(0.005)) as opened:
        times = measure(opened, PART, Limits(25, None))
    assert len(times.total_ms) == 25
    for total, stages in zip(times.total_ms, times.stages_ms, strict=True):
        assert list(stages) == ["hand_off", "preprocess", "engine", "score", "verdict"]
        assert stages["engine"] >= 5
        assert total >= sum(stages.values())


def test_it_stops_by_the_clock() -> None:
    with inspector(Engine(0.01)) as opened:
        times = measure(opened, PART, Limits(None, 0.2))
    assert 1 <= len(times.total_ms) <= 20
    assert times.seconds >= 0.2


def test_callers_wait_for_each_other_and_the_wait_is_hand_off() -> None:
    engine = Engine(0.01)
    with inspector(engine) as opened:
        times = measure(opened, PART, Limits(40, None), callers=4)
    assert engine.calls == len(times.total_ms) == 40
    # Three others are served first. On a busy machine one may be served many times in a row: the mean knows.
    assert sum(stages["hand_off"] for stages in times.stages_ms) / 40 >= 15
    assert times.seconds >= 0.4
    assert threading.active_count() < 8


def test_a_fault_is_refused_instead_of_timed() -> None:
    def answer(_: Mapping[str, Array]) -> Outputs:
        return Outputs(np.full(1, np.nan, np.float32), np.zeros((1, 4, 4), np.float32))

    spec = tiny_spec()
    with Inspector(spec, FakeBackend(spec, answer)) as opened:
        for callers in (1, 3):
            with pytest.raises(FrameError, match="cannot be judged, so nothing was measured"):
                measure(opened, PART, Limits(10, None), callers=callers)


def test_a_failing_engine_is_reported() -> None:
    opened = inspector(Engine())
    opened.close()
    with pytest.raises(BackendError, match="closed"):
        measure(opened, PART, Limits(10, None), callers=2)


def test_candidates_take_turns_and_the_first_of_a_turn_does_not_count() -> None:
    slow, fast = Engine(0.004), Engine(0.001)
    with inspector(slow) as first, inspector(fast) as second:
        found, medians = interleaved([first, second], [PART, PART], Limits(30, None))
    assert [len(times.total_ms) for times in found] == [30, 30]
    assert (slow.calls, fast.calls) == (33, 33)
    assert [len(each) for each in medians] == [30 // BLOCK, 30 // BLOCK]
    assert all(a > b for a, b in zip(*medians, strict=True))
    assert found[0].seconds >= 30 * 0.004
