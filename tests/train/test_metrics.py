"""Figures of merit against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ast_edge.train.metrics import auroc, average_precision, f1_max, pixel_auroc, share

# Ranked from the top: defective, good, defective, good. Three of the four pairs are in order.
DEFECTIVE = np.array([True, False, True, False])
SCORES = np.array([0.9, 0.8, 0.4, 0.1])


def flags(*values: int) -> NDArray[np.bool_]:
    return np.array(values, dtype=np.bool_)


def values(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    assert auroc(DEFECTIVE, SCORES) == 3 / 4


def test_auroc_counts_a_tie_as_half_a_pair() -> None:
    # Pairs of a defective and a good one: 0.5 > 0.2 in order, 0.5 = 0.5 tied.
    assert auroc(flags(1, 0, 0), np.array([0.5, 0.5, 0.2])) == 3 / 4


def test_average_precision() -> None:
    # Recall 1/2 at precision 1/1, recall 1 at precision 2/3.
    assert average_precision(DEFECTIVE, SCORES) == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)


def test_f1_max() -> None:
    # F1 with the top 1, 2, 3, 4 called defective: 2/3, 1/2, 4/5, 2/3.
    assert f1_max(DEFECTIVE, SCORES) == pytest.approx(4 / 5)


def test_f1_max_where_the_top_is_good_has_no_division_by_zero() -> None:
    # F1 with the top 1 and both called defective: 0 and 2/3.
    assert f1_max(flags(1, 0), np.array([0.1, 0.9])) == pytest.approx(2 / 3)


def test_perfect_and_reversed_order() -> None:
    assert auroc(flags(1, 1, 0), np.array([3.0, 2.0, 1.0])) == 1.0
    assert auroc(flags(1, 1, 0), np.array([1.0, 2.0, 3.0])) == 0.0
    assert f1_max(flags(1, 1, 0), np.array([3.0, 2.0, 1.0])) == 1.0


@pytest.mark.parametrize("figure", [auroc, average_precision, f1_max])
@pytest.mark.parametrize("defective", [flags(1, 1), flags(0, 0), flags()])
def test_nothing_is_told_of_one_kind_alone(figure: object, defective: NDArray[np.bool_]) -> None:
    assert callable(figure)
    assert figure(defective, np.zeros(len(defective))) is None


def test_pixel_auroc_pools_all_parts_whatever_their_size() -> None:
    masks = [flags(1, 0).reshape(1, 2), flags(1, 0, 0, 0).reshape(2, 2)]
    maps = [values([0.9, 0.8]), values([0.5, 0.1], [0.2, 0.3])]
    # 8 pairs, one of which (0.5 defective, 0.8 good) is in the wrong order.
    assert pixel_auroc(masks, maps) == pytest.approx(7 / 8)


def test_pixel_auroc_without_masks_or_without_a_defect() -> None:
    assert pixel_auroc([], []) is None
    assert pixel_auroc([flags(0, 0)], [values([0.1, 0.2])[0]]) is None


def test_share() -> None:
    assert share(flags(1, 0, 0, 0)) == 1 / 4
    assert share(flags()) is None
