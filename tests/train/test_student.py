"""The student: its computation, the order of its layers, and its size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ast_edge.train.config import StudentConfig
from ast_edge.train.student import ResidualBlock, Student

CONDITION = 32


def tiny(channels: int = 5, size: int = 6, *, slope: float = 0.2) -> Student:
    """A student in float64 with weights and batch-norm statistics that are all different."""
    torch.manual_seed(channels)
    student = Student(channels, size, StudentConfig(width=7, blocks=2, epochs=1, leaky_slope=slope))
    with torch.no_grad():
        for name, value in student.state_dict().items():
            if "bn" in name and value.is_floating_point():
                value.uniform_(0.5, 2.0)
    return student.double().eval()


def features(channels: int = 5, size: int = 6, batch: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return 3 * torch.randn(batch, channels, size, size, generator=generator, dtype=torch.float64)


def plain_student(student: Student, x: Tensor, slope: float, *, training: bool = False) -> Tensor:
    """A second implementation, from the paper's description alone, with the same weights."""
    weights = {name: value.clone() for name, value in student.state_dict().items()}

    def convolved(y: Tensor, name: str) -> Tensor:
        padded = F.pad(y, (1, 1, 1, 1))
        return F.conv2d(padded, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def normalised(y: Tensor, name: str) -> Tensor:
        mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        if training:
            mean, variance = y.mean((0, 2, 3)), y.var((0, 2, 3), unbiased=False)
        scale = weights[f"{name}.weight"] / (variance + 1e-5).sqrt()
        shift = weights[f"{name}.bias"] - mean * scale
        out: Tensor = y * scale[:, None, None] + shift[:, None, None]
        return out

    def leaky(y: Tensor) -> Tensor:
        return torch.where(y > 0, y, slope * y)

    condition = student.condition.expand(len(x), -1, -1, -1)
    y = leaky(convolved(torch.cat((condition, x), dim=1), "conv_in"))
    for block in range(2):
        prefix = f"blocks.{block}."
        inner = leaky(normalised(convolved(y, prefix + "conv1"), prefix + "bn1"))
        y = y + leaky(normalised(convolved(inner, prefix + "conv2"), prefix + "bn2"))
    return convolved(y, "conv_out")


@pytest.mark.parametrize("slope", [0.2, 0.01])
@pytest.mark.parametrize("training", [False, True])
def test_equals_a_plain_implementation_with_the_same_weights(slope: float, training: bool) -> None:
    student, x = tiny(slope=slope), features()
    expected = plain_student(student, x, slope, training=training)
    with torch.no_grad():
        found = student.train(training)(x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("channels", "width", "blocks", "millions"),
    [
        (304, 1024, 4, 81.42),
        (368, 1024, 4, 82.60),
        (64, 1024, 4, 77.00),
        (304, 512, 4, 21.8),
        (304, 256, 4, 6.2),
        (304, 128, 4, 1.9),
        (304, 1024, 1, 24.8),
        (304, 1024, 2, 43.7),
    ],
)
def test_paper_size_has_the_papers_number_of_parameters(
    channels: int, width: int, blocks: int, millions: float
) -> None:
    with torch.device("meta"):  # nothing is allocated
        student = Student(channels, 24, StudentConfig(width=width, blocks=blocks, epochs=1))
    count = sum(p.numel() for p in student.parameters() if p.requires_grad)
    digits = 2 if width == 1024 and blocks == 4 else 1
    assert round(count / 1e6, digits) == millions


def test_the_default_slope_is_the_papers() -> None:
    assert StudentConfig(width=1, blocks=1, epochs=1).leaky_slope == 0.2


def test_condition_comes_before_the_features() -> None:
    student, x = tiny(), features()
    with torch.no_grad():
        student.conv_in.weight[:, CONDITION:] = 0
        assert torch.equal(student(x), student(x + 1))
        student.condition += 1
        assert not torch.equal(student(x), plain_student(tiny(), x, 0.2))
        student.conv_in.weight[:, :CONDITION] = 0
        student.conv_in.weight[:, CONDITION:] = 1
        before = student(x)
        student.condition += 1
        assert torch.equal(student(x), before)
        assert not torch.allclose(student(x + 1), before)


@pytest.mark.parametrize(("shift", "added"), [(3.0, 3.0), (-3.0, -0.6)])
def test_block_activates_before_it_adds_and_not_after(shift: float, added: float) -> None:
    block = ResidualBlock(4, 0.2).double().eval()
    nn.init.zeros_(block.bn2.weight)
    nn.init.constant_(block.bn2.bias, shift)
    x = features(4)
    with torch.no_grad():
        torch.testing.assert_close(block(x), x + added, rtol=0, atol=1e-14)


def test_output_is_linear() -> None:
    student, x = tiny(), features()
    with torch.no_grad():
        before = student(x)
        student.conv_out.weight *= -3
        assert student.conv_out.bias is not None
        student.conv_out.bias *= -3
        torch.testing.assert_close(student(x), -3 * before, rtol=1e-12, atol=1e-12)
    assert (before < 0).any()


def test_every_parameter_is_used() -> None:
    student = tiny().train()
    student(features()).square().mean().backward()
    idle = [name for name, p in student.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    # Batch norm subtracts what the bias before it has added.
    assert all("blocks" in name and name.endswith(("conv1.bias", "conv2.bias")) for name in idle)


def test_condition_is_not_part_of_the_weights() -> None:
    assert not any("condition" in name for name in tiny().state_dict())
