"""The choices that good parts leave, and what more of them would buy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ast_edge.verdict.threshold import conformal_threshold, promise
from ast_edge.verdict.tradeoff import more_parts_text, tradeoff, tradeoff_text


def test_the_choices_of_many_parts() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 400.0))
    choices = tradeoff(scores.tolist())
    assert [choice.expected for choice in choices] == [0.1, 0.05, 0.02, 0.01, 0.005]
    assert [round(choice.threshold, 0) for choice in choices] == [360, 380, 392, 396, 398]
    assert choices[1].margin == pytest.approx(1.9, rel=1e-3)  # the median is 200
    made = conformal_threshold(scores, scores, false_reject_rate=0.05)
    assert choices[1].threshold == made.value
    assert choices[1].upper == made.upper_false_reject_rate


def test_few_parts_end_with_their_largest_score() -> None:
    choices = tradeoff([1.0, 2.0, 4.0] * 10)
    assert [round(1 / choice.expected) for choice in choices] == [10, 31]
    assert choices[-1].threshold == pytest.approx(4.0, rel=1e-3)
    assert tradeoff([0.0, 0.0])[0].margin == float("inf")


def test_the_table() -> None:
    head, first, *_ = tradeoff_text(tradeoff([1.0, 2.0, 4.0] * 10)).splitlines()
    assert head == "false rejects    at most   threshold   times the usual score"
    assert first.split() == ["9.68", "%", f"{100 * stats.beta(3, 28).ppf(0.95):.3g}", "%", "4.0004", "2"]


def test_more_parts() -> None:
    scores = np.arange(1.0, 51.0)
    threshold = conformal_threshold(scores, scores, false_reject_rate=0.01)
    twice, five = promise(100, 0.01), promise(250, 0.01)
    assert more_parts_text(threshold) == (
        f"with more good parts: 100 parts {100 * twice.expected:.3g} %, at most {100 * twice.upper:.3g} %; "
        f"250 parts {100 * five.expected:.3g} %, at most {100 * five.upper:.3g} %"
    )
