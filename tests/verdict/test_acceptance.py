"""Acceptance by error rates: what counts as evidence, and what a limit needs."""

from __future__ import annotations

from ast_edge.verdict.acceptance import ErrorCounts, Limits, acceptance, count_errors
from ast_edge.verdict.scoring import Verdict


def counted(**counts: int) -> ErrorCounts:
    """So many parts, by keyword: `good_pass=3, hole_fault=2`."""
    parts: list[tuple[str, Verdict]] = []
    for name, count in counts.items():
        kind, verdict = name.split("_")
        found: Verdict = verdict  # type: ignore[assignment]
        parts += [(kind, found)] * count
    return count_errors(parts)


def test_sixty_defects_found_show_less_than_five_percent_of_escapes() -> None:
    found = acceptance(counted(hole_reject=60), Limits(escapes=5))
    assert found is not None
    assert found.accepted
    assert "0 of 60" in found.text


def test_defective_parts_that_could_not_be_judged_prove_nothing() -> None:
    found = acceptance(counted(hole_fault=60), Limits(escapes=5))
    assert found is not None
    assert not found.accepted
    assert "60 faults do not count" in found.text
    some = acceptance(counted(hole_reject=58, hole_fault=2), Limits(escapes=5))
    assert some is not None
    assert not some.accepted
    assert "it takes at least 59 defective parts to show this limit, there are 58" in some.text


def test_a_good_part_that_could_not_be_judged_is_a_false_reject() -> None:
    found = acceptance(counted(good_pass=98, good_fault=2), Limits(false_rejects=7))
    assert found is not None
    assert found.criteria[0].count == 2
    assert found.accepted
