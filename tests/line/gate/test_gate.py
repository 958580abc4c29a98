"""The reject gate: it fires at the right part, once, or not at all."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ast_edge.line.gate.gate import Fate, GateOptions
from ast_edge.verdict.scoring import Verdict
from tests.line.gate.coil import MS, START, by_encoder, by_time


def test_the_coil_is_made_off_first() -> None:
    assert by_time().gate.step(START) is False


def test_without_delay_it_fires_with_the_verdict() -> None:
    coil = by_time()
    coil.put(1, "reject", at_ns=START - 500 * MS)
    coil.wait(100 * MS)
    assert coil.on_ms() == [(0, 20)]
    assert coil.fate(1) == Fate(1, fired=True, at_ns=START)


@pytest.mark.parametrize(("verdict", "fires"), [("pass", 0), ("reject", 1), ("fault", 1)])
def test_rejects_and_faults_fire_and_passes_do_not(verdict: Verdict, fires: int) -> None:
    coil = by_time()
    coil.put(1, verdict)
    coil.wait(100 * MS)
    assert len(coil.intervals) == fires
    assert coil.gate.counts.fired == fires
    assert not coil.gate.active


def test_pulses_that_overlap_are_one() -> None:
    coil = by_time(delay_ms=50)
    for number, verdict in enumerate(("reject", "pass", "fault", "reject"), 1):
        coil.put(number, verdict)  # type: ignore[arg-type]
        coil.wait(15 * MS)
    coil.wait(200 * MS)
    assert coil.on_ms() == [(50, 70), (80, 115)]


def test_a_verdict_that_comes_too_late_is_missed() -> None:
    coil = by_time(delay_ms=50)
    coil.put(1, "reject", at_ns=START - 55 * MS)
    coil.put(2, "reject", at_ns=START - 61 * MS)
    coil.wait(100 * MS)
    assert coil.on_ms() == [(0, 20)]
    assert coil.fate(1).fired
    assert not coil.fate(2).fired
    assert "passed the gate" in coil.fate(2).why
    assert (coil.gate.counts.fired, coil.gate.counts.missed) == (1, 1)


def test_a_write_that_fails_is_tried_again_while_the_part_is_there() -> None:
    coil = by_time(delay_ms=50)
    coil.put(1, "reject")
    coil.now += 50 * MS
    assert coil.gate.step(coil.now) is True
    coil.gate.lost()
    coil.now += 9 * MS
    assert coil.gate.step(coil.now) is True
    coil.gate.written(coil.now, on=True)
    assert coil.gate.counts.fired == 1
    assert coil.gate.next_ns(coil.now) == coil.now + 20 * MS


def test_a_coil_that_comes_back_too_late_is_not_fired_at_another_part() -> None:
    coil = by_time(delay_ms=50)
    coil.put(1, "reject")
    coil.put(2, "reject", at_ns=START + 5 * MS)
    coil.now += 52 * MS
    assert coil.gate.step(coil.now) is True
    coil.gate.lost()
    coil.now += 10 * MS
    # The first part has gone, the second is still there.
    assert coil.gate.step(coil.now) is True
    coil.gate.written(coil.now, on=True)
    assert [(fate.number, fate.fired) for fate in coil.gate.fates()] == [(1, False), (2, True)]


def test_a_pulse_that_a_broken_connection_cut_goes_on_and_ends() -> None:
    coil = by_time()
    coil.put(1, "reject")
    coil.gate.lost()
    coil.wait(10 * MS)
    coil.wait(30 * MS)
    assert coil.on_ms() == [(0, 20)]
    coil.gate.lost()
    assert coil.gate.step(coil.now) is False


def test_at_the_end_what_waits_is_missed() -> None:
    coil = by_time(delay_ms=50)
    coil.put(1, "reject")
    coil.gate.give_up(coil.now)
    coil.drive()
    assert not coil.fate(1).fired
    assert coil.gate.counts.waiting == 0


def test_more_parts_than_fit_are_missed_and_counted() -> None:
    coil = by_encoder()
    for number in range(1, 1301):
        coil.put(number, "reject", encoder=number)
    counts = coil.gate.counts
    assert (counts.waiting, counts.missed) == (1000, 300)


def test_by_encoder_it_fires_where_the_gate_is() -> None:
    coil = by_encoder()
    coil.put(1, "reject", encoder=0)
    coil.wait(500 * MS, speed_per_s=1000)
    coil.put(2, "pass", encoder=500)
    coil.wait(2000 * MS)  # the conveyor stands
    assert not coil.intervals
    assert "still" in coil.gate.trouble(coil.now)
    coil.wait(600 * MS, speed_per_s=1000)
    assert not coil.gate.trouble(coil.now)
    assert len(coil.intervals) == 1
    assert 1000 <= coil.places[1] <= 1010
    coil.wait(2000 * MS, speed_per_s=1000)
    assert len(coil.intervals) == 1


def test_by_encoder_a_part_that_went_by_unseen_is_missed() -> None:
    coil = by_encoder()
    coil.put(1, "reject", encoder=0)
    coil.readable = False
    coil.wait(3000 * MS, speed_per_s=1000)
    assert "unreadable" in coil.gate.trouble(coil.now)
    coil.readable = True
    coil.wait(3000 * MS, speed_per_s=1000)
    assert not coil.intervals
    assert not coil.fate(1).fired


def test_a_part_whose_way_cannot_be_measured_fires_at_once() -> None:
    coil = by_encoder()
    coil.put(1, "reject")
    assert coil.fate(1).fired
    assert "no encoder count" in coil.fate(1).why
    coil.wait(100 * MS)
    coil.put(2, "pass", encoder=0)
    coil.readable = False
    coil.wait(3000 * MS)
    coil.put(3, "fault", at_ns=START, encoder=0)
    assert coil.fate(3).fired
    assert "unreadable" in coil.fate(3).why
    assert coil.gate.counts.untimed == 2


def test_an_encoder_that_does_not_count_while_parts_come() -> None:
    coil = by_encoder(position=70)
    for number in (1, 2):
        coil.put(number, "reject", encoder=70)
        coil.wait(100 * MS)
    assert not coil.intervals
    for number in (3, 4):
        coil.put(number, "reject", encoder=70)
        coil.wait(100 * MS)
    assert [coil.fate(number).fired for number in (1, 2, 3, 4)] == [False, False, True, True]
    assert "does not count" in coil.fate(1).why
    assert "stuck" in coil.gate.trouble(coil.now)


def test_a_conveyor_that_runs_back_a_little_fires_once_when_it_comes_again() -> None:
    coil = by_encoder()
    coil.put(1, "reject", encoder=0)
    coil.wait(900 * MS, speed_per_s=1000)
    coil.wait(500 * MS, speed_per_s=-1000)
    assert "backwards" in coil.gate.trouble(coil.now)
    coil.wait(1500 * MS, speed_per_s=1000)
    assert len(coil.intervals) == 1
    assert 1000 <= coil.places[1] <= 1010


def test_a_conveyor_that_runs_back_behind_the_camera_forgets_its_parts() -> None:
    coil = by_encoder()
    coil.put(1, "reject", encoder=0)
    coil.wait(500 * MS, speed_per_s=1000)
    coil.wait(1100 * MS, speed_per_s=-1000)
    coil.wait(5000 * MS, speed_per_s=1000)
    assert not coil.intervals
    assert "moved back" in coil.fate(1).why


@pytest.mark.parametrize("jump", [-30_000, -60, 995, 100_000])
def test_an_encoder_that_jumped_fires_at_no_part(jump: int) -> None:
    coil = by_encoder(position=40_000)
    coil.put(1, "reject", encoder=40_000)
    coil.wait(10 * MS, speed_per_s=1000)
    coil.position += jump
    coil.wait(10_000 * MS, speed_per_s=1000)
    assert not coil.intervals
    assert not coil.fate(1).fired


def test_a_narrow_encoder_that_was_silent_for_a_turn_fires_at_no_part() -> None:
    coil = by_encoder(bits=16)
    coil.put(1, "reject", encoder=0)
    coil.readable = False
    coil.now += 5000 * MS
    coil.position += 65_536 + 900  # it looks as if the part were just before the gate
    coil.readable = True
    coil.wait(500 * MS, speed_per_s=1000)
    assert not coil.intervals
    assert "wrapped around" in coil.fate(1).why


@pytest.mark.parametrize(
    "options",
    [
        {"delay_ms": 5, "delay_counts": 5, "late_counts": 5},
        {"delay_counts": 5},
        {"late_counts": 5},
        {"delay_counts": 16_000, "late_counts": 400, "encoder_bits": 16},
        {"encoder_bits": 24},
        {"pulse_ms": 0},
        {"pulse_ms": float("nan")},
    ],
)
def test_options_that_cannot_be(options: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        GateOptions.model_validate(options)
