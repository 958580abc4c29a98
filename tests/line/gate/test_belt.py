"""An encoder's count without its wrap-around."""

from __future__ import annotations

from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from ast_edge.line.gate.belt import Belt, EncoderReading

MS = 1_000_000


@given(
    st.sampled_from([16, 32]),
    st.integers(0, (1 << 32) - 1),
    st.lists(st.integers(-20, 300), max_size=200),
)
def test_the_position_is_the_sum_of_the_steps(bits: Literal[16, 32], start: int, steps: list[int]) -> None:
    belt = Belt(bits, tolerance=20, distance=100_000)
    first = start % (1 << bits)
    belt.read(EncoderReading(first, 0))
    true = first
    for at, step in enumerate(steps, 1):
        true += step
        belt.read(EncoderReading(true % (1 << bits), at * 5 * MS))
        assert belt.position == true
        assert belt.place((true - 7) % (1 << bits)) == true - 7
    assert belt.breaks == 0


@given(st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 40)), max_size=50))
def test_no_reading_breaks_it(readings: list[tuple[int, int]]) -> None:
    belt = Belt(16, tolerance=1, distance=1)
    for count, at_ns in readings:
        belt.part(count, at_ns)
        assert belt.state(at_ns) in {"moving", "still", "backwards", "unreadable", "stuck"}


def test_what_it_says_about_the_encoder() -> None:
    belt = Belt(32, tolerance=50, distance=1000)
    assert belt.state(0) == "unknown"
    assert not belt.usable(0)
    belt.read(EncoderReading(5, 0))
    belt.read(EncoderReading(6, 10 * MS))
    belt.read(EncoderReading(500_000, 9 * MS))  # older than the newest: nothing new
    assert belt.state(20 * MS) == "moving"
    belt.read(EncoderReading(4, 30 * MS))
    assert belt.state(30 * MS) == "backwards"
    assert belt.usable(30 * MS)
    belt.read(EncoderReading(5, 40 * MS))
    belt.read(EncoderReading(5, 1500 * MS))
    assert belt.state(1500 * MS) == "still"
    assert belt.state(2600 * MS) == "unreadable"
    assert not belt.usable(2600 * MS)
    assert belt.breaks == 0
