"""Teacher and student in plain torch with all constants folded in, without changing results.

Folded exactly, up to rounding: the condition into a bias map (a convolution is linear, and the condition is
padded like that layer), gamma and the clamp's division into the second convolution, batch norm into the
student's convolutions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ast_edge.train.network import AstNetwork, JudgingNetwork
from ast_edge.train.student import ResidualBlock, Student
from ast_edge.train.teacher import ATAN_SCALE, OUTPUT_LIMIT, PixelGlowCoupling, Subnet, Teacher


class FoldedSubnet(nn.Module):
    """A coupling's subnet without its condition: [N,C_in,h,w] -> s / clamp and t, each [N,C_out,h,w]."""

    bias: Tensor

    def __init__(self, subnet: Subnet, condition: Tensor, clamp: float) -> None:
        super().__init__()
        self.pad = subnet.pad
        channels = subnet.conv1.in_channels - condition.shape[0]
        weight, tail = subnet.conv1.weight[:, :channels], subnet.conv1.weight[:, channels:]
        padded = F.pad(condition[None], (self.pad,) * 4, mode="replicate")
        self.register_buffer("bias", F.conv2d(padded, tail, subnet.conv1.bias))
        self.conv1 = _conv(weight, None)
        scale = subnet.gamma.expand(subnet.conv2.out_channels).clone()
        scale[: len(scale) // 2] /= clamp  # the first half is s, which goes into atan(s / clamp)
        self.conv2 = _conv(*_scaled(subnet.conv2, scale))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return both halves of the coefficients."""
        hidden = F.relu(self.conv1(self._padded(x)) + self.bias)
        # split by sizes becomes one Split; chunk would become two Slices.
        s, t = torch.split(self.conv2(self._padded(hidden)), self.conv2.out_channels // 2, dim=1)
        return s, t

    def _padded(self, x: Tensor) -> Tensor:
        return F.pad(x, (self.pad,) * 4, mode="replicate")


class FoldedCoupling(nn.Module):
    """Permutation and coupling without log-determinant: [N,C,h,w] -> the same."""

    permutation: Tensor

    def __init__(self, permutation: Tensor, coupling: PixelGlowCoupling, condition: Tensor) -> None:
        super().__init__()
        self.register_buffer("permutation", permutation)
        self.split = [coupling.split_len1, coupling.split_len2]
        self.scale = coupling.clamp * ATAN_SCALE
        self.subnet1 = FoldedSubnet(coupling.subnet1, condition, coupling.clamp)
        self.subnet2 = FoldedSubnet(coupling.subnet2, condition, coupling.clamp)

    def forward(self, x: Tensor) -> Tensor:
        """One step of the flow."""
        # index_select becomes a single Gather; x[:, permutation] would become two transposes and more.
        x1, x2 = torch.split(x.index_select(1, self.permutation), self.split, dim=1)
        y1 = self._affine(x1, *self.subnet2(x2))
        y2 = self._affine(x2, *self.subnet1(y1))
        return torch.cat((y1, y2), dim=1).clamp(-OUTPUT_LIMIT, OUTPUT_LIMIT)

    def _affine(self, x: Tensor, s: Tensor, t: Tensor) -> Tensor:
        return torch.exp(self.scale * torch.atan(s)) * x + t


class FoldedStudent(nn.Module):
    """The student without condition and batch norm."""

    bias: Tensor

    def __init__(self, student: Student) -> None:
        super().__init__()
        condition = student.condition
        weight = student.conv_in.weight
        head, weight = weight[:, : len(condition)], weight[:, len(condition) :]
        self.register_buffer("bias", F.conv2d(condition[None], head, student.conv_in.bias, padding=1))
        self.conv_in = _conv(weight, None, padding=1)
        self.leaky_slope = student.leaky_slope
        self.blocks = nn.Sequential(*(FoldedBlock(block) for block in student.blocks))  # type: ignore[arg-type]
        bias = student.conv_out.bias
        self.conv_out = _conv(student.conv_out.weight, bias, padding=1)  # a copy: the student is not changed

    def forward(self, x: Tensor) -> Tensor:
        """Predict z from features [N,C,h,w]."""
        y = F.leaky_relu(self.conv_in(x) + self.bias, self.leaky_slope)
        out: Tensor = self.conv_out(self.blocks(y))
        return out


class FoldedBlock(nn.Module):
    """A residual block with its batch norms folded into the convolutions."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.conv1 = _without_norm(block.conv1, block.bn1)
        self.conv2 = _without_norm(block.conv2, block.bn2)
        self.leaky_slope = block.leaky_slope

    def forward(self, x: Tensor) -> Tensor:
        """[N,width,h,w] -> the same."""
        y = F.leaky_relu(self.conv1(x), self.leaky_slope)
        return x + F.leaky_relu(self.conv2(y), self.leaky_slope)


class FoldedNetwork(JudgingNetwork):
    """The network as traced; the attribute names become the scopes of the graph's nodes."""

    def __init__(self, network: AstNetwork) -> None:
        super().__init__()
        self.aggregation = network.aggregation
        self.smoothing = network.smoothing
        self.register_buffer("places", network.places, persistent=False)
        self.trunk = network.trunk
        self.standardise = network.standardise
        self.memories = network.memories
        with torch.no_grad():
            self.teacher = fold_teacher(network.teacher)
            self.student = FoldedStudent(network.student)
        self.eval().requires_grad_(requires_grad=False)

    def latents(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return z of teacher and student."""
        return self.teacher(features), self.student(features)


def fold_teacher(teacher: Teacher) -> nn.Sequential:
    """Return the flow as a sequence of folded couplings, x [N,C,h,w] -> z."""
    modules = list(teacher.flow)
    return nn.Sequential(
        *(
            FoldedCoupling(permute.perm.data.clone(), coupling, teacher.condition)
            for permute, coupling in zip(modules[::2], modules[1::2], strict=True)
        )
    )


def _without_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None  # noqa: S101  # the student's norms always track their statistics
    assert variance is not None  # noqa: S101
    scale = norm.weight / torch.sqrt(variance + norm.eps)
    weight, bias = _scaled(conv, scale)
    return _conv(weight, bias + norm.bias - mean * scale, padding=1)


def _scaled(conv: nn.Conv2d, scale: Tensor) -> tuple[Tensor, Tensor]:
    assert conv.bias is not None  # noqa: S101  # all convolutions of both networks have one
    return conv.weight * scale[:, None, None, None], conv.bias * scale


def _conv(weight: Tensor, bias: Tensor | None, *, padding: int = 0) -> nn.Conv2d:
    out, inside, kernel, _ = weight.shape
    conv = nn.Conv2d(inside, out, kernel, padding=padding, bias=bias is not None, dtype=weight.dtype)
    conv.weight.data.copy_(weight)
    if conv.bias is not None and bias is not None:
        conv.bias.data.copy_(bias)
    return conv
