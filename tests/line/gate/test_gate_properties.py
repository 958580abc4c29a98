"""The reject gate under random parts, delays and conveyor speeds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ast_edge.line.gate.belt import FASTEST_PER_S
from ast_edge.verdict.scoring import Verdict
from tests.line.gate.coil import MS, by_encoder, by_time

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
