"""Weights and training state as safetensors files, written atomically; nothing is pickled.

Each file contains a digest of its own tensors, so that a flipped bit is detected.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ast_edge.errors import RunError
from ast_edge.files import write_bytes

_MODEL, _OPTIMISER = "model.", "optimiser."
_DIGEST, _POSITION = "sha256", "position"


@dataclass(frozen=True)
class Position:
    """The position within a phase: `epoch` epochs are done."""

    phase: str
    epoch: int


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, dtypes, shapes and values of a state dict."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors to `path` atomically. Raises OSError when the disk is full or read-only."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about = {**(metadata or {}), _DIGEST: _file_digest(plain, metadata or {})}
    write_bytes(path, save(plain, metadata=about))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors and metadata of a file of `save_tensors`; RunError when it is missing or damaged.

    A file of an earlier version, which has no digest, is accepted without the check.
    """
    try:
        # Through the descriptor: safetensors accepts no path that is not UTF-8.
        with path.open("rb") as file, safe_open(f"/proc/self/fd/{file.fileno()}", framework="pt") as stream:
            metadata: dict[str, str] = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as exc:
        raise RunError(
            f"{path}: cannot be read ({exc}); the run is incomplete or damaged, train it again."
        ) from exc
    expected = metadata.pop(_DIGEST, None)
    earlier = expected is None and metadata.keys() <= {_POSITION}
    if not earlier and expected != _file_digest(tensors, metadata):
        raise RunError(
            f"{path}: is damaged (its digest does not match); restore it from a copy or train again in "
            "another folder."
        )
    return tensors, metadata


def _file_digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    about = json.dumps(dict(metadata), sort_keys=True)
    return hashlib.sha256(f"{about}\n{state_digest(tensors)}".encode()).hexdigest()


def load_module(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load `tensors` into `module`; RunError when they belong to another network."""
    try:
        module.load_state_dict(tensors)
    except RuntimeError as exc:
        raise RunError(f"{path}: has the weights of another network ({str(exc).splitlines()[0]})") from exc


def save_checkpoint(
    path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, position: Position
) -> None:
    """Write the network and optimiser state of a phase after an epoch."""
    tensors = {_MODEL + name: tensor for name, tensor in module.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"{_OPTIMISER}{index}.{name}": tensor for name, tensor in state.items()}
    save_tensors(path, tensors, {_POSITION: json.dumps({"phase": position.phase, "epoch": position.epoch})})


def load_checkpoint(path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, phase: str) -> int:
    """Restore `phase` from `path`; return the number of epochs done, 0 without a checkpoint of it."""
    if not path.exists():
        return 0
    tensors, metadata = read_tensors(path)
    position = json.loads(metadata.get(_POSITION, "{}"))
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
