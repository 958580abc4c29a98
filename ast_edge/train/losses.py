"""Losses and distances, each defined once (paper, "Teacher" and "Student").

`mask` is the foreground weight of every pixel, [N,1,h,w], or None without depth: all ones.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ast_edge.model.manifest import Aggregation
from ast_edge.verdict.fusion import FLOOR
from ast_edge.verdict.scoring import top_count


def teacher_loss(z: Tensor, log_det: Tensor, mask: Tensor | None) -> Tensor:
    """Return the negative log-likelihood per pixel without its constant, averaged over all pixels: a scalar.

    z [N,C,h,w], log_det [N,h,w]. The mask weights each pixel; the mean is over all pixels, masked or not.
    """
    energy = 0.5 * z.square().sum(dim=1) - log_det
    return (energy if mask is None else energy * mask[:, 0]).mean()


def distance(z_teacher: Tensor, z_student: Tensor, mask: Tensor | None) -> Tensor:
    """Squared distance of teacher and student, mean over channels, weighted by the mask: [N,h,w]."""
    squared = (z_teacher - z_student).square().mean(dim=1)
    return squared if mask is None else squared * mask[:, 0]


def smooth(anomaly_map: Tensor, mask: Tensor | None, sigma: float) -> Tensor:
    """Smooth a map [N,h,w] with a Gaussian, standard deviation in pixels: the same shape.

    A defect covers a neighbourhood of the map, noise does not; PatchCore (CVPR 2022) and PaDiM (ICPR 2020)
    smooth their maps too. With a mask, by which the map is already weighted, only the part's pixels
    contribute, and the result is weighted by the mask once. The kernel ends at three deviations; borders are
    replicated.
    """
    if sigma == 0:
        return anomaly_map
    smoothed = smooth_within(anomaly_map, mask, sigma)
    return smoothed if mask is None else mask[:, 0].to(anomaly_map.dtype) * smoothed


def smooth_within(anomaly_map: Tensor, mask: Tensor | None, sigma: float) -> Tensor:
    """Smooth likewise, without weighting the result by the mask: the part's level extends past its border."""
    if sigma == 0:
        if mask is None:
            return anomaly_map
        return torch.where(mask[:, 0] > 0, anomaly_map / mask[:, 0].clamp(min=1e-6), 0)
    reach = math.ceil(3 * sigma)
    line = torch.exp(-torch.arange(-reach, reach + 1, dtype=torch.float64).square() / (2 * sigma**2))
    line = (line / line.sum()).to(anomaly_map)
    if mask is None:
        return _blur(anomaly_map, line)
    weights = mask[:, 0].to(anomaly_map.dtype)
    # Far from the part both are zero: the smallest divisor avoids 0 / 0.
    return _blur(anomaly_map, line) / _blur(weights, line).clamp(min=1e-6)


def log_map(distances: Tensor, mask: Tensor | None, sigma: float, size: int) -> Tensor:
    """Return the logarithm of smoothed distances [N,g,g] on a grid of `size` places, bilinear: [N,size,size].

    `mask` [N,1,s,s] may be on a finer grid: a place counts if any of its mask pixels belongs to the part.
    """
    grid = distances.shape[-1]
    if mask is not None:
        mask = F.max_pool2d(mask, mask.shape[-1] // grid)
        distances = distances * mask[:, 0]
    log = smooth_within(distances, mask, sigma).clamp(min=FLOOR).log()
    return log if grid == size else enlarged(log[:, None], size // grid).squeeze(1)


def enlarged(maps: Tensor, factor: int) -> Tensor:
    """Resize maps [N,C,h,h] to a grid `factor` times as fine, bilinear."""
    if factor == 1:
        return maps
    # By a factor and not to a size: a graph with a dynamic batch would compute the size from the batch.
    return F.interpolate(maps, scale_factor=float(factor), mode="bilinear", align_corners=False)


def _blur(values: Tensor, line: Tensor) -> Tensor:
    reach = len(line) // 2
    padded = F.pad(values[:, None], (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1)).squeeze(1)


def student_loss(
    z_teacher: Tensor, z_student: Tensor, mask: Tensor | None, hard_share: float = 0.0
) -> Tensor:
    """Return the mean distance over all pixels and parts: a scalar.

    With `hard_share`, half of the loss is instead the mean over that fraction of pixels with the largest
    distance: this weights rare but normal places, which the plain mean neglects (compare EfficientAD, WACV
    2024, "hard feature loss").
    """
    distances = distance(z_teacher, z_student, mask)
    if hard_share == 0:
        return distances.mean()
    count = max(1, int(hard_share * distances.numel()))
    hardest = distances.flatten().topk(count, sorted=False).values
    return (distances.mean() + hardest.mean()) / 2


def aggregate(anomaly_map: Tensor, mask: Tensor | None, aggregation: Aggregation) -> Tensor:
    """Return the image score [N] of a map [N,h,w]; the torch version of `ast_edge.verdict.scoring.aggregate`.

    Mean, maximum and the mean of the largest values are taken over the foreground, so that the score does not
    depend on the size of the part; a foreground with too few pixels gives a non-finite score.
    """
    if aggregation != "mean":
        if mask is not None:
            anomaly_map = torch.where(mask[:, 0] > 0, anomaly_map, -torch.inf)
        count = top_count(aggregation)
        if count == 1:
            return anomaly_map.amax(dim=(1, 2))
        return anomaly_map.flatten(1).topk(count, dim=1, sorted=False).values.mean(dim=1)
    if mask is None:
        return anomaly_map.mean(dim=(1, 2))
    return anomaly_map.sum(dim=(1, 2)) / mask[:, 0].sum(dim=(1, 2))
