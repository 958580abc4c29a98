"""The reject gate: it fires at the right part, once, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ast_edge.line.gate.belt import FASTEST_PER_S, EncoderReading
from ast_edge.line.gate.gate import Fate, Gate, GateOptions
from ast_edge.line.part import Trigger
from ast_edge.verdict.scoring import Verdict

MS = 1_000_000
START = 10_000 * MS


@dataclass
class Coil:
    """Drives a gate as an output does: wakes when asked to, writes, and records when the coil was on."""

    gate: Gate
    now: int = START
    write_ns: int = 0
    position: int = 0
    bits: int = 32
    readable: bool = True
    silent_since: int | None = None
    intervals: list[list[int]] = field(default_factory=list)
    fates: list[Fate] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)

    def reading(self) -> EncoderReading | None:
        return EncoderReading(self.position % (1 << self.bits), self.now) if self.readable else None

    def put(
        self, number: int, verdict: Verdict, at_ns: int | None = None, encoder: int | None = None
    ) -> None:
        at = self.now if at_ns is None else at_ns
        self.gate.add(
            Trigger(number=number, at_ns=at, wall_s=0.0, encoder=encoder), verdict, self.now, self.reading()
        )
        self.drive()

    def drive(self) -> None:
        while (wanted := self.gate.step(self.now, self.reading())) is not None:
            self.now += self.write_ns
            if wanted and not self.is_on:
                self.intervals.append([self.now, -1])
            elif not wanted and self.is_on:
                self.intervals[-1][1] = self.now
            self.gate.written(self.now, on=wanted)
        for fate in self.gate.fates():
            self.fates.append(fate)
            self.places[fate.number] = self.position

    @property
    def is_on(self) -> bool:
        return bool(self.intervals) and self.intervals[-1][1] < 0

    def wait(self, ns: int, speed_per_s: float = 0.0) -> None:
        """Time passes and the conveyor moves; the gate is asked when it wants to be."""
        end, begin, start = self.now + ns, self.now, self.position
        while self.now < end:
            due = self.gate.next_ns(self.now)
            self.now = end if due is None else min(end, max(due, self.now + 1))
            self.position = start + int(speed_per_s * (self.now - begin) / 1e9)
            self.drive()

    def fate(self, number: int) -> Fate:
        (found,) = [fate for fate in self.fates if fate.number == number]
        return found

    def on_ms(self) -> list[tuple[float, float]]:
        return [((on - START) / MS, (off - START) / MS) for on, off in self.intervals]


def by_time(**options: float) -> Coil:
    return Coil(Gate(GateOptions.model_validate({"pulse_ms": 20.0, "late_ms": 10.0, **options})))


def by_encoder(bits: int = 32, position: int = 0, **options: int) -> Coil:
    numbers = {"delay_counts": 1000, "late_counts": 50, **options}
    gate = Gate(GateOptions.model_validate({"pulse_ms": 20.0, "encoder_bits": bits, **numbers}))
    return Coil(gate, bits=bits, position=position)


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


VERDICTS = st.sampled_from(["pass", "reject", "fault"])
PARTS = st.lists(
    st.tuples(VERDICTS, st.integers(0, 120), st.integers(0, 60), st.booleans()), min_size=1, max_size=25
)


@given(PARTS, st.sampled_from([None, 0, 40, 300]), st.integers(0, 4))
def test_every_part_is_actuated_in_its_time_or_missed(
    parts: list[tuple[Verdict, int, int, bool]], delay_ms: int | None, write_ms: int
) -> None:
    """`parts`: verdict, age at the verdict, pause after it, whether the connection breaks then (ms)."""
    coil = by_time(**({} if delay_ms is None else {"delay_ms": delay_ms}))
    coil.write_ns = write_ms * MS
    due: dict[int, int] = {}
    broken = 0
    for number, (verdict, age_ms, pause_ms, breaks) in enumerate(parts, 1):
        at = coil.now - age_ms * MS
        if verdict != "pass":
            due[number] = coil.now if delay_ms is None else at + delay_ms * MS
        coil.put(number, verdict, at_ns=at)
        if breaks:
            coil.gate.lost()
            coil.now += pause_ms * MS
            coil.drive()
            broken = max(broken, pause_ms * MS)
        else:
            coil.wait(pause_ms * MS)
    coil.wait(1000 * MS)
    assert not coil.gate.active
    assert sorted(fate.number for fate in coil.fates) == sorted(due)
    fired = [fate for fate in coil.fates if fate.fired]
    # Writing takes its time, and a coil that must be switched off first takes it again.
    slack = 10 * MS + 3 * coil.write_ns
    for fate in fired:
        assert due[fate.number] <= fate.at_ns <= due[fate.number] + slack
        covering = [1 for on, off in coil.intervals if on <= fate.at_ns and fate.at_ns + 20 * MS <= off]
        assert covering == [1]
    for on, off in coil.intervals:
        assert any(on <= fate.at_ns <= off for fate in fired)
        last = max(fate.at_ns for fate in fired if on <= fate.at_ns <= off)
        assert off <= last + 20 * MS + 3 * coil.write_ns + broken
    for fate in coil.fates:
        if not fate.fired:
            assert fate.at_ns > due[fate.number] + 10 * MS


@given(
    st.lists(
        st.tuples(
            VERDICTS,
            st.integers(-200, 2000),  # speed, counts a second
            st.integers(1, 400),  # for so many ms
            st.booleans(),  # whether the encoder can be read meanwhile
            st.integers(0, 30),  # verdict so many ms after the trigger
        ),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from([16, 32]),
    st.integers(-2000, 2000),
)
def test_by_encoder_a_part_is_hit_at_the_gate_or_not_at_all(
    parts: list[tuple[Verdict, int, int, bool, int]], bits: int, start: int
) -> None:
    coil = by_encoder(bits, position=(1 << bits) + start)
    triggered: dict[int, int] = {}
    for number, (verdict, speed, for_ms, readable, verdict_ms) in enumerate(parts, 1):
        # A sensor gives a count only where the encoder can be read.
        place, at = coil.position, coil.now
        encoder = place % (1 << bits) if coil.readable else None
        if verdict != "pass" and encoder is not None:
            triggered[number] = place
        coil.wait(verdict_ms * MS, speed)
        coil.put(number, verdict, at_ns=at, encoder=encoder)
        coil.readable = readable
        coil.wait(for_ms * MS, speed)
    coil.readable = True
    coil.wait(3000 * MS, 1000)
    for fate in coil.fates:
        if fate.fired and not fate.why:
            assert 1000 <= coil.places[fate.number] - triggered[fate.number] <= 1050
        elif fate.number in triggered and fate.fired:
            assert "encoder" in fate.why
    wanted = {number for number, part in enumerate(parts, 1) if part[0] != "pass"}
    assert {fate.number for fate in coil.fates} == wanted
    assert len(coil.fates) == len(wanted)


def test_the_fastest_conveyor_is_no_jump() -> None:
    coil = by_encoder()
    coil.put(1, "pass", encoder=0)
    coil.wait(100 * MS, speed_per_s=FASTEST_PER_S)
    at = coil.position
    coil.put(2, "reject", encoder=at)
    coil.wait(100 * MS, speed_per_s=10_000)
    assert coil.fate(2).fired
