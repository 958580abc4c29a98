"""The appearance of a part as a whole: its distance, its Gaussian, and its place in the fused map."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from ast_edge.errors import UsageError
from ast_edge.train.appearance import Appearance, mean_features
from ast_edge.train.backbone import build_trunks
from ast_edge.train.config import BackboneConfig, MemoryConfig, TrainConfig, changed, preset
from ast_edge.train.network import AstNetwork
from ast_edge.train.options import configured
from ast_edge.verdict.fusion import Fusion, fused

CHANNELS, GRID = 12, 4


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def features(parts: int, *, seed: int = 0) -> Tensor:
    """Of good parts: channels that go together, each with a scale of its own, over independent places."""
    common = noise(parts, 3, seed=seed) @ noise(3, CHANNELS, seed=99)
    places = noise(parts, CHANNELS, GRID, GRID, seed=seed + 1000)
    scale = torch.linspace(1, 5, CHANNELS)
    return (common[:, :, None, None] + places) * scale[:, None, None] + 7


def learnt(parts: int = 40) -> Appearance:
    appearance = Appearance(CHANNELS)
    appearance.learn(mean_features(features(parts), None))
    return appearance


def test_distance_is_mahalanobis_by_an_independent_implementation() -> None:
    known, seen = features(40), features(5, seed=1)
    means = known.mean(dim=(2, 3)).double().numpy()
    standard = (means - means.mean(0)) / means.std(0, ddof=1)
    covariance, _ = ledoit_wolf(standard, assume_centered=True)
    inverse = np.linalg.inv(covariance)
    queries = (seen.mean(dim=(2, 3)).double().numpy() - means.mean(0)) / means.std(0, ddof=1)
    expected = [mahalanobis(query, np.zeros(CHANNELS), inverse) ** 2 / CHANNELS for query in queries]
    np.testing.assert_allclose(learnt()(seen, None).numpy(), expected, rtol=1e-4)


def test_a_change_that_no_place_shows_is_seen() -> None:
    """A deviation of a place, everywhere, against the way in which channels go together."""
    good, uneven = features(20, seed=2), features(20, seed=2)
    scale = torch.linspace(1, 5, CHANNELS)
    uneven[:, ::2] += scale[::2, None, None]
    uneven[:, 1::2] -= scale[1::2, None, None]
    appearance = learnt(200)
    assert appearance(uneven, None).min() > appearance(good, None).max()


def test_only_the_part_counts_where_there_is_a_foreground() -> None:
    x = features(2, seed=3)
    foreground = torch.zeros(2, 1, GRID, GRID)
    foreground[:, :, 1:3, 1:3] = 1
    inside = x[:, :, 1:3, 1:3].mean(dim=(2, 3))
    torch.testing.assert_close(mean_features(x, foreground), inside)
    x[:, :, 0] = 1e6
    torch.testing.assert_close(learnt()(x, foreground), learnt()(inside[:, :, None, None], None))


@pytest.mark.parametrize("parts", [2, 3, CHANNELS])
def test_few_parts_still_give_a_distance(parts: int) -> None:
    appearance = learnt(parts)
    assert torch.isfinite(appearance.whitening).all()
    found = appearance(features(5, seed=4), None)
    assert torch.isfinite(found).all()
    assert found.max() < 1e4


def test_a_channel_that_never_varies_does_not_decide() -> None:
    means = mean_features(features(40), None)
    means[:, 0] = 3.0
    appearance = Appearance(CHANNELS)
    appearance.learn(means)
    query = means[:1].clone()
    query[:, 0] += 1e-5
    usual, changed_little = (appearance(one[:, :, None, None], None) for one in (means[:1], query))
    torch.testing.assert_close(usual, changed_little, rtol=1e-2, atol=1e-3)


# In the network


RESNET = BackboneConfig(name="test_resnet", stages=(1, 2, 3), stride=16, neighbourhood=3)


def small(**changes: object) -> TrainConfig:
    return changed(
        preset("balanced", "rgb"),
        {
            "backbone": RESNET.model_dump(),
            "image_size": 64,
            "student.width": 8,
            "memories": [MemoryConfig(stages=(2, 3), patches=9).model_dump()],
            **changes,
        },
    )


def test_the_network_fuses_it_as_the_reference_does() -> None:
    config = small()
    network = AstNetwork(config, *build_trunks(config)).eval()
    assert network.memories is not None
    fusion = Fusion((0.4, 0.3, 0.3), -0.2)
    network.memories.weights.copy_(torch.tensor(fusion.weights))
    network.memories.offset.fill_(fusion.offset)
    image = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        logs = network.log_distances(image)
        _, anomaly_map = network(image)
    assert [tuple(log.shape) for log in logs] == [(3, 8, 8), (3, 8, 8), (3, 1, 1)]
    expected = fused([log.exp().numpy() for log in logs], fusion)
    np.testing.assert_allclose(anomaly_map.numpy(), expected, rtol=1e-4)


def test_presets_and_what_is_refused() -> None:
    assert preset("balanced", "rgb").appearance == preset("balanced", "rgbd").appearance > 0
    assert preset("paper", "rgb").appearance == preset("balanced", "depth").appearance == 0
    plain = small(appearance=0.0)
    assert AstNetwork(plain, *build_trunks(plain)).appearance is None
    with pytest.raises(UsageError, match="appearance is fused with memories, and there are none"):
        changed(preset("balanced", "rgb"), {"memories": []})
    assert configured({"preset": "balanced", "backbone": "tf_efficientnet_b5.aa_in1k"}).appearance == 0
