"""Weights and training state as safetensors files, written atomically; nothing is pickled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ast_edge.errors import RunError
from ast_edge.files import atomic_path

_MODEL, _OPTIMISER = "model.", "optimiser."


@dataclass(frozen=True)
class Position:
    """How far a phase has come: `epoch` epochs are done."""

    phase: str
    epoch: int


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors to `path` atomically."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(plain, temporary, metadata=metadata)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; RunError when it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}, stream.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as exc:
        raise RunError(
            f"{path}: cannot be read ({exc}); the run is incomplete or damaged, train it again."
        ) from exc


def load_module(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load `tensors` into `module`; RunError when they are another network's."""
    try:
        module.load_state_dict(tensors)
    except RuntimeError as exc:
        raise RunError(f"{path}: holds another network's weights ({str(exc).splitlines()[0]})") from exc


def save_checkpoint(
    path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, position: Position
) -> None:
    """Write a phase's network and optimiser state after an epoch."""
    tensors = {_MODEL + name: tensor for name, tensor in module.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"{_OPTIMISER}{index}.{name}": tensor for name, tensor in state.items()}
    save_tensors(path, tensors, {"position": json.dumps({"phase": position.phase, "epoch": position.epoch})})


def load_checkpoint(path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, phase: str) -> int:
    """Restore `phase` from `path` and return the number of epochs done, 0 where it has none."""
    if not path.exists():
        return 0
    tensors, metadata = read_tensors(path)
    position = json.loads(metadata.get("position", "{}"))
    if position.get("phase") != phase:
        return 0
    model = {name.removeprefix(_MODEL): t for name, t in tensors.items() if name.startswith(_MODEL)}
    load_module(module, model, path)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(_OPTIMISER):
            index, _, key = name.removeprefix(_OPTIMISER).partition(".")
            state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return int(position["epoch"])
