"""How unusual a part looks as a whole: the distance of its mean features from those of good parts.

A defect without an edge, such as an uneven surface, changes every place a little and none much. The mean
features of a part show it: they follow a Gaussian closely enough (Rippel, Mertens and Merhof, "Modeling the
distribution of normal data in pre-trained deep features for anomaly detection", ICPR 2020).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

STD_FLOOR = 0.05  # of the median deviation: dividing by next to nothing would only amplify rounding
LEAST_SHRINKAGE = 0.05


class Appearance(nn.Module):
    """Features [N,C,h,h] -> squared Mahalanobis distance of their mean, divided by C: [N]."""

    mean: Tensor
    std: Tensor
    whitening: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.register_buffer("whitening", torch.eye(channels))

    def forward(self, features: Tensor, foreground: Tensor | None) -> Tensor:
        """Distances of parts; with a foreground [N,1,h,h] the mean is over the part alone."""
        described = (mean_features(features, foreground) - self.mean) / self.std
        return (described @ self.whitening).square().mean(dim=1)

    @torch.no_grad()
    def learn(self, means: Tensor) -> None:
        """Take the Gaussian from `means` [P,C], mean features of good parts.

        With fewer parts than channels their covariance has no inverse; it is shrunk towards a multiple of the
        identity as far as Ledoit and Wolf (2004) estimate to be best, and by `LEAST_SHRINKAGE` at least.
        """
        # A second that `--help` must not pay.
        from sklearn.covariance import ledoit_wolf_shrinkage, shrunk_covariance  # noqa: PLC0415

        std = means.std(dim=0)
        self.mean.copy_(means.mean(dim=0))
        self.std.copy_(std.clamp(min=max(STD_FLOOR * float(std.median()), 1e-6)))
        described = ((means - self.mean) / self.std).double().numpy()
        shrinkage = max(float(ledoit_wolf_shrinkage(described, assume_centered=True)), LEAST_SHRINKAGE)
        covariance = shrunk_covariance(described.T @ described / len(described), shrinkage)
        self.whitening.copy_(torch.from_numpy(np.linalg.cholesky(np.linalg.inv(covariance))))


def mean_features(features: Tensor, foreground: Tensor | None) -> Tensor:
    """The mean of features [N,C,h,h] over all places, or over those of the foreground [N,1,h,h]: [N,C]."""
    if foreground is None:
        return features.mean(dim=(2, 3))
    # A frame without a part is refused before the network sees it.
    return (features * foreground).sum(dim=(2, 3)) / foreground.sum(dim=(2, 3)).clamp(min=1.0)
