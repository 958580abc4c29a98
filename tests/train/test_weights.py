"""Files of backbone weights: loaded whole, or refused with the tensor's name."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ast_edge.errors import WeightsError
from ast_edge.train.backbone import Trunk, build_trunk, load_weights
from ast_edge.train.config import BackboneConfig

RESNET = BackboneConfig(name="test_resnet", stages=(2, 3), stride=16)


@pytest.fixture
def trunk() -> Trunk:
    return build_trunk(RESNET, 32)


def saved(path: Path, **changes: Tensor | None) -> Path:
    """Weights for RESNET with tensors replaced, or removed where the value is None."""
    state = {**timm.create_model(RESNET.name).state_dict(), **changes}
    save_file({name: value for name, value in state.items() if value is not None}, path)
    return path


def refused(trunk: Trunk, path: Path) -> str:
    before = deepcopy(trunk.state_dict())
    with pytest.raises(WeightsError) as caught:
        load_weights(trunk, path)
    assert str(path) in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())
    return str(caught.value)


def test_missing_tensor_is_named(trunk: Trunk, tmp_path: Path) -> None:
    missing = {"layer1.0.conv2.weight": None, "layer3.0.bn1.running_var": None}
    path = saved(tmp_path / "w.safetensors", **missing)
    assert "2 of " in (message := refused(trunk, path))
    assert "first: layer1.0.conv2.weight" in message


def test_wrong_shape_is_named_with_both_shapes(trunk: Trunk, tmp_path: Path) -> None:
    path = saved(tmp_path / "w.safetensors", **{"layer2.0.conv1.weight": torch.zeros(3, 2, 1, 1)})
    message = refused(trunk, path)
    assert "tensor layer2.0.conv1.weight has shape (3, 2, 1, 1)" in message
    own: nn.Conv2d = trunk.body.get_submodule("layer2.0.conv1")  # type: ignore[assignment]
    assert f"needs {tuple(own.weight.shape)}" in message


def test_weights_of_another_network_are_refused(trunk: Trunk, tmp_path: Path) -> None:
    path = tmp_path / "vit.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    assert "tensors of the backbone are missing (first: " in refused(trunk, path)


@pytest.mark.parametrize("start", [b"", b"# weights\nnone", b"PK\x03\x04" + bytes(64), 0.0001, 0.5, 0.9999])
def test_other_kind_of_file_or_truncated_one_is_refused(
    trunk: Trunk, tmp_path: Path, start: bytes | float
) -> None:
    whole = saved(tmp_path / "whole.safetensors").read_bytes()
    path = tmp_path / "w.safetensors"
    path.write_bytes(start if isinstance(start, bytes) else whole[: int(start * len(whole))])
    assert "not a readable safetensors file" in refused(trunk, path)


@pytest.mark.parametrize("name", ["none.safetensors", "."])
def test_missing_file_and_folder_are_refused(trunk: Trunk, tmp_path: Path, name: str) -> None:
    assert "no such file" in refused(trunk, tmp_path / name)


def test_counters_of_batches_need_not_be_in_the_file(trunk: Trunk, tmp_path: Path) -> None:
    state = timm.create_model(RESNET.name).state_dict()
    kept = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    assert len(kept) < len(state)
    save_file(kept, tmp_path / "w.safetensors")
    load_weights(trunk, tmp_path / "w.safetensors")
    assert torch.equal(trunk.state_dict()["body.conv1.0.weight"], state["conv1.0.weight"])
