"""Alarms on the shares of faults and rejects: they begin in time, end, and are reported once."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.line.watching.alarms import AlarmGuard, AlarmOptions
from ast_edge.verdict.scoring import Verdict
from tests.line.parts import part_result


def guard(**options: object) -> tuple[AlarmGuard, list[tuple[object, object]]]:
    found, heard = AlarmGuard(AlarmOptions.model_validate(options)), list[tuple[object, object]]()

    def hear(kind: str, details: Mapping[str, object]) -> None:
        assert kind == "alarm"
        heard.append((details["warning"], details["change"]))

    found.report = hear
    return found, heard


def times(verdict: Verdict, count: int) -> list[Verdict]:
    return [verdict] * count


def put(found: AlarmGuard, *verdicts: Verdict) -> None:
    for number, verdict in enumerate(verdicts, 1):
        found.put(part_result(number, verdict))


@pytest.mark.parametrize(("verdict", "kind", "first"), [("fault", "faults", 11), ("reject", "rejects", 26)])
def test_an_alarm_begins_with_the_part_that_exceeds_the_limit(
    verdict: Verdict, kind: str, first: int
) -> None:
    found, heard = guard()
    put(found, *times(verdict, first - 1))
    assert not found.alarms
    put(found, verdict, verdict)
    assert list(found.alarms) == [kind]
    put(found, *times("pass", 50))
    assert not found.alarms
    assert heard == [(kind, "begin"), (kind, "end")]


def test_a_line_with_few_of_both_has_no_alarm() -> None:
    found, heard = guard()
    for _ in range(40):
        put(found, *times("pass", 7), "reject", "reject", "fault")
    assert not heard


def test_a_line_that_never_rejects_is_stuck_until_it_does() -> None:
    found, heard = guard(stuck_parts=100)
    put(found, *times("pass", 99))
    assert not found.alarms
    put(found, "pass")
    assert "known to be bad" in found.alarms["stuck"]
    put(found, "reject")
    assert heard == [("stuck", "begin"), ("stuck", "end")]


def test_a_share_of_one_is_no_limit() -> None:
    found, heard = guard(max_faults=1, max_rejects=1)
    put(found, *times("fault", 100), *times("reject", 100))
    assert not heard


@given(st.lists(st.sampled_from(["pass", "reject", "fault"]), max_size=200))
def test_an_alarm_is_in_force_above_the_limit_and_never_below_half_of_it(verdicts: list[Verdict]) -> None:
    found, heard = guard(parts=20, max_faults=0.25)
    for number in range(1, len(verdicts) + 1):
        put(found, verdicts[number - 1])
        faults = verdicts[max(number - 20, 0) : number].count("fault")
        assert ("faults" in found.alarms) or faults <= 5
        assert ("faults" not in found.alarms) or faults > 2
    changes = [change for kind, change in heard if kind == "faults"]
    assert changes == ["begin", "end"] * (len(changes) // 2) + ["begin"] * (len(changes) % 2)
