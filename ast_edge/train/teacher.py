"""The teacher: a conditional normalising flow, built with FrEIA (paper, "Teacher").

A block is a fixed permutation of the channels followed by one two-sided affine coupling. The flow maps
features x [N,C,h,w] to z of the same shape and returns log |det dz/dx| per pixel, [N,h,w]: the sum of the
log-scales over channels, whose sum over pixels is the log-determinant of the whole map.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from FrEIA.framework import SequenceINN
from FrEIA.modules import GLOWCouplingBlock, PermuteRandom
from torch import Tensor, nn

from ast_edge.train.config import TeacherConfig

CONDITION_CHANNELS = 32
OUTPUT_LIMIT = 1e6  # the published code clamps each block's output; the log-determinant ignores it
ATAN_SCALE = 0.636  # about 2/pi: scales atan to (-1, 1)


def positional_encoding(size: int, channels: int = CONDITION_CHANNELS) -> Tensor:
    """Return sines and cosines of column (first half) and row (second half): float32 [channels,size,size].

    A condition of both networks (paper, "Teacher"; after Vaswani et al. 2017).
    """
    half = channels // 2
    omega = torch.exp(torch.arange(0, half, 2, dtype=torch.float64) * (-math.log(10000.0) / half))
    angle = torch.arange(size, dtype=torch.float64)[None, :] * omega[:, None]
    wave = torch.stack((angle.sin(), angle.cos()), dim=1).reshape(half, size)
    columns = wave[:, None, :].expand(half, size, size)
    rows = wave[:, :, None].expand(half, size, size)
    return torch.cat((columns, rows)).float()


class Subnet(nn.Module):
    """Convolution, ReLU, convolution, times one learned scalar initialised to zero."""

    def __init__(self, channels_in: int, channels_out: int, *, hidden: int, kernel: int) -> None:
        super().__init__()
        self.pad = kernel // 2
        self.conv1 = nn.Conv2d(channels_in, hidden, kernel)
        self.conv2 = nn.Conv2d(hidden, channels_out, kernel)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """[N,channels_in,h,w] -> [N,channels_out,h,w]; borders are replicated."""
        hidden = F.relu(self.conv1(self._padded(x)))
        out: Tensor = self.conv2(self._padded(hidden)) * self.gamma
        return out

    def _padded(self, x: Tensor) -> Tensor:
        return F.pad(x, (self.pad,) * 4, mode="replicate")


class PixelGlowCoupling(GLOWCouplingBlock):  # type: ignore[misc]  # FrEIA carries no types
    """FrEIA's GLOW coupling with the authors' soft clamp and a log-determinant per pixel."""

    def __init__(self, dims_in: Any, dims_c: Any, *, hidden: int, kernel: int, clamp: float) -> None:
        def subnet(channels_in: int, channels_out: int) -> Subnet:
            return Subnet(channels_in, channels_out, hidden=hidden, kernel=kernel)

        def soft_clamp(s: Tensor) -> Tensor:
            return ATAN_SCALE * torch.atan(s / clamp)

        super().__init__(dims_in, dims_c, subnet, clamp, soft_clamp, split_len=dims_in[0][0] // 2)

    def forward(self, x: Any, c: Any = (), rev: bool = False, jac: bool = True) -> Any:  # noqa: FBT001, FBT002
        """FrEIA's contract: ((y,), log_det); log_det [N,h,w]."""
        (y,), log_det = super().forward(x, c, rev, jac)
        return (y if rev else y.clamp(-OUTPUT_LIMIT, OUTPUT_LIMIT),), log_det

    def _coupling1(self, x1: Tensor, u2: Tensor, rev: bool = False) -> tuple[Tensor, Tensor]:  # noqa: FBT001, FBT002
        return self._affine(x1, self.subnet2(u2), inverse=rev)

    def _coupling2(self, x2: Tensor, u1: Tensor, rev: bool = False) -> tuple[Tensor, Tensor]:  # noqa: FBT001, FBT002
        return self._affine(x2, self.subnet1(u1), inverse=rev)

    def _affine(self, x: Tensor, coefficients: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        # Also under autocast these have gamma's precision: only the subnet's convolutions lose any.
        s, t = coefficients.chunk(2, dim=1)
        log_scale = self.clamp * self.f_clamp(s)
        log_det = log_scale.sum(dim=1)
        if inverse:
            return (x - t) * torch.exp(-log_scale), -log_det
        return torch.exp(log_scale) * x + t, log_det


class Teacher(nn.Module):
    """The flow with its condition: x [N,C,h,w] -> (z [N,C,h,w], log_det [N,h,w])."""

    condition: Tensor

    def __init__(self, channels: int, size: int, config: TeacherConfig) -> None:
        super().__init__()
        self.register_buffer("condition", positional_encoding(size), persistent=False)
        self.flow = _build_flow(channels, size, config)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map features to latent space."""
        z, log_det = self.flow(x, c=[self._condition(x)])
        return z, log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent space to features; log_det of the inverse map."""
        x, log_det = self.flow(z, c=[self._condition(z)], rev=True)
        return x, log_det

    def _condition(self, x: Tensor) -> Tensor:
        return self.condition.expand(x.shape[0], -1, -1, -1)


def _build_flow(channels: int, size: int, config: TeacherConfig) -> SequenceINN:
    condition_shape = (CONDITION_CHANNELS, size, size)
    flow = SequenceINN(channels, size, size)
    numpy_state = np.random.get_state()  # FrEIA seeds the global generator; restore its state
    for index, kernel in enumerate(config.kernels):
        flow.append(PermuteRandom, seed=index)
        flow.append(
            PixelGlowCoupling,
            cond=0,
            cond_shape=condition_shape,
            hidden=config.hidden,
            kernel=kernel,
            clamp=config.clamp,
        )
    np.random.set_state(numpy_state)
    return flow
