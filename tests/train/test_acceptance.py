"""Acceptance by error rates: what counts as evidence, and what a limit needs."""

from __future__ import annotations

from ast_edge.train.acceptance import Limits, acceptance
from ast_edge.train.evaluation import Evaluation, PartFigures
from ast_edge.verdict.scoring import Verdict


def evaluated(**counts: int) -> Evaluation:
    """So many parts, by keyword: `good_pass=3, hole_fault=2`."""
    parts = []
    for name, count in counts.items():
        defect, verdict = name.split("_")
        found: Verdict = verdict  # type: ignore[assignment]
        row = PartFigures.model_construct(name=name, defect=defect, verdict=found, reason="", score=None)
        parts += [row] * count
    good = sum(part.defect == "good" for part in parts)
    return Evaluation.model_construct(parts=parts, good_parts=good, defective_parts=len(parts) - good)


def test_sixty_defects_found_show_less_than_five_percent_of_escapes() -> None:
    found = acceptance(evaluated(hole_reject=60), Limits(escapes=5))
    assert found is not None
    assert found.accepted
    assert "0 of 60" in found.text


def test_defective_parts_that_could_not_be_judged_prove_nothing() -> None:
    found = acceptance(evaluated(hole_fault=60), Limits(escapes=5))
    assert found is not None
    assert not found.accepted
    assert "60 faults do not count" in found.text
    some = acceptance(evaluated(hole_reject=58, hole_fault=2), Limits(escapes=5))
    assert some is not None
    assert not some.accepted
    assert "it takes at least 59 defective parts to show this limit, there are 58" in some.text


def test_a_good_part_that_could_not_be_judged_is_a_false_reject() -> None:
    found = acceptance(evaluated(good_pass=98, good_fault=2), Limits(false_rejects=7))
    assert found is not None
    assert found.criteria[0].count == 2
    assert found.accepted
