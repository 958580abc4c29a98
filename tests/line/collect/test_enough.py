"""What is called enough is what training and its threshold make of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.data import Sample
from ast_edge.errors import UsageError
from ast_edge.line.collect.enough import Needed
from ast_edge.train.config import TrainConfig
from ast_edge.train.split import split_holdout
from ast_edge.verdict.threshold import held_out_count, parts_to_hold_out, promise


def held_out(parts: int, fraction: float) -> int:
    """As training splits them."""
    samples = [Sample(Path(f"{number:06d}.png"), None, None) for number in range(parts)]
    return len(split_holdout(samples, fraction=fraction, seed=0)[1])


@pytest.mark.parametrize("rate", [0.5, 0.2, 0.05, 0.01])
def test_training_promises_the_rate_from_that_number_on(rate: float) -> None:
    needed, holdout = Needed.for_rate(rate), TrainConfig.model_fields["holdout"].default
    assert promise(needed.crossed, rate).expected <= rate
    assert promise(held_out(needed.held_out, holdout), rate).expected <= rate
    if needed.held_out > 20:
        assert promise(held_out(needed.held_out - 1, holdout), rate).expected > rate
        assert promise(needed.crossed - 1, rate).expected > rate


@given(count=st.integers(2, 3000), fraction=st.floats(0.01, 0.99))
def test_the_fewest_parts_of_which_so_many_are_held_out(count: int, fraction: float) -> None:
    parts = parts_to_hold_out(count, fraction)
    assert held_out_count(parts, fraction) >= count
    assert parts == 4 or held_out_count(parts - 1, fraction) < count


def test_the_sentence_changes_at_the_steps() -> None:
    needed = Needed.for_rate(0.01)
    assert needed.steps == (99, 986)
    assert "needs 99 good parts with `train --calibration cross`, 986 without it; there are 98" in (
        needed.sentence(98)
    )
    assert needed.sentence(99).startswith(
        "99 good parts are enough for a false-reject rate of 1 % with `train"
    )
    assert needed.sentence(986) == "986 good parts are enough for a false-reject rate of 1 %"


@pytest.mark.parametrize("rate", [0.0, 1.0, -1.0, float("nan")])
def test_an_impossible_rate(rate: float) -> None:
    with pytest.raises(UsageError, match="false_reject_rate: expected a fraction"):
        Needed.for_rate(rate)
