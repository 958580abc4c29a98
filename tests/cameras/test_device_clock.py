"""The time of exposure from the stamps of a device clock that is unset and drifts, with late frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.cameras.device_clock import DeviceClock

MS = 1_000_000


@given(
    offset_ns=st.integers(-(10**15), 10**15),
    drift=st.floats(-90e-6, 90e-6),
    quickest_ms=st.floats(0.1, 80),
    slower_ms=st.lists(st.floats(0, 400), min_size=1, max_size=60),
    period_ms=st.floats(5, 1000),
    trigger_ms=st.floats(0, 5),
)
def test_the_exposure_lies_within_the_bounds(
    offset_ns: int,
    drift: float,
    quickest_ms: float,
    slower_ms: list[float],
    period_ms: float,
    trigger_ms: float,
) -> None:
    clock = DeviceClock()
    exposed_ns = 10**12
    for at, slower in enumerate([0.0, *slower_ms]):
        exposed_ns += int(period_ms * MS)
        device_ns = offset_ns + int(exposed_ns * (1 + drift))
        host_ns = exposed_ns + int((quickest_ms + slower) * MS)
        if at == 0:
            clock.learn(device_ns, exposed_ns - int(trigger_ms * MS), host_ns)
            continue
        earliest, latest = clock.exposed(device_ns, host_ns)
        assert earliest is not None
        # Both clocks have drifted since the fastest frame of all, and as much was allowed for.
        slack_ns = int(290e-6 * (period_ms * at + max(slower_ms)) * MS) + 10
        assert earliest - slack_ns <= exposed_ns <= latest + slack_ns
        assert latest <= host_ns
        assert latest - earliest <= (quickest_ms + trigger_ms) * MS + 10


def test_a_busy_host_does_not_make_frames_younger() -> None:
    """Every frame of ten seconds comes 40 ms late: the earliest moment moves by the drift allowed."""
    clock = DeviceClock()
    clock.learn(0, -MS, 5 * MS)
    for at in range(1, 200):
        exposed_ns = at * 50 * MS
        earliest, _ = clock.exposed(exposed_ns, exposed_ns + 45 * MS)
        assert earliest is not None
        assert earliest <= exposed_ns + 200e-6 * exposed_ns


PERIOD_NS = 100 * MS
TRANSIT_NS = 5 * MS


def youth_ns(clock: DeviceClock, at: int, late_ns: int, drift: float) -> int:
    """How much later than it was exposed a frame counts at least; negative if it counts as older."""
    exposed_ns = at * PERIOD_NS
    earliest, _ = clock.exposed(int(exposed_ns * (1 + drift)), exposed_ns + TRANSIT_NS + late_ns)
    assert earliest is not None
    return earliest - exposed_ns


@pytest.mark.parametrize("drift", [-200e-6, 0.0, 200e-6])
def test_frames_that_become_slower_for_minutes_are_reported_before_they_look_young(drift: float) -> None:
    clock, youths_ns = DeviceClock(), [0]
    clock.learn(0, 0, TRANSIT_NS)

    # 20 ms at 200 ppm are 100 s.
    slower = (youth_ns(clock, at, 300 * MS, drift) for at in range(1, 1002))
    with pytest.raises(ValueError, match="frames have become slower"):
        youths_ns.extend(slower)
    assert max(youths_ns) <= (40.1 if drift > 0 else 20.1) * MS
    assert max(youths_ns) >= (-0.1 if drift < 0 else 19.9) * MS


@pytest.mark.parametrize("drift", [-40e-6, 40e-6])
@pytest.mark.parametrize("late_ms", [0, 2, 14])
def test_a_little_more_delay_is_followed(drift: float, late_ms: int) -> None:
    """Ten minutes, every seventh frame as fast as any; from the fifth minute on all are a little later."""
    clock = DeviceClock()
    clock.learn(0, 0, TRANSIT_NS)
    for at in range(1, 6000):
        more_ms = at % 7 * 5 + (late_ms if at > 3000 else 0)
        assert youth_ns(clock, at, more_ms * MS, drift) <= (late_ms + 1) * MS


def test_a_slow_frame_after_a_pause_is_followed() -> None:
    """A part every ten minutes, and once the network was busy."""
    clock = DeviceClock()
    clock.learn(0, 0, TRANSIT_NS)
    for at in range(1, 60):
        exposed_ns = at * 600_000 * MS
        clock.exposed(exposed_ns, exposed_ns + TRANSIT_NS + (at % 4 == 0) * 200 * MS)


def test_without_a_frame_that_was_asked_for_only_the_latest_moment_is_known() -> None:
    clock = DeviceClock()
    assert not clock.calibrated
    assert clock.exposed(100, 100 + 20 * MS) == (None, 100 + 20 * MS)
    assert clock.exposed(50 * MS, 60 * MS) == (None, 60 * MS)


def test_a_clock_that_jumps_is_reported() -> None:
    for leap in (-5000 * MS, 5000 * MS):
        clock = DeviceClock()
        clock.learn(0, -MS, 5 * MS)
        with pytest.raises(ValueError, match="clock jumped"):
            clock.exposed(50 * MS + leap, 60 * MS)
