"""Weights and training state on disk: exact, atomic, never pickled, refused by name when damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from ast_edge.errors import RunError
from ast_edge.train.checkpoint import (
    Position,
    load_checkpoint,
    load_module,
    read_tensors,
    save_checkpoint,
    save_tensors,
)


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))


def adam(module: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(module.parameters(), lr=0.1, weight_decay=0.01)


def step(module: nn.Module, optimiser: torch.optim.Optimizer, seed: int) -> None:
    x = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(seed))
    optimiser.zero_grad()
    module(x).square().mean().backward()
    optimiser.step()


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_training_goes_on_to_the_bit(tmp_path: Path) -> None:
    whole = network()
    optimiser = adam(whole)
    for seed in range(3):
        step(whole, optimiser, seed)
    save_checkpoint(tmp_path / "c.safetensors", whole, optimiser, Position("student", 3))
    continued = network(seed=1)
    its_optimiser = adam(continued)
    assert load_checkpoint(tmp_path / "c.safetensors", continued, its_optimiser, "student") == 3
    for seed in (3, 4):
        step(whole, optimiser, seed)
        step(continued, its_optimiser, seed)
    # Batch norm's statistics and Adam's moments and step count are part of the state.
    assert same(whole.state_dict(), continued.state_dict())


def test_another_phase_or_no_file_starts_at_the_beginning(tmp_path: Path) -> None:
    path, module = tmp_path / "c.safetensors", network()
    optimiser = adam(module)
    assert load_checkpoint(path, module, optimiser, "teacher") == 0
    save_checkpoint(path, network(seed=1), adam(network()), Position("teacher", 2))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert load_checkpoint(path, module, optimiser, "student") == 0
    assert same(before, module.state_dict())


def test_the_file_says_how_far_it_is(tmp_path: Path) -> None:
    module = network()
    save_checkpoint(tmp_path / "c.safetensors", module, adam(module), Position("teacher", 7))
    with safe_open(tmp_path / "c.safetensors", framework="pt") as stream:
        assert json.loads(stream.metadata()["position"]) == {"phase": "teacher", "epoch": 7}


def test_tensors_keep_dtype_and_value_and_give_the_same_bytes(tmp_path: Path) -> None:
    tensors = {
        "half": torch.tensor([1.5, -2.0], dtype=torch.float16),
        "count": torch.tensor(3),
        "strided": torch.arange(6.0).view(2, 3).T,
    }
    for name in ("a", "b"):
        save_tensors(tmp_path / f"{name}.safetensors", tensors)
    save_tensors(tmp_path / "c.safetensors", tensors, {"key": "value"})
    read, metadata = read_tensors(tmp_path / "c.safetensors")
    assert same(read, tensors)
    assert [read[name].dtype for name in tensors] == [tensors[name].dtype for name in tensors]
    assert metadata == {"key": "value"}
    # As the files of a result, which have no further metadata: the library writes it in any order.
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.safetensors"
    save_tensors(path, {"x": torch.zeros(2)})
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_tensors(path, {"x": torch.ones(2)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"\xff" * 64])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"weights\.safetensors: cannot be read .* train it again"):
        read_tensors(path)


def test_a_truncated_file_is_refused_by_name(tmp_path: Path) -> None:
    path, module = tmp_path / "c.safetensors", network()
    save_checkpoint(path, module, adam(module), Position("teacher", 1))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(RunError, match=r"c\.safetensors: cannot be read"):
        load_checkpoint(path, module, adam(module), "teacher")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"weights\.safetensors: cannot be read"):
        read_tensors(tmp_path / "weights.safetensors")


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"teacher\.safetensors: has the weights of another network"):
        load_module(network(), nn.Conv2d(2, 3, 1).state_dict(), tmp_path / "teacher.safetensors")
