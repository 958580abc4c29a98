"""Counters, the last part up to which all are judged, and reasons as numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.errors import BackendError, CameraError
from ast_edge.line.outputs.reasons import REASONS, reason_code
from ast_edge.line.outputs.tally import Tally, Totals, plc_id
from ast_edge.verdict.scoring import Verdict, judge
from tests.line.parts import part_result
from tests.line.rig import rig

VERDICTS = st.sampled_from(["pass", "reject", "fault"])


@given(st.lists(VERDICTS, min_size=1, max_size=30).flatmap(lambda found: st.tuples(
    st.just(found), st.permutations(range(1, len(found) + 1))
)))  # fmt: skip
def test_totals_are_of_the_parts_up_to_judged(case: tuple[list[Verdict], list[int]]) -> None:
    verdicts, order = case
    tally, seen = Tally(), set()
    for number in order:
        totals = tally.enter(part_result(number, verdicts[number - 1], external_id=str(1000 + number)))
        seen.add(number)
        upto = next(n for n in range(1, len(verdicts) + 2) if n not in seen) - 1
        assert totals.judged == (1000 + upto if upto else None)
        found = verdicts[:upto]
        assert (totals.passed, totals.rejected, totals.faults) == (
            found.count("pass"),
            found.count("reject"),
            found.count("fault"),
        )


def test_parts_without_a_number_leave_judged_as_it_is() -> None:
    tally = Tally()
    tally.enter(part_result(1, external_id="800"))
    assert tally.enter(part_result(2)) == Totals(2, 0, 0, 800)
    assert tally.enter(part_result(3, external_id="A")) == Totals(3, 0, 0, 800)


def test_counters_go_round_at_32_bits() -> None:
    most = (1 << 32) - 1
    assert Totals(most, 1, 2).plus("pass", 3) == Totals(0, 1, 2, 3)
    assert Totals(0, most, 2).plus("reject", 3) == Totals(0, 0, 2, 3)
    assert Totals(0, 1, most).plus("fault", 3) == Totals(0, 1, 0, 3)


@pytest.mark.parametrize(
    ("given_id", "expected"),
    [
        (None, 7),
        ("42", 42),
        ("4294967295", 4294967295),
        ("4294967296", 7),
        ("99999999999999999999", 7),
        ("-1", 7),
        ("1.5", 7),
        ("٣", 7),
        ("A-12", 7),
        ("", 7),
    ],
)
def test_a_part_is_known_by_its_sources_number_where_it_is_one(given_id: str | None, expected: int) -> None:
    assert plc_id(part_result(7, external_id=given_id)) == expected


def test_every_reason_has_its_own_number() -> None:
    assert sorted({code for code, _, _ in REASONS}) == [code for code, _, _ in REASONS]
    assert reason_code("pass", judge(0.1, 1.0)[1]) == 0
    assert reason_code("reject", judge(2.0, 1.0)[1]) == 0
    assert reason_code("fault", judge(math.nan, 1.0)[1]) == 8
    assert reason_code("fault", "an unforeseen error") == 99


@pytest.mark.slow
def test_the_stations_own_words_are_known() -> None:
    """Faults of a real station, so that a sentence that changes is noticed."""
    with rig(deadline_ms=1000.0, max_waiting=1) as bench:
        bench.station.missed(1, "test")
        bench.station.trigger()
        bench.settle(2)
        bench.station.trigger()
        bench.camera.frames.put(CameraError("gige://1: the cable is out"))
        bench.settle(3)
        bench.station.trigger()
        bench.camera.show()
        bench.settle(4)
        frame = bench.results[3].frame
        assert frame is not None
        bench.station.trigger()
        bench.camera.frames.put(replace(frame, number=frame.number + 1, host_ns=frame.host_ns + 10**12))
        bench.settle(5)
        for _ in range(4):
            bench.station.trigger()
        bench.settle(9)
    codes = {result.number: reason_code(result.verdict, result.reason) for result in bench.results}
    assert codes[1] == 1
    assert codes[2] in {2, 4}  # the clock and the pairing race
    assert codes[3] == 11
    assert codes[4] == 0
    assert codes[5] == 6
    assert 3 in {codes[number] for number in range(6, 10)}


def test_an_engine_that_raises_is_known() -> None:
    def answer(_: object) -> None:
        raise BackendError("ONNX Runtime: out of memory")

    with rig(answer) as bench:  # type: ignore[arg-type]
        bench.station.trigger()
        bench.camera.show()
        bench.settle(1)
    assert reason_code("fault", bench.results[0].reason) == 9


def test_an_unforeseen_error_counts_as_an_engine_error() -> None:
    def answer(_: object) -> None:
        raise RuntimeError("no such luck")

    with rig(answer, deadline_ms=20_000.0) as bench:  # type: ignore[arg-type]
        bench.station.trigger()
        bench.camera.show()
        bench.settle(1)
    assert reason_code("fault", bench.results[0].reason) == 9
