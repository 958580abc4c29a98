"""Patch memories: distances, choice of patches, whitening, and the fusion inside the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ast_edge.errors import UsageError
from ast_edge.train.backbone import build_trunks
from ast_edge.train.config import BackboneConfig, MemoryConfig, TrainConfig, changed, preset
from ast_edge.train.memory import PRIOR, PatchMemory, coreset, drawn, joined, spreads
from ast_edge.train.network import AstNetwork
from ast_edge.train.options import configured
from ast_edge.verdict.fusion import Fusion, fused

CHANNELS, GRID = 12, 4


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def learnt(pool: Tensor, components: int | None = None, patches: int = 20) -> PatchMemory:
    memory = PatchMemory(MemoryConfig(stages=(2,), components=components, patches=patches), pool.shape[1])
    memory.learn(pool, torch.arange(len(pool)) // 2, seed=0)
    return memory


# Distances


@pytest.mark.parametrize("components", [None, 5])
def test_distance_is_the_mean_square_to_the_nearest_patch_in_its_spread(components: int | None) -> None:
    pool, x = 3 + 2 * noise(50, CHANNELS), 3 + 2 * noise(2, CHANNELS, GRID, GRID, seed=1)
    memory = learnt(pool, components)
    places = x.permute(0, 2, 3, 1).reshape(-1, CHANNELS)
    described = ((places - pool.mean(0)) / pool.std(0)).double().numpy()
    if components is not None:
        described = described @ memory.whitening[:, :, 0, 0].double().numpy().T
    patches = memory.patches.double().numpy()
    assert memory.spread.std() > 0.01
    square = np.square(described[:, None] - patches[None]).mean(axis=2) / memory.spread.double().numpy()
    np.testing.assert_allclose(memory([x]).numpy().ravel(), square.min(axis=1), rtol=1e-4)


def test_a_patch_that_is_known_is_at_no_distance() -> None:
    pool = noise(20, CHANNELS)
    known = pool.T.reshape(1, CHANNELS, 4, 5)[:, :, :, :4]
    found = learnt(pool)([known])
    assert found.min() >= 0
    assert found.max() < 1e-4


def test_spread_is_the_mean_distance_of_other_parts_places() -> None:
    places = torch.tensor([[0.0], [10.0], [1.0], [-2.0], [12.0], [0.5]])
    parts = torch.tensor([0, 1, 2, 2, 2, 0])  # the last place is of the first patch's own part
    # Nearest to 0 are 1, -2 and 10, to 10 are 12, 0 and, since 0 is of its own part, 0.5.
    found = spreads(places, parts, [0, 1])
    total, count = [1 + 4 + 100.0, 4 + 90.25 + 100.0], [3, 3]
    mean = sum(total) / 6
    expected = [(a / mean + PRIOR) / (n + PRIOR) for a, n in zip(total, count, strict=True)]
    assert found.tolist() == pytest.approx(expected)


def test_a_single_part_tells_no_spread() -> None:
    places = noise(30, CHANNELS)
    assert spreads(places, torch.zeros(30, dtype=torch.long), [3, 7]).tolist() == [1, 1]


def test_stages_are_brought_to_the_finest_grid() -> None:
    coarse, fine = noise(1, 3, 2, 2), noise(1, 2, 4, 4)
    found = joined([coarse, fine])
    assert found.shape == (1, 5, 4, 4)
    assert torch.equal(found[:, 3:], fine)
    assert found[0, :3, 0, 0] == pytest.approx(coarse[0, :, 0, 0])


def test_whitening_makes_variances_equal_and_keeps_their_mean() -> None:
    spread = torch.diag(torch.tensor([3.0, 2.0, 1.5, 1.0, 1.0, 0.9])) + 0.4
    pool = noise(4000, 6) @ spread
    memory = learnt(pool, components=3)
    standard = (pool - pool.mean(0)) / pool.std(0)
    variances = (standard @ memory.whitening[:, :, 0, 0].T).var(dim=0)
    plain = torch.linalg.eigvalsh(torch.cov(standard.T)).flip(0)[:3]
    assert variances.max() / variances.min() < 1.01
    assert variances.mean() == pytest.approx(plain.mean().item(), rel=0.01)


# Choice of patches


def test_coreset_keeps_the_rare_patch_and_each_cluster() -> None:
    centres = 20 * noise(8, CHANNELS, seed=3)
    patches = torch.cat([centres[0] + 0.1 * noise(500, CHANNELS), centres[1:], centres[:1]])
    chosen = coreset(patches, 8, seed=1)
    assert {500, 501, 502, 503, 504, 505, 506} <= set(chosen)
    assert len(set(chosen)) == 8


def test_coreset_depends_on_its_seed_alone() -> None:
    patches = noise(300, 100)
    assert coreset(patches, 30, seed=1) == coreset(patches, 30, seed=1)
    assert coreset(patches, 30, seed=1) != coreset(patches, 30, seed=2)


def test_fewer_patches_than_there_is_room_for() -> None:
    pool = noise(7, CHANNELS)
    memory = learnt(pool, patches=20)
    assert len(torch.unique(memory.patches, dim=0)) == 7
    assert memory.patches.shape == (20, CHANNELS)


def test_patches_are_drawn_from_the_part_alone() -> None:
    places = torch.arange(2.0 * 9).view(2, 3, 3)
    inside = torch.zeros(3, 3, dtype=torch.bool)
    inside[1, 1] = inside[2, 0] = True
    found = drawn(places, inside, 5, torch.Generator().manual_seed(0))
    assert sorted(found.tolist()) == [[4.0, 13.0], [6.0, 15.0]]
    assert len(drawn(places, None, 5, torch.Generator().manual_seed(0))) == 5


# In the network


RESNET = BackboneConfig(name="test_resnet", stages=(1, 2, 3), stride=16, neighbourhood=3)
OTHER = BackboneConfig(name="test_efficientnet", stages=(2, 3), stride=16, pad_type="same")
MEMORIES = (
    MemoryConfig(stages=(2, 3), patches=9),
    MemoryConfig(stages=(2, 3), shrink=2, patches=9),
    MemoryConfig(backbone=OTHER, components=16, patches=9),
)


def config_with(*memories: MemoryConfig, **changes: object) -> TrainConfig:
    small: dict[str, object] = {"backbone": RESNET.model_dump(), "image_size": 64, "student.width": 8}
    kept = [memory.model_dump() for memory in memories or MEMORIES]
    return changed(preset("balanced", "rgb"), small | {"memories": kept} | changes)


def test_map_has_the_finest_grid_and_teacher_and_student_their_own() -> None:
    config = config_with()
    assert (config.grid, config.map_size, config.preprocessing.map_size) == (4, 8, 8)
    network = AstNetwork(config, *build_trunks(config)).eval()
    image = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        score, anomaly_map = network(image)
        logs = network.log_distances(image)
    assert (score.shape, anomaly_map.shape) == ((2,), (2, 8, 8))
    assert [log.shape for log in logs] == [(2, 8, 8)] * 4
    assert network.teacher.condition.shape[-1] == 4
    assert torch.equal(score, anomaly_map.amax(dim=(1, 2)))


def test_torch_fuses_as_the_reference_does() -> None:
    config = config_with()
    network = AstNetwork(config, *build_trunks(config))
    assert network.memories is not None
    fusion = Fusion((0.4, 0.3, 0.2, 0.1), -0.7)
    network.memories.weights.copy_(torch.tensor(fusion.weights))
    network.memories.offset.fill_(fusion.offset)
    distances = [noise(2, 8, 8, seed=at).exp() for at in range(4)]
    found = network.memories.fused([each.log() for each in distances])
    np.testing.assert_allclose(found.numpy(), fused([each.numpy() for each in distances], fusion), rtol=1e-5)


def test_shrunk_view_is_the_picture_averaged_down() -> None:
    config = config_with()
    trunk, _ = build_trunks(config)
    assert trunk is not None
    small = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    large = small.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    with torch.no_grad():
        for found, expected in zip(trunk(large, 2), trunk(small), strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        ({"stages": (4,)}, r"a memory's stage 4 is not one of test_resnet:1,2,3"),
        ({"stages": ()}, r"give either stages of the network's own backbone or another backbone"),
        ({"stages": (2, 3), "shrink": 8}, r"image_size 64 is not a multiple of 128, which a memory needs"),
        ({"stages": (2, 3), "stride": 20}, r"are not multiples of one another"),
    ],
)
def test_a_memory_that_cannot_be_is_refused(memory: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        changed(config_with(), {"memories": [memory]})


def test_a_stride_that_is_not_the_stages_is_refused() -> None:
    config = config_with(MemoryConfig(stages=(2, 3), stride=16))
    with pytest.raises(UsageError, match=r"its finest map is 8x8, not 4x4 as a stride of 16 would make it"):
        AstNetwork(config, *build_trunks(config))


def test_mode_depth_has_no_memories() -> None:
    assert preset("balanced", "depth").memories == preset("paper", "rgb").memories == ()
    with pytest.raises(UsageError, match="mode depth does not have"):
        changed(preset("balanced", "rgb"), {"mode": "depth"})


def test_memories_see_the_last_two_stages_of_a_backbone_that_is_given() -> None:
    own, further = configured({"preset": "balanced", "backbone": "resnet18:1,2"}).memories
    assert (own.stages, own.stride, own.shrink) == ((1, 2), 4, 1)
    assert further == preset("balanced", "rgb").memories[1]
    assert configured({"preset": "balanced", "backbone": "tf_efficientnet_b5.aa_in1k"}).memories == (further,)
