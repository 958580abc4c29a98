"""Fusion of distances: the meaning and the guarantees of the weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.verdict.fusion import FLOOR, Fusion, fitted, fused

RNG = np.random.default_rng(0)


def distances(count: int = 3) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Three distances of places in units and spreads of their own."""
    spreads = (0.2, 1.0, 0.5)[:count]
    return [np.exp(RNG.normal(at, spread, (4, 8, 8))).astype(np.float32) for at, spread in enumerate(spreads)]


def test_places_are_in_the_order_of_the_sum_of_standardised_logarithms() -> None:
    given = distances()
    logs = [np.log(each.astype(np.float64)) for each in given]
    found = fused(given, fitted([log.ravel() for log in logs]))
    standardised = sum((log - log.mean()) / log.std() for log in logs)
    assert np.array_equal(np.argsort(found.ravel()), np.argsort(np.asarray(standardised).ravel()))


def test_weights_add_up_to_one_and_a_usual_place_is_about_one() -> None:
    given = distances()
    fusion = fitted([np.log(each).ravel() for each in given])
    assert sum(fusion.weights) == pytest.approx(1, rel=1e-12)
    assert fusion.weights[0] > fusion.weights[2] > fusion.weights[1]
    assert np.log(fused(given, fusion)).mean() == pytest.approx(0, abs=1e-6)


@given(st.lists(st.floats(-0.02, 0.02), min_size=3, max_size=3))
def test_no_larger_relative_error_than_the_worst_distances(errors: list[float]) -> None:
    given = distances()
    fusion = fitted([np.log(each).ravel() for each in given])
    wrong = [(each * (1 + error)).astype(np.float32) for each, error in zip(given, errors, strict=True)]
    found = np.abs(fused(wrong, fusion) / fused(given, fusion) - 1).max()
    assert found <= max(abs(error) for error in errors) + 1e-5


def test_a_distance_of_zero_is_a_number() -> None:
    zero = np.zeros((1, 2, 2), np.float32)
    fusion = Fusion((0.25, 0.75), 0.0)
    assert fused([zero, np.ones_like(zero)], fusion) == pytest.approx(FLOOR**0.25, rel=1e-12)


def test_distances_that_do_not_vary_are_weighed_too() -> None:
    fusion = fitted([np.zeros(5), np.array([0.0, 1.0, 0.0, 1.0, 0.0])])
    assert all(math.isfinite(weight) for weight in fusion.weights)
    assert fusion.weights[0] > fusion.weights[1] > 0
