"""Parts that a PLC counts or signals: none lost or doubled when connection or station fail."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.line.triggers.counter import step
from ast_edge.line.triggers.polled import PolledTrigger
from benchmarks.line.plc import BLOCK
from tests.line.plcs import KINDS, Kind, KnownPlc, parameters
from tests.line.sink import Sink, counted
from tests.paths import ROOT
from tests.waiting import wait_for


@pytest.fixture(params=parameters())
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def plc(kind: Kind, tmp_path: Path) -> Iterator[KnownPlc]:
    with kind.plc(tmp_path) as running:
        yield running


@contextmanager
def watching(
    plc: KnownPlc, source: Mapping[str, object] | None = None, /, **options: Any
) -> Iterator[tuple[PolledTrigger, Sink, list[Mapping[str, object]]]]:
    """A trigger, by default on the PLC's counter, that does not mind a busy machine's late polls."""
    given = {**(plc.kind.counter if source is None else source), "max_gap_ms": 2000, **options}
    trigger = plc.trigger_source(**given)
    sink, heard = Sink(plc.kind.name), list[Mapping[str, object]]()
    trigger.report = lambda kind, details: heard.append({"kind": kind, **details})
    trigger.start(sink)
    try:
        yield trigger, sink, heard
    finally:
        trigger.close()
        trigger.close()
        assert not trigger._thread.is_alive()
    assert (trigger.status.triggers, trigger.status.missed) == (sink.count("trigger"), sink.count("missed"))
    assert {details["kind"] for details in heard} <= {"trigger"}


def connected(trigger: PolledTrigger) -> None:
    wait_for(lambda: trigger.status.connected)


def passed(plc: KnownPlc) -> int:
    return sum(result.verdict == 1 for result in plc.results())


def passes(plc: KnownPlc, count: int) -> None:
    wait_for(lambda: passed(plc) >= count, 120)


def judged(plc: KnownPlc, upto: int) -> None:
    wait_for(lambda: plc.results()[-1].judged == upto)


@given(
    st.sampled_from([16, 32]),
    st.integers(0, (1 << 32) - 1),
    st.lists(st.integers(0, 1000), max_size=50),
)
def test_a_counter_gives_every_part_once_over_its_wrap(bits: int, start: int, jumps: list[int]) -> None:
    size = 1 << bits
    before = start % size
    seen: list[int] = []
    for jump in jumps:
        now = (before + jump) % size
        found = step(before, now, bits=bits, most=1000)
        assert not found.why
        seen += found.ids
        before = now
    assert seen == [(start + 1 + at) % size for at in range(sum(jumps))]


@given(
    st.sampled_from([16, 32]),
    st.integers(0, (1 << 32) - 1),
    st.integers(0, (1 << 32) - 1),
    st.integers(1, 30_000),
)
def test_a_counter_never_gives_more_than_the_bound(bits: int, before: int, now: int, most: int) -> None:
    size = 1 << bits
    found = step(before % size, now % size, bits=bits, most=most)
    assert len(found.ids) <= most
    assert bool(found.why) == ((now - before) % size > most)
    assert not found.ids or found.ids[-1] == now % size


def test_a_plc_that_began_again_has_missed_what_it_counted_since() -> None:
    assert step(5000, 3, bits=32, most=1000).ids == (1, 2, 3)
    assert step(5000, 0, bits=32, most=1000).ids == ()
    assert "was reset" in step(5000, 0, bits=32, most=1000).why
    assert step(5, 70_000, bits=32, most=1000).ids == ()
    assert "not a plausible number" in step(5, 70_000, bits=32, most=1000).why


def test_each_part_is_a_trigger_with_the_counters_value(plc: KnownPlc) -> None:
    plc.trigger(3)
    with watching(plc) as (trigger, sink, _):
        connected(trigger)
        for number in range(4, 9):
            before = time.monotonic_ns()
            plc.trigger()
            counted(sink, number - 3)
            assert sink.given[-1] == ("trigger", str(number))
            assert before - 1_000_000_000 < sink.triggers[-1].at_ns <= time.monotonic_ns()
        assert sink.triggers[-1].source == plc.kind.name
        assert sink.triggers[-1].encoder is None
        assert trigger.position() is None
    assert sink.ids() == [4, 5, 6, 7, 8]


def test_parts_that_come_at_once_are_missed_but_the_newest(plc: KnownPlc) -> None:
    with watching(plc, plc.kind.counter16, poll_ms=1) as (trigger, sink, heard):
        connected(trigger)
        plc.ask("counter", value=65_534)  # a PLC whose counter is set: no parts
        wait_for(lambda: any("not a plausible number" in str(details.get("why")) for details in heard))
        plc.trigger(4)
        wait_for(lambda: len(sink.given) == 4)
    # All four came in one command; a poll in the middle of it would show some of them alone.
    assert sink.ids() == [65_535, 0, 1, 2]
    assert sink.given[-1][0] == "trigger"
    assert sink.count("missed") == 3


def test_no_part_is_lost_or_doubled_at_any_rate(plc: KnownPlc) -> None:
    with watching(plc, poll_ms=20) as (trigger, sink, _):
        connected(trigger)
        plc.run(per_s=200, jitter=0.9, count=200)
        wait_for(lambda: len(sink.given) == 200)
    assert sink.ids() == list(range(1, 201))
    assert sink.count("missed") > 20


def test_the_encoder_is_read_with_the_counter(plc: KnownPlc) -> None:
    plc.belt(0, counts=70_000)
    with watching(plc, **plc.kind.encoder, poll_ms=1) as (trigger, sink, _):
        connected(trigger)
        seen = trigger.position()
        assert seen is not None
        assert seen.count == 70_000
        plc.belt(1000)
        wait_for(lambda: (trigger.position() or seen).count > 70_100)
        plc.belt(0)
        plc.trigger()
        wait_for(lambda: sink.triggers)
        encoder = sink.triggers[0].encoder
        assert encoder is not None
        assert encoder == plc.events("trigger")[0]["encoder"]
        asked = plc.ask("halt")["asked"]
        time.sleep(0.2)
        assert plc.ask("halt")["asked"] - asked <= 210  # one request for both
    assert trigger.position() is None


def test_an_encoder_of_16_bits(plc: KnownPlc) -> None:
    plc.belt(0, counts=65_540)
    with watching(plc, **plc.kind.encoder16) as (trigger, sink, _):
        connected(trigger)
        plc.trigger()
        wait_for(lambda: sink.triggers)
        assert sink.triggers[0].encoder == 4


@pytest.mark.slow
def test_a_bit_triggers_when_it_goes_on(plc: KnownPlc) -> None:
    plc.sensor(on=True)
    options = {**plc.kind.sensor, **plc.kind.encoder}
    with watching(plc, options, poll_ms=1) as (trigger, sink, heard):
        connected(trigger)
        for count in range(1, 4):
            plc.sensor(on=False)
            time.sleep(0.3)
            assert len(sink.given) == count - 1
            plc.sensor(on=True)
            counted(sink, count)
        time.sleep(0.3)
    assert sink.given == [("trigger", None)] * 3
    assert sink.triggers[0].encoder == 0
    assert "does not count" in str(heard[0]["unknown"])


def test_a_bit_that_changed_while_disconnected_is_a_missed_part(plc: KnownPlc) -> None:
    with watching(plc, plc.kind.sensor, timeout_ms=200) as (trigger, sink, _):
        connected(trigger)
        plc.spoil("silent")
        wait_for(lambda: not trigger.status.connected)
        plc.sensor(on=True)
        plc.spoil("ok")
        connected(trigger)
        plc.sensor(on=False)
        time.sleep(0.3)
        plc.sensor(on=True)
        counted(sink, 2)
    assert sink.given == [("missed", None), ("trigger", None)]


@pytest.mark.slow
def test_what_a_look_finds_after_a_long_gap_is_missed(plc: KnownPlc) -> None:
    """The PLC answers, so the connection lives; but it answers late, and the part may be gone."""
    with watching(plc, timeout_ms=2000, max_gap_ms=400) as (trigger, sink, _):
        connected(trigger)
        plc.trigger()
        counted(sink, 1)
        plc.spoil("ok", delay_s=0.8)
        time.sleep(0.05)
        plc.trigger()
        counted(sink, 2)
        plc.spoil("ok")
        time.sleep(1.8)
        plc.trigger()
        counted(sink, 3)
        assert trigger.status.connected
    assert [kind for kind, _ in sink.given] == ["trigger", "missed", "trigger"]
    assert sink.ids() == [1, 2, 3]
    assert "max_gap_ms is 400" in sink.reasons[0]


def test_a_bit_that_went_on_in_a_long_gap_is_missed(plc: KnownPlc) -> None:
    with watching(plc, plc.kind.sensor, timeout_ms=2000, max_gap_ms=400) as (trigger, sink, _):
        connected(trigger)
        plc.spoil("ok", delay_s=0.8)
        time.sleep(0.05)
        plc.sensor(on=True)
        counted(sink, 1)
        plc.spoil("ok")
    assert sink.given == [("missed", None)]
    assert any("does not show how many" in gap for gap in sink.gaps)


def test_a_trigger_says_when_its_part_came_at_the_latest(plc: KnownPlc) -> None:
    with watching(plc, timeout_ms=2000, max_gap_ms=500) as (trigger, sink, _):
        connected(trigger)
        plc.spoil("ok", delay_s=0.1)
        time.sleep(0.3)
        plc.trigger()
        counted(sink, 1)
    found, there = sink.triggers[0], plc.events("trigger")[0]["at_ns"]
    assert found.until_ns is not None
    assert found.until_ns - found.at_ns >= 100_000_000
    assert there < found.there_ns < there + 250_000_000


def test_a_plc_that_is_absent_at_start_and_that_dies(kind: Kind, tmp_path: Path) -> None:
    plc = kind.plc(tmp_path)
    with watching(plc) as (trigger, sink, heard):
        wait_for(lambda: "no connection" in trigger.status.last_error)
        with plc:
            connected(trigger)
            plc.trigger()
            wait_for(lambda: len(sink.given) == 1)
            plc.kill()
            wait_for(lambda: not trigger.status.connected)
            with plc.journal.open("a") as journal:  # it counted five while we did not see it
                for number in range(2, 7):
                    journal.write(f'{{"at_ns": 0, "kind": "trigger", "counter": {number}, "encoder": 0}}\n')
            plc.start()
            wait_for(lambda: len(sink.given) == 6)
            plc.trigger()
            wait_for(lambda: len(sink.given) == 7)
    assert sink.ids() == [1, 2, 3, 4, 5, 6, 7]
    assert [kind for kind, _ in sink.given] == ["trigger", *["missed"] * 5, "trigger"]
    changes = [details["connected"] for details in heard if "connected" in details]
    assert changes == [False, True, False, True, False]
    assert [details["missed"] for details in heard if "missed" in details] == [5]


@pytest.mark.slow
def test_a_plc_that_forgot_its_counter_makes_no_million_faults(plc: KnownPlc) -> None:
    plc.ask("counter", value=4_000_000)
    with watching(plc) as (trigger, sink, heard):
        connected(trigger)
        plc.kill()
        wait_for(lambda: not trigger.status.connected)
        plc.start(forget=True)
        plc.trigger(2)
        connected(trigger)
        plc.trigger()
        wait_for(lambda: sink.ids()[-1:] == [3])
    assert sink.ids() == [1, 2, 3]
    assert any("was reset" in str(details.get("why")) for details in heard)


@pytest.mark.parametrize(
    ("kind", "mode"),
    parameters(lambda kind: [mode for mode in kind.rubbish if mode != "wrong_device"]),
    indirect=["kind"],
)
def test_rubbish_is_no_trigger_and_nothing_is_lost(plc: KnownPlc, mode: str) -> None:
    with watching(plc, timeout_ms=200) as (trigger, sink, _):
        connected(trigger)
        plc.trigger()
        wait_for(lambda: len(sink.given) == 1)
        plc.spoil(mode)
        wait_for(lambda: not trigger.status.connected)
        plc.trigger(2)
        time.sleep(0.3)
        assert len(sink.given) == 1
        plc.spoil("ok")
        wait_for(lambda: len(sink.given) == 3)
    assert sink.ids() == [1, 2, 3]
    assert str(plc.port) in trigger.status.last_error


@pytest.mark.parametrize(
    ("judged", "counter", "missed"),
    [
        (0, 0, []),
        (100, 100, []),
        (97, 100, [98, 99, 100]),
        (0, 3, [1, 2, 3]),  # they were never judged
        (5000, 2, [1, 2]),  # the PLC began again
        (0, 50_000, []),  # a PLC that has counted for long before there was a station
        ((1 << 32) - 2, 1, [(1 << 32) - 1, 0, 1]),
    ],
)
def test_parts_not_judged_before_the_start_are_missed(
    plc: KnownPlc, judged: int, counter: int, missed: list[int]
) -> None:
    plc.set(BLOCK + 12, [judged >> 16, judged & 0xFFFF])
    plc.ask("counter", value=counter)
    with watching(plc, **plc.kind.judged, max_gap_ms=10_000) as (trigger, sink, heard):
        connected(trigger)
        plc.trigger()
        wait_for(lambda: len(sink.given) == len(missed) + 1)
    assert sink.ids() == [*missed, counter + 1]
    assert sink.given[-1][0] == "trigger"
    assert sink.count("missed") == len(missed)
    odd = (counter - judged) % (1 << 32) > 1000
    assert odd == any("counter went" in str(details.get("why")) for details in heard)
    assert odd == bool(sink.gaps)


@pytest.mark.slow
def test_a_station_that_is_killed_owes_no_part_its_verdict(plc: KnownPlc) -> None:
    """SIGKILL in mid-stream, twice: the PLC's count of parts is its count of verdicts, each part once."""
    plc.run(per_s=plc.kind.per_s, jitter=0.9)
    for run in ("one", "two", "three"):
        done = passed(plc)
        station = subprocess.Popen(
            [sys.executable, "-m", "tests.line.plc_station", plc.kind.name, str(plc.port), run],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            env={"PYTHONPATH": f"{ROOT}:{ROOT / 'benchmarks'}", "PATH": ""},
        )
        with station:
            try:
                passes(plc, done + 20)
                if run == "three":
                    counter = plc.halt()
                    judged(plc, counter)
            finally:
                station.kill()
    found = plc.results()
    last = found[-1]
    assert last.passed + last.rejected + last.faults == counter
    assert len({result.id for result in found}) == counter
    assert last.passed >= 40
    assert last.rejected >= 4
    assert last.faults >= 2
