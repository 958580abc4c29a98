"""Losses and image score: their constants, the effect of the mask, and the NumPy reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ast_edge.model.manifest import Aggregation
from ast_edge.train.losses import aggregate, distance, smooth, student_loss, teacher_loss
from ast_edge.verdict import scoring

AGGREGATIONS: tuple[Aggregation, ...] = ("mean", "max", "top1", "top3")
N, C, H = 3, 5, 4


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


Z, OTHER, LOG_DET = drawn(N, C, H, H, seed=0), drawn(N, C, H, H, seed=1), drawn(N, H, H, seed=2)
FRACTIONS = (
    torch.randint(0, 5, (N, 1, H, H), generator=torch.Generator().manual_seed(3), dtype=torch.float64) / 4
)


# Teacher


def test_teacher_loss_pixel_by_pixel() -> None:
    expected = 0.0
    for n in range(N):
        for i in range(H):
            for j in range(H):
                m = FRACTIONS[n, 0, i, j].item()
                energy = sum(0.5 * m * Z[n, c, i, j].item() ** 2 for c in range(C))
                expected += energy - m * LOG_DET[n, i, j].item()
    assert teacher_loss(Z, LOG_DET, FRACTIONS).item() == pytest.approx(expected / (N * H * H), rel=1e-12)


def test_teacher_loss_is_the_negative_log_likelihood_without_its_constant() -> None:
    normal = torch.distributions.Normal(0.0, 1.0)
    density = normal.log_prob(Z).sum(1) + LOG_DET  # type: ignore[no-untyped-call]
    constant = C / 2 * math.log(2 * math.pi)
    assert teacher_loss(Z, LOG_DET, None).item() == pytest.approx(
        -density.mean().item() - constant, rel=1e-12
    )


def test_teacher_loss_is_not_divided_by_the_channels() -> None:
    twice = teacher_loss(torch.cat((Z, Z), dim=1), 2 * LOG_DET, None)
    assert twice.item() == pytest.approx(2 * teacher_loss(Z, LOG_DET, None).item(), rel=1e-12)


def test_teacher_loss_pulls_only_on_the_foreground() -> None:
    z, mask = Z.clone().requires_grad_(), (FRACTIONS > 0).double()
    teacher_loss(z, LOG_DET, mask).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(z.grad, mask * Z / (N * H * H), rtol=1e-12, atol=0)


# Student and map


def test_distance_is_the_mean_over_channels_weighted_once() -> None:
    expected = np.square(Z.numpy() - OTHER.numpy()).mean(axis=1)
    np.testing.assert_allclose(distance(Z, OTHER, None), expected, rtol=1e-12)
    np.testing.assert_allclose(distance(Z, OTHER, FRACTIONS), expected * FRACTIONS[:, 0].numpy(), rtol=1e-12)


def test_distance_of_one() -> None:
    assert torch.equal(distance(Z.float() * 0 + 3, Z.float() * 0 + 2, None), torch.ones(N, H, H))


@pytest.mark.parametrize("mask", [None, FRACTIONS])
def test_student_loss_is_the_mean_of_all_pixels_masked_or_not(mask: Tensor | None) -> None:
    expected = distance(Z, OTHER, mask).sum().item() / (N * H * H)
    assert student_loss(Z, OTHER, mask).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("mask", [None, FRACTIONS])
@pytest.mark.parametrize(("share", "count"), [(0.05, 2), (0.5, 24), (1.0, 48), (1e-9, 1)])
def test_half_of_the_hard_loss_is_the_mean_of_the_largest(
    mask: Tensor | None, share: float, count: int
) -> None:
    distances = distance(Z, OTHER, mask).numpy().ravel()
    expected = (distances.mean() + np.sort(distances)[-count:].mean()) / 2
    assert student_loss(Z, OTHER, mask, share).item() == pytest.approx(expected, rel=1e-12)


def test_hard_loss_pulls_harder_on_the_largest_alone() -> None:
    other = OTHER.clone().requires_grad_()
    student_loss(Z, other, None, 0.05).backward()  # type: ignore[no-untyped-call]
    plain = (other.detach() - Z) * 2 / (C * N * H * H)
    assert other.grad is not None
    ratio = (other.grad / plain).mean(dim=1).flatten()
    hardest = distance(Z, OTHER, None).flatten().argsort()[-2:]
    assert ratio[hardest].tolist() == pytest.approx([0.5 + 0.5 * N * H * H / 2] * 2, rel=1e-9)
    assert sorted(ratio.tolist())[:-2] == pytest.approx([0.5] * (N * H * H - 2), rel=1e-9)


# Mask


def test_empty_mask_gives_zero() -> None:
    empty = torch.zeros(N, 1, H, H, dtype=torch.float64)
    assert teacher_loss(Z, LOG_DET, empty).item() == 0
    assert student_loss(Z, OTHER, empty).item() == 0
    assert not distance(Z, OTHER, empty).any()


def test_full_mask_is_no_mask() -> None:
    full = torch.ones(N, 1, H, H, dtype=torch.float64)
    assert torch.equal(teacher_loss(Z, LOG_DET, full), teacher_loss(Z, LOG_DET, None))
    assert torch.equal(student_loss(Z, OTHER, full), student_loss(Z, OTHER, None))
    assert torch.equal(distance(Z, OTHER, full), distance(Z, OTHER, None))


# Smoothing


@pytest.mark.parametrize("sigma", [0.3, 0.7, 1.0, 2.5])
def test_smoothing_is_scipys_gaussian_filter(sigma: float) -> None:
    reach = math.ceil(3 * sigma)
    for found, given_map in zip(smooth(LOG_DET, None, sigma), LOG_DET, strict=True):
        expected = ndimage.gaussian_filter(given_map.numpy(), sigma, mode="nearest", radius=reach)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-14)


def test_without_smoothing_the_map_stays_as_it_is() -> None:
    assert smooth(LOG_DET, None, 0.0) is LOG_DET


def test_smoothing_takes_from_the_part_alone() -> None:
    # The same at every pixel of the part: nothing from outside dilutes it, however it is weighted.
    assert torch.allclose(smooth(7 * FRACTIONS[:, 0], FRACTIONS, 0.7), 7 * FRACTIONS[:, 0], rtol=1e-12)
    part = torch.zeros(1, 1, 40, 40, dtype=torch.float64)
    part[..., :3, :3] = 1
    smoothed = smooth(torch.ones(1, 40, 40, dtype=torch.float64) * part[:, 0], part, 1.0)
    assert torch.allclose(smoothed, part[:, 0])
    peak = torch.zeros(1, 40, 40, dtype=torch.float64)
    peak[0, 1, 1] = 1.0
    weights = torch.from_numpy(ndimage.gaussian_filter(part[0, 0].numpy(), 1.0, mode="nearest", radius=3))
    blurred = ndimage.gaussian_filter(peak[0].numpy(), 1.0, mode="nearest", radius=3)
    expected = blurred[:3, :3] / weights.numpy()[:3, :3]
    found = smooth(peak, part, 1.0)[0].numpy()
    np.testing.assert_allclose(found[:3, :3], expected, rtol=1e-12)
    assert not found[3:].any()
    assert not found[:, 3:].any()


# Image score

Values = NDArray[np.float32]
SHAPES = st.tuples(st.integers(1, 4), st.integers(2, 5), st.integers(2, 5))


@st.composite
def map_and_mask(draw: st.DrawFn) -> tuple[Values, Values | None]:
    shape = draw(SHAPES)
    anomaly_map = draw(hnp.arrays(np.float32, shape, elements=st.floats(0, 1e6, width=32)))
    quarters = hnp.arrays(np.float32, shape, elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
    mask = draw(st.none() | quarters | st.just(np.zeros(shape, np.float32)))
    return (anomaly_map if mask is None else anomaly_map * mask), mask


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@given(drawn=map_and_mask())
def test_aggregate_equals_the_reference(
    aggregation: Aggregation, drawn: tuple[Values, Values | None]
) -> None:
    anomaly_map, mask = drawn
    weights = None if mask is None else torch.from_numpy(mask)[:, None]
    found = aggregate(torch.from_numpy(anomaly_map), weights, aggregation).numpy()
    expected = scoring.aggregate(anomaly_map, mask, aggregation)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=0 if aggregation == "max" else 1e-6)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_empty_foreground_gives_no_finite_score(aggregation: Aggregation) -> None:
    mask = torch.ones(2, 1, 3, 3)
    mask[1] = 0
    score = aggregate(torch.full((2, 3, 3), 2.0) * mask[:, 0], mask, aggregation)
    assert score[0].item() == 2
    assert not score[1].isfinite()
    assert scoring.judge(score[1].item(), 1.0)[0] == "fault"


@pytest.mark.parametrize("mask", [None, torch.ones(1, 1, 2, 2)])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_not_a_number_in_the_map_reaches_the_score(aggregation: Aggregation, mask: Tensor | None) -> None:
    anomaly_map = torch.tensor([[[1.0, math.nan], [2.0, 3.0]]])
    assert aggregate(anomaly_map, mask, aggregation).isnan().all()


def test_mean_does_not_depend_on_the_size_of_the_part() -> None:
    mask = torch.zeros(2, 1, 4, 4)
    mask[0, 0, 0, 0], mask[1, 0, :2] = 1, 1
    assert aggregate(3 * mask[:, 0], mask, "mean").tolist() == [3, 3]


def test_maximum_is_taken_over_the_foreground() -> None:
    mask = torch.tensor([[[[0.0, 1.0], [0.25, 0.0]]]])
    assert aggregate(torch.tensor([[[9.0, 2.0], [3.0, 9.0]]]), mask, "max").tolist() == [3]
