"""The frozen trunk: its cut, its padding, that it stays frozen, and the weight files it refuses."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from ast_edge.errors import UsageError
from ast_edge.train.backbone import (
    StaticPad,
    Trunk,
    build_trunk,
    calibrate_batch_norm,
    describe_timm,
    load_state,
    load_weights,
    neighbours,
)
from ast_edge.train.config import B5, BackboneConfig, Padding, StudentConfig, TeacherConfig, TrainConfig
from ast_edge.train.network import AstNetwork, extract

SIZE = 96
# Kernel and stride of B5's stem and of the first convolution of each stage, and the stage's place in timm.
STRIDES = {
    "conv_stem": (3, 2),
    "blocks.0.0.conv_dw": (3, 1),
    "blocks.1.0.conv_dw": (3, 2),
    "blocks.2.0.conv_dw": (5, 2),
    "blocks.3.0.conv_dw": (3, 2),
    "blocks.4.0.conv_dw": (5, 1),
    "blocks.5.0.conv_dw": (5, 2),
}
SAME_PADDED = BackboneConfig(name="test_efficientnet", stages=(2, 3), stride=16, pad_type="same")
RESNET = BackboneConfig(name="test_resnet", stages=(2, 3), stride=16)


def same_pads(size: int) -> dict[str, tuple[int, int]]:
    """(left, right) of every stride-2 convolution of B5 by TensorFlow's rule for a picture of `size`."""
    pads = {}
    for name, (kernel, stride) in STRIDES.items():
        after = -(-size // stride)
        total = max((after - 1) * stride + kernel - size, 0)
        if stride > 1:
            pads[name] = (total // 2, total - total // 2)
        size = after
    return pads


def found_pads(trunk: Trunk) -> dict[str, tuple[int, int]]:
    pads = {n: m.pads for n, m in trunk.body.named_modules() if isinstance(m, StaticPad)}
    assert all(left == top and right == bottom for left, right, top, bottom in pads.values())
    return {name: (left, right) for name, (left, right, _, _) in pads.items()}


def pictures(batch: int, size: int = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    return torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def b5() -> nn.Module:
    """timm's whole EfficientNet-B5, untouched, in float64: random weights, statistics of real activations."""
    torch.manual_seed(5)
    network: nn.Module = timm.create_model(B5.name).double()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(4, 3, SIZE, SIZE, dtype=torch.float64))
    return network.eval()


def b5_trunk(network: nn.Module, padding: Padding) -> Trunk:
    trunk = build_trunk(B5.model_copy(update={"padding": padding}), SIZE).double()
    load_state(trunk, network.state_dict(), "test")
    return trunk


@pytest.fixture(scope="module")
def authors(b5: nn.Module) -> Trunk:
    return b5_trunk(b5, "authors")


@pytest.fixture(scope="module")
def dynamic(b5: nn.Module) -> Trunk:
    return b5_trunk(b5, "dynamic")


def normalised() -> Tensor:
    return torch.randn(2, 3, SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def block_35(network: Any, x: Tensor) -> Tensor:
    """Output of timm's own network at the 36th block, wherever that lies."""
    kept: list[Tensor] = []
    blocks = [block for stage in network.blocks for block in stage]
    hook = blocks[35].register_forward_hook(lambda _m, _x, out: kept.append(out))
    with torch.no_grad():
        network(x)
    hook.remove()
    return kept[0]


def test_b5_gives_304_channels_at_stride_32_with_17_54_million_parameters(authors: Any) -> None:
    with torch.no_grad():
        assert authors.features(pictures(2)).shape == (2, 304, SIZE // 32, SIZE // 32)
    assert round(sum(p.numel() for p in authors.parameters()) / 1e6, 2) == 17.54
    assert [len(stage) for stage in authors.body.blocks] == [3, 5, 5, 7, 7, 9]
    assert {m.eps for m in authors.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


def test_padding_is_that_of_the_size_in_use_or_of_456_pixels(authors: Trunk, dynamic: Trunk) -> None:
    fixed, adapted = found_pads(authors), found_pads(dynamic)
    assert fixed == same_pads(456)
    assert adapted == same_pads(SIZE) == same_pads(768)
    differing = {name: (fixed[name], adapted[name]) for name in fixed if fixed[name] != adapted[name]}
    assert differing == {
        "blocks.3.0.conv_dw": ((1, 1), (0, 1)),
        "blocks.5.0.conv_dw": ((2, 2), (1, 2)),
    }


def test_dynamic_is_the_unmodified_timm_network(b5: nn.Module, dynamic: Trunk) -> None:
    expected = block_35(b5, normalised())
    with torch.no_grad():
        (found,) = dynamic.body(normalised())
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_authors_is_the_timm_network_with_two_convolutions_padded_evenly(
    b5: nn.Module, authors: Trunk, dynamic: Trunk
) -> None:
    def padded_evenly(module: Any, args: tuple[Tensor], _out: Tensor) -> Tensor:
        pad = module.kernel_size[0] // 2
        return F.conv2d(args[0], module.weight, None, stride=2, padding=pad, groups=module.groups)

    hooks = [
        b5.get_submodule(f"blocks.{stage}.0.conv_dw").register_forward_hook(padded_evenly) for stage in (3, 5)
    ]
    expected = block_35(b5, normalised())
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        (found,), (other,) = authors.body(normalised()), dynamic.body(normalised())
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert (found - other).std() > 0.1 * found.std()  # the trap: nothing crashes, the features are others


def test_picture_is_normalised_and_stages_are_pooled_to_the_coarsest_in_order() -> None:
    torch.manual_seed(0)
    trunk, image = build_trunk(RESNET, 64), pictures(2, 64)
    plain: Any = timm.create_model(RESNET.name).eval()
    load_state(trunk, plain.state_dict(), "test")
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((image / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        fine, coarse = plain.forward_intermediates(x, indices=[2, 3], intermediates_only=True)
        found = trunk.features(image)
    means = fine.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    assert fine.shape[-1] == 2 * coarse.shape[-1]
    torch.testing.assert_close(found, torch.cat((means, coarse), dim=1), rtol=1e-4, atol=1e-5)


def test_each_stage_is_averaged_with_zeros_beyond_the_border_before_it_is_pooled() -> None:
    torch.manual_seed(0)
    trunk, image = build_trunk(RESNET, 64), pictures(2, 64)
    averaging = build_trunk(RESNET.model_copy(update={"neighbourhood": 3}), 64)
    load_state(averaging, trunk.body.state_dict(), "test")
    x = (image.float().permute(0, 3, 1, 2) - trunk.mean) / trunk.std
    with torch.no_grad():
        fine, coarse = (
            F.pad(level, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1).mean((-1, -2))
            for level in trunk.body(x)
        )
        found = averaging.features(image)
    means = fine.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    torch.testing.assert_close(found, torch.cat((means, coarse), dim=1), rtol=1e-4, atol=1e-5)
    corner = neighbours(torch.ones(1, 1, 4, 4), 3)[0, 0, 0]
    torch.testing.assert_close(corner, torch.tensor([4 / 9, 6 / 9, 6 / 9, 4 / 9]))


def test_features_are_the_trunks_channels_then_64_of_depth() -> None:
    trunk, image = build_trunk(RESNET, 64), pictures(1, 64)
    depth = torch.arange(32.0 * 32).view(1, 1, 32, 32)
    found, own = extract(trunk, image, depth), trunk.features(image)
    assert torch.equal(found[:, :-64], own)
    for dy, dx in ((0, 0), (0, 7), (3, 5), (7, 7)):
        assert torch.equal(found[0, own.shape[1] + 8 * dy + dx], depth[0, 0, dy::8, dx::8])
    assert torch.equal(extract(None, None, depth), found[:, -64:])
    assert torch.equal(extract(trunk, image, None), own)


def test_trunk_stays_in_evaluation_mode_when_the_network_is_trained() -> None:
    config = TrainConfig(
        mode="rgb",
        preset="nano",
        backbone=RESNET,
        image_size=32,
        teacher=TeacherConfig(hidden=2, clamp=1.9, epochs=1, kernels=(3,)),
        student=StudentConfig(width=2, blocks=1, epochs=1),
        aggregation="mean",
    )
    trunk = build_trunk(RESNET, 32)
    network = AstNetwork(config, trunk).train()
    before, image = deepcopy(trunk.state_dict()), pictures(3, 32)
    first = trunk.features(image)
    assert network.student.training
    network(image)[0].sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())
    assert torch.equal(trunk.features(image), first)
    assert all(not p.requires_grad and p.grad is None for p in trunk.parameters())
    assert not any(module.training for module in trunk.train().modules())


def test_calibration_takes_the_statistics_of_the_batches() -> None:
    torch.manual_seed(0)
    trunk, batches = build_trunk(RESNET, 64), [pictures(4, 64), 255 - pictures(4, 64) // 2]
    first: nn.BatchNorm2d = next(m for m in trunk.modules() if isinstance(m, nn.BatchNorm2d))
    seen: list[Tensor] = []
    hook = first.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    weights = deepcopy(dict(trunk.named_parameters()))
    calibrate_batch_norm(trunk, batches)
    hook.remove()
    assert first.running_mean is not None
    assert first.running_var is not None
    means = torch.stack([x.mean((0, 2, 3)) for x in seen])
    variances = torch.stack([x.var((0, 2, 3)) for x in seen])
    torch.testing.assert_close(first.running_mean, means.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first.running_var, variances.mean(0), rtol=1e-4, atol=1e-5)
    assert not any(module.training for module in trunk.modules())
    assert all(torch.equal(p, weights[name]) for name, p in trunk.named_parameters())


def test_calibrated_activations_have_zero_mean_and_unit_variance() -> None:
    torch.manual_seed(0)
    trunk, image = build_trunk(RESNET, 96), pictures(16)
    norms = [module for module in trunk.modules() if isinstance(module, nn.BatchNorm2d)]
    calibrate_batch_norm(trunk, [image])
    inputs: dict[int, Tensor] = {}
    hooks = [
        norm.register_forward_pre_hook(lambda m, args: inputs.update({id(m): args[0]})) for norm in norms
    ]
    trunk(image)
    for hook in hooks:
        hook.remove()
    assert len(inputs) == len(norms) > 5
    for norm in norms:
        x = F.batch_norm(inputs[id(norm)], norm.running_mean, norm.running_var)
        assert x.mean((0, 2, 3)).abs().max() < 1e-2
        assert (x.var((0, 2, 3)) - 1).abs().max() < 2e-2


def test_seeded_weights_are_timms_own() -> None:
    torch.manual_seed(3)
    trunk = build_trunk(SAME_PADDED, 64)
    torch.manual_seed(3)
    plain = timm.create_model(SAME_PADDED.name, features_only=True, out_indices=(2, 3), pad_type="same")
    assert found_pads(trunk)
    assert all(map(torch.equal, trunk.body.parameters(), plain.parameters()))


@pytest.mark.parametrize(
    "config",
    [
        RESNET,
        BackboneConfig(name="test_convnext", stages=(1, 2), stride=16),  # timm joins stages.0 to stages_0
        BackboneConfig(name="test_vit", stages=(0, 1), stride=16),  # timm puts it under model.
        SAME_PADDED,
        BackboneConfig(name="test_mambaout", stages=(1, 2), stride=16),  # channels last
    ],
    ids=lambda config: config.name,
)
def test_weight_file_is_loaded_whole(tmp_path: Path, config: BackboneConfig) -> None:
    torch.manual_seed(0)
    extra: dict[str, Any] = {"pad_type": "same"} if config.pad_type else {}
    plain: Any = timm.create_model(config.name, **extra).eval()
    with torch.no_grad():
        for value in plain.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand(value.shape))
    save_file(plain.state_dict(), tmp_path / "w.safetensors")
    trunk = build_trunk(config, 160)
    load_weights(trunk, tmp_path / "w.safetensors")
    x = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        expected = plain.forward_intermediates(x, indices=list(config.stages), intermediates_only=True)
        found = trunk.body(x)
        assert trunk.features(pictures(1, 160)).shape[1:] == (sum(y.shape[1] for y in expected), 10, 10)
    for ours, theirs in zip(found, expected, strict=True):
        ours_first = ours.permute(0, 3, 1, 2) if trunk.channels_last else ours
        torch.testing.assert_close(ours_first, theirs, rtol=1e-4, atol=1e-4)


def test_stride_and_normalisation_are_those_that_timm_knows() -> None:
    half = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    assert describe_timm(RESNET.name, (2, 3)) == RESNET.model_copy(update=half)
    assert describe_timm("test_efficientnet", (3, 1)).stride == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "resnet19"}, "resnet19:2,3: timm cannot build it"),
        ({"name": "../resnet"}, "../resnet:2,3: timm cannot build it"),
        ({"stages": (2, 9)}, "test_resnet:2,9: timm cannot build it"),
        ({"stages": (), "last_block": 1}, "test_resnet has no EfficientNet blocks to cut there"),
        ({"name": "test_efficientnet", "stages": (), "last_block": 17}, "has no EfficientNet blocks to cut"),
        ({"stride": 8}, "at 96 pixels its map is 6x6, not 12x12; choose an image size"),
    ],
)
def test_impossible_backbone_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_trunk(RESNET.model_copy(update=changes), SIZE)


def test_size_that_the_network_does_not_take_is_refused() -> None:
    with pytest.raises(UsageError, match="test_resnet:2,3: does not accept pictures of 100 pixels"):
        build_trunk(RESNET, 100)
