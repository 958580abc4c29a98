"""Holding good parts out for the threshold."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.data import Sample
from ast_edge.errors import DataError, UsageError
from ast_edge.train.split import split_holdout


@given(
    count=st.integers(4, 60),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32),
    order=st.randoms(use_true_random=False),
)
def test_the_hold_out_is_a_partition_that_depends_on_names_and_seed_only(
    count: int, fraction: float, seed: int, order: random.Random
) -> None:
    samples = [Sample(Path(f"good/{index:03d}.png"), None, None) for index in range(count)]
    train, held_out = split_holdout(samples, fraction=fraction, seed=seed)
    assert len(train) >= 2
    assert len(held_out) >= 2
    assert sorted(train + held_out, key=lambda sample: sample.name) == samples
    assert abs(len(held_out) - fraction * count) <= 2
    shuffled = samples.copy()
    order.shuffle(shuffled)
    assert split_holdout(shuffled, fraction=fraction, seed=seed) == (train, held_out)


def test_the_seed_decides_what_is_held_out() -> None:
    samples = [Sample(Path(f"{index}.png"), None, None) for index in range(40)]
    assert split_holdout(samples, seed=0) != split_holdout(samples, seed=1)
    assert len(split_holdout(samples, seed=0)[1]) == 4


def test_too_few_parts_and_impossible_fractions_are_refused() -> None:
    samples = [Sample(Path(f"good/{index}.png"), None, None) for index in range(3)]
    with pytest.raises(DataError, match="good: 3 good parts"):
        split_holdout(samples, seed=0)
    with pytest.raises(DataError, match="0 good parts"):
        split_holdout([], seed=0)
    for fraction in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(UsageError, match="fraction"):
            split_holdout(samples, fraction=fraction, seed=0)
