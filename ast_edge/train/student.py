"""The student: a plain residual network that predicts the teacher's output (paper, "Student")."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ast_edge.train.config import StudentConfig
from ast_edge.train.teacher import CONDITION_CHANNELS, positional_encoding


class ResidualBlock(nn.Module):
    """Twice convolution, batch norm, LeakyReLU; then the block's input is added, without activation."""

    def __init__(self, width: int, leaky_slope: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(width)
        self.leaky_slope = leaky_slope

    def forward(self, x: Tensor) -> Tensor:
        """[N,width,h,w] -> the same shape."""
        y = F.leaky_relu(self.bn1(self.conv1(x)), self.leaky_slope)
        y = F.leaky_relu(self.bn2(self.conv2(y)), self.leaky_slope)
        return x + y


class Student(nn.Module):
    """Features [N,C,h,w] -> prediction of z [N,C,h,w]; the condition is concatenated before the features."""

    condition: Tensor

    def __init__(self, channels: int, size: int, config: StudentConfig) -> None:
        super().__init__()
        self.register_buffer("condition", positional_encoding(size), persistent=False)
        self.leaky_slope = config.leaky_slope
        self.conv_in = nn.Conv2d(channels + CONDITION_CHANNELS, config.width, 3, padding=1)
        self.blocks = nn.Sequential(
            *(ResidualBlock(config.width, config.leaky_slope) for _ in range(config.blocks))
        )
        self.conv_out = nn.Conv2d(config.width, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Predict z; the output layer is linear."""
        condition = self.condition.expand(x.shape[0], -1, -1, -1)
        y = F.leaky_relu(self.conv_in(torch.cat((condition, x), dim=1)), self.leaky_slope)
        out: Tensor = self.conv_out(self.blocks(y))
        return out
