"""The flow's contract as mathematics: its computation, its inverse, and its log-determinant."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ast_edge.train.config import TeacherConfig
from ast_edge.train.teacher import CONDITION_CHANNELS, OUTPUT_LIMIT, Teacher, positional_encoding

ATAN = 0.636


def tiny(
    channels: int = 5, size: int = 4, *, clamp: float = 1.9, kernels: tuple[int, ...] = (3, 5)
) -> Teacher:
    """A flow in float64 whose gammas are not zero, so that every block does something."""
    torch.manual_seed(channels + 100 * size)
    teacher = Teacher(channels, size, TeacherConfig(hidden=6, clamp=clamp, epochs=1, kernels=kernels))
    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(1.5)
    return teacher.double().eval()


def features(channels: int, size: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return 3 * torch.randn(batch, channels, size, size, generator=generator, dtype=torch.float64)


def permutations(teacher: Teacher) -> list[Tensor]:
    return [module.perm.data for module in list(teacher.flow)[::2]]


# A second implementation, from the paper's description alone


def plain_encoding(size: int) -> Tensor:
    out = torch.empty(32, size, size, dtype=torch.float64)
    for k in range(8):
        omega = 10000 ** (-2 * k / 16)
        for i in range(size):
            out[2 * k, :, i], out[2 * k + 1, :, i] = math.sin(i * omega), math.cos(i * omega)
            out[16 + 2 * k, i, :], out[17 + 2 * k, i, :] = math.sin(i * omega), math.cos(i * omega)
    return out


def replicated(x: Tensor, pad: int) -> Tensor:
    index = torch.arange(-pad, x.shape[-1] + pad).clamp(0, x.shape[-1] - 1)
    return x[:, :, index][:, :, :, index]


def plain_subnet(weights: dict[str, Tensor], prefix: str, x: Tensor) -> tuple[Tensor, Tensor]:
    pad = weights[prefix + "conv1.weight"].shape[-1] // 2
    hidden = F.conv2d(replicated(x, pad), weights[prefix + "conv1.weight"], weights[prefix + "conv1.bias"])
    out = F.conv2d(
        replicated(hidden.clamp(min=0), pad), weights[prefix + "conv2.weight"], weights[prefix + "conv2.bias"]
    )
    out = out * weights[prefix + "gamma"]
    half = out.shape[1] // 2
    return out[:, :half], out[:, half:]


def plain_flow(teacher: Teacher, x: Tensor, clamp: float) -> tuple[Tensor, Tensor]:
    """z and the per-pixel log-determinant of the same weights."""
    weights = {name: value.detach() for name, value in teacher.named_parameters()}
    condition = plain_encoding(x.shape[-1]).expand(len(x), -1, -1, -1)
    log_det = torch.zeros_like(x[:, 0])
    for block in range(len(teacher.flow) // 2):
        prefix = f"flow.module_list.{2 * block + 1}."
        x = x[:, np.random.RandomState(block).permutation(x.shape[1])]
        first = x.shape[1] // 2
        x1, x2 = x[:, :first], x[:, first:]
        s, t = plain_subnet(weights, prefix + "subnet2.", torch.cat((x2, condition), dim=1))
        scale = clamp * ATAN * torch.atan(s / clamp)
        y1, log_det = scale.exp() * x1 + t, log_det + scale.sum(1)
        s, t = plain_subnet(weights, prefix + "subnet1.", torch.cat((y1, condition), dim=1))
        scale = clamp * ATAN * torch.atan(s / clamp)
        x, log_det = torch.cat((y1, scale.exp() * x2 + t), dim=1), log_det + scale.sum(1)
    return x, log_det


@settings(max_examples=12)
@given(st.integers(2, 9), st.integers(2, 6), st.sampled_from([1.9, 3.0]))
def test_equals_a_plain_implementation_with_the_same_weights(channels: int, size: int, clamp: float) -> None:
    teacher = tiny(channels, size, clamp=clamp, kernels=(3, 3, 3, 5))
    teacher.condition = plain_encoding(size)  # without the rounding to float32 in which it is kept
    x = features(channels, size)
    with torch.no_grad():
        z, log_det = teacher(x)
    expected_z, expected_log_det = plain_flow(teacher, x, clamp)
    torch.testing.assert_close(z, expected_z, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_det, expected_log_det, rtol=1e-12, atol=1e-12)


# Condition, permutations, sizes


def test_positional_encoding_spot_values() -> None:
    encoding = positional_encoding(24)
    assert encoding.shape == (CONDITION_CHANNELS, 24, 24)
    assert encoding.dtype == torch.float32
    spots = {
        (0, 7, 0): 0.0,  # sin of column 0
        (1, 7, 0): 1.0,
        (0, 3, 5): math.sin(5),
        (1, 3, 5): math.cos(5),
        (2, 3, 5): math.sin(5 * 10000 ** (-1 / 8)),
        (15, 3, 23): math.cos(23 * 10000 ** (-7 / 8)),
        (16, 7, 0): math.sin(7),  # rows in the second half
        (17, 7, 0): math.cos(7),
        (30, 23, 1): math.sin(23 * 10000 ** (-7 / 8)),
    }
    for place, value in spots.items():
        assert encoding[place].item() == pytest.approx(value, abs=1e-7), place


def test_positional_encoding_everywhere() -> None:
    torch.testing.assert_close(positional_encoding(24).double(), plain_encoding(24), rtol=0, atol=1e-7)


@pytest.mark.parametrize("channels", [4, 64, 304, 368])
def test_permutations_are_those_of_numpys_legacy_generator(channels: int) -> None:
    with torch.device("meta"):
        teacher = Teacher(channels, 2, TeacherConfig(hidden=1, clamp=1.9, epochs=1))
    found = permutations(teacher)
    assert len(found) == 4
    for seed, permutation in enumerate(found):
        np.testing.assert_array_equal(permutation, np.random.RandomState(seed).permutation(channels))


def test_numpys_global_generator_is_left_alone() -> None:
    np.random.seed(123)
    expected = np.random.RandomState(123).rand(4)
    tiny()
    np.testing.assert_array_equal(np.random.rand(4), expected)


@pytest.mark.parametrize(
    ("channels", "hidden", "millions"),
    [(304, 64, 3.251), (368, 64, 3.891), (64, 64, 0.853), (304, 1024, 51.98)],
)
def test_paper_size_has_the_papers_number_of_parameters(channels: int, hidden: int, millions: float) -> None:
    with torch.device("meta"):  # nothing is allocated
        teacher = Teacher(channels, 24, TeacherConfig(hidden=hidden, clamp=1.9, epochs=1))
    count = sum(p.numel() for p in teacher.parameters() if p.requires_grad)
    assert count / 1e6 == pytest.approx(millions, abs=0.0005 if hidden == 64 else 0.005)


def test_only_weights_are_trained_and_only_weights_and_permutations_are_kept() -> None:
    teacher = tiny()
    assert all(p.requires_grad == p.is_floating_point() for p in teacher.parameters())
    assert not any("condition" in name for name in teacher.state_dict())


# At initialisation


def test_starts_as_a_pure_permutation() -> None:
    teacher = Teacher(8, 4, TeacherConfig(hidden=6, clamp=1.9, epochs=1))
    x = features(8, 4).float()
    with torch.no_grad():
        z, log_det = teacher(x)
    expected = x
    for seed in range(4):
        expected = expected[:, np.random.RandomState(seed).permutation(8)]
    assert torch.equal(z, expected)
    assert torch.equal(log_det, torch.zeros(2, 4, 4))


def test_gammas_receive_a_gradient_at_the_start() -> None:
    teacher = Teacher(4, 3, TeacherConfig(hidden=6, clamp=1.9, epochs=1))
    z, log_det = teacher(features(4, 3).float())
    (0.5 * z.square().sum() - log_det.sum()).backward()
    gradients = [p.grad for name, p in teacher.named_parameters() if name.endswith("gamma")]
    assert len(gradients) == 8
    assert all(gradient is not None and gradient.abs().item() > 0 for gradient in gradients)


# Inverse and log-determinant


@settings(max_examples=12)
@given(st.integers(2, 9), st.integers(2, 6))
def test_inverse_undoes_forward_and_negates_its_log_det(channels: int, size: int) -> None:
    teacher, x = tiny(channels, size, kernels=(3, 3, 3, 5)), features(channels, size)
    with torch.no_grad():
        z, log_det = teacher(x)
        back, back_log_det = teacher.inverse(z)
        again, _ = teacher(teacher.inverse(x)[0])
    assert (z - x).abs().max() > 0.1
    torch.testing.assert_close(back, x, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(back_log_det, -log_det, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(again, x, rtol=1e-10, atol=1e-10)


def jacobian_of(teacher: Teacher, x: Tensor) -> Tensor:
    """dz/dx of one part: [C,h,w,C,h,w]."""
    jacobian: Tensor = torch.func.jacrev(lambda y: teacher(y[None])[0][0])(x[0])
    return jacobian.detach()


@pytest.mark.parametrize(("channels", "clamp"), [(4, 1.9), (4, 3.0), (3, 1.9)])
def test_log_det_is_that_of_the_jacobian(channels: int, clamp: float) -> None:
    teacher = tiny(channels, 3, clamp=clamp, kernels=(3, 3, 3, 5))
    x = features(channels, 3, batch=1)
    jacobian = jacobian_of(teacher, x).view(9 * channels, 9 * channels)
    with torch.no_grad():
        _, log_det = teacher(x)
    sign, expected = torch.linalg.slogdet(jacobian)
    assert abs(sign.item()) == 1  # the permutations may turn the orientation
    assert abs(expected.item()) > 0.1
    assert log_det.shape == (1, 3, 3)
    assert log_det.sum().item() == pytest.approx(expected.item(), abs=1e-10)


def test_log_det_of_a_pixel_is_the_sum_of_its_own_log_scales() -> None:
    """With 1x1 kernels pixels do not see each other: each has a Jacobian of its own."""
    teacher = tiny(4, 3, kernels=(1, 1, 1))
    x = features(4, 3, batch=1)
    jacobian = jacobian_of(teacher, x)
    with torch.no_grad():
        _, log_det = teacher(x)
    for i in range(3):
        for j in range(3):
            own = jacobian[:, i, j, :, i, j]
            assert log_det[0, i, j].item() == pytest.approx(torch.linalg.slogdet(own)[1].item(), abs=1e-10)
    assert log_det.std() > 0.01


def test_batch_of_24_on_a_map_of_24() -> None:
    """Containers that start their log-determinant from zeros(N) broadcast it wrongly when N equals h or w."""
    teacher = tiny(4, 24, kernels=(3,))
    x = features(4, 24, batch=24)
    with torch.no_grad():
        z, log_det = teacher(x)
        singles = [teacher(part[None]) for part in x]
    assert log_det.shape == (24, 24, 24)
    torch.testing.assert_close(z, torch.cat([single for single, _ in singles]), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_det, torch.cat([single for _, single in singles]), rtol=1e-12, atol=1e-12)


# Limits and precision


@pytest.mark.parametrize("clamp", [1.9, 3.0])
def test_scales_stay_within_the_clamp(clamp: float) -> None:
    channels, blocks = 4, 2
    teacher = tiny(channels, 3, clamp=clamp, kernels=(3,) * blocks)
    with torch.no_grad():
        for parameter in teacher.parameters():
            if parameter.requires_grad:
                parameter.mul_(1e4)
        _, log_det = teacher(features(channels, 3))
    limit = ATAN * math.pi / 2 * clamp * channels * blocks
    assert log_det.abs().max() <= limit
    assert log_det.abs().max() > 0.2 * limit


def test_output_is_limited_and_the_log_det_is_not_touched_by_it() -> None:
    teacher = Teacher(4, 3, TeacherConfig(hidden=6, clamp=1.9, epochs=1))
    with torch.no_grad():
        z, log_det = teacher(torch.full((1, 4, 3, 3), -3e7))
    assert torch.equal(z, torch.full_like(z, -OUTPUT_LIMIT))
    assert torch.equal(log_det, torch.zeros(1, 3, 3))
    assert OUTPUT_LIMIT == 1e6


def test_affine_state_keeps_its_precision_under_autocast() -> None:
    teacher, x = tiny().float(), features(5, 4).float()
    with torch.no_grad():
        exact, exact_log_det = teacher(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            z, log_det = teacher(x)
    assert (z.dtype, log_det.dtype) == (torch.float32, torch.float32)
    assert not torch.equal(z, exact)
    torch.testing.assert_close(z, exact, rtol=0.1, atol=0.2)
    torch.testing.assert_close(log_det, exact_log_det, rtol=0.1, atol=0.2)


@pytest.mark.slow
def test_training_lowers_the_negative_log_likelihood() -> None:
    torch.manual_seed(0)
    teacher = Teacher(4, 4, TeacherConfig(hidden=8, clamp=1.9, epochs=1))
    x = 2 + 3 * torch.randn(16, 4, 4, 4)
    optimiser = torch.optim.Adam([p for p in teacher.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(30):
        z, log_det = teacher(x)
        loss = (0.5 * z.square().sum(1) - log_det).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
