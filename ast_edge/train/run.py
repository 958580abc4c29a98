"""A run folder: all files of a training run, readable without unpickling.

config.json             settings and training data
trunk.safetensors       the frozen backbone (modes rgb and rgbd)
other_trunk.safetensors a further backbone, if memories use one
history.json            loss per epoch on the training parts and on the held-out good parts
train.log               log
checkpoint.safetensors  the phase in progress; removed when the run is complete
teacher.safetensors     the finished teacher, while the student trains
weights.safetensors     the finished network
folds/                  state of the folds of a cross-calibration; removed when the run is complete
calibration.json        score and largest map value of every good part that the threshold rests on
references.safetensors  inputs with PyTorch's score and map
seal.json               SHA-256 of the files of a complete run, so that an edit or a flipped bit is detected
spec.json               what determines verdicts: preprocessing, threshold and its origin; written last
.lock                   locked by the process that trains
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ast_edge.errors import RunError, reason
from ast_edge.files import sha256_file, write_text
from ast_edge.model.manifest import ModelSpec, TrainingData
from ast_edge.model.references import References
from ast_edge.train.backbone import Trunk, build_trunks
from ast_edge.train.checkpoint import load_module, read_tensors
from ast_edge.train.config import TrainConfig
from ast_edge.train.network import AstNetwork
from ast_edge.wording import first_problem

FORMAT_VERSION: Literal[1] = 1
M = TypeVar("M", bound=BaseModel)


class RunConfig(BaseModel):
    """Content of `config.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = FORMAT_VERSION
    train: TrainConfig
    data: TrainingData
    data_path: str
    weights: str  # source of the trunk's weights
    versions: dict[str, str]
    skipped: dict[str, str] = Field(default_factory=dict)  # good parts skipped by --skip-bad, and why
    sealed: bool = False  # complete runs of versions up to 0.1 have no seal


@dataclass(frozen=True)
class Run:
    """Access to the files of a run folder."""

    path: Path

    @property
    def config_file(self) -> Path:
        """Settings and training data."""
        return self.path / "config.json"

    @property
    def trunk_file(self) -> Path:
        """The frozen backbone."""
        return self.path / "trunk.safetensors"

    @property
    def other_trunk_file(self) -> Path:
        """The further backbone of the memories."""
        return self.path / "other_trunk.safetensors"

    @property
    def checkpoint(self) -> Path:
        """State of the phase in progress."""
        return self.path / "checkpoint.safetensors"

    @property
    def teacher_file(self) -> Path:
        """The finished teacher while the student is trained."""
        return self.path / "teacher.safetensors"

    @property
    def history(self) -> Path:
        """Losses per epoch."""
        return self.path / "history.json"

    @property
    def log(self) -> Path:
        """The log of the run."""
        return self.path / "train.log"

    @property
    def weights(self) -> Path:
        """The finished network."""
        return self.path / "weights.safetensors"

    @property
    def calibration(self) -> Path:
        """Scores of the good parts that the threshold rests on."""
        return self.path / "calibration.json"

    @property
    def folds(self) -> Path:
        """State of the folds of a cross-calibration, a run folder each."""
        return self.path / "folds"

    @property
    def spec_file(self) -> Path:
        """What determines verdicts; written last, so its presence shows that the run is complete."""
        return self.path / "spec.json"

    @property
    def seal_file(self) -> Path:
        """Digests of a complete run's files."""
        return self.path / "seal.json"

    @property
    def lock_file(self) -> Path:
        """The lock of the process that trains."""
        return self.path / ".lock"

    @property
    def references_file(self) -> Path:
        """Reference vectors from PyTorch; runs of versions up to 0.1 store them as `references.npz`."""
        found, earlier = self.path / "references.safetensors", self.path / "references.npz"
        return earlier if earlier.exists() and not found.exists() else found

    @property
    def started(self) -> bool:
        """Whether there is a configuration to resume."""
        return self.config_file.is_file()

    @property
    def complete(self) -> bool:
        """Whether the run can be evaluated and exported."""
        return self.spec_file.is_file()

    def config(self) -> RunConfig:
        """Read the configuration; RunError when it is missing or damaged."""
        return _validated(RunConfig, self.config_file, self._sealed(self.config_file))

    def spec(self) -> ModelSpec:
        """Read what determines verdicts; RunError when the run is incomplete, or was changed afterwards."""
        if not self.complete:
            if self.started:
                raise RunError(
                    f"{self.path}: training is not complete; continue it with `ast-edge train --resume`."
                )
            raise RunError(f"{self.path}: is not a run folder of `ast-edge train` (it has no config.json).")
        return _validated(ModelSpec, self.spec_file, self._sealed(self.spec_file))

    def write_spec(self, spec: ModelSpec) -> None:
        """Complete the run: seal its files, then write the specification."""
        text = spec.model_dump_json(indent=1)
        files = (
            *(self.config_file, self.trunk_file, self.other_trunk_file),
            *(self.weights, self.calibration, self.references_file),
        )
        seal = {path.name: sha256_file(path) for path in files if path.exists()}
        seal[self.spec_file.name] = hashlib.sha256(text.encode()).hexdigest()
        write_text(self.seal_file, json.dumps(seal, indent=1))
        write_text(self.spec_file, text)

    def _sealed(self, path: Path) -> str | None:
        """Return the SHA-256 of a file in the seal of a complete run; None if none is required."""
        if not self.complete:
            return None
        if not self.seal_file.exists() and not _validated(RunConfig, self.config_file, None).sealed:
            return None
        try:
            seal = json.loads(self.seal_file.read_text(encoding="utf-8"))
            return str(seal[path.name])
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise RunError(
                f"{self.seal_file}: is missing or damaged, so the run cannot be trusted; restore it from a "
                "copy or train again."
            ) from exc

    def _require_sealed(self, path: Path) -> None:
        expected = self._sealed(path)
        if expected is not None and sha256_file(path) != expected:
            raise _broken_seal(path)

    def references(self) -> References:
        """Read the reference vectors of PyTorch; RunError when they are missing."""
        if not self.references_file.is_file():
            raise RunError(f"{self.references_file}: is missing; the run is damaged, train it again.")
        self._require_sealed(self.references_file)
        data = self.references_file.read_bytes()
        return References.from_bytes(data, self.spec(), str(self.references_file))

    def load_trunks(self, config: TrainConfig) -> tuple[Trunk | None, Trunk | None]:
        """Load the frozen backbone, None in mode depth, and that of the memories, if any."""
        own, other = build_trunks(config)
        for trunk, path in ((own, self.trunk_file), (other, self.other_trunk_file)):
            if trunk is not None:
                load_module(trunk, read_tensors(path)[0], path)
        return own, other

    def load_network(self) -> AstNetwork:
        """Load the finished network in evaluation mode, on the CPU."""
        self.spec()
        config = self.config().train
        network = AstNetwork(config, *build_trunks(config))
        tensors, _ = read_tensors(self.weights)
        self._require_sealed(self.weights)
        load_module(network, tensors, self.weights)
        return network.eval().requires_grad_(requires_grad=False)


def _validated(model: type[M], path: Path, sha256: str | None) -> M:
    """Read and validate a file; RunError if it does not match its digest in the seal."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise RunError(
            f"{path}: cannot be read ({reason(exc)}); is {path.parent} a run of `ast-edge train`?"
        ) from exc
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise _broken_seal(path)
    try:
        return model.model_validate(json.loads(data))
    except ValidationError as exc:
        key, said = first_problem(exc)
        raise RunError(
            f"{path}: is damaged or from another version (key '{key or 'content'}': {said}); train again."
        ) from exc
    except ValueError as exc:
        raise RunError(f"{path}: is damaged ({exc}); train again.") from exc


def _broken_seal(path: Path) -> RunError:
    return RunError(
        f"{path}: was changed after the run was complete (its digest does not match); restore it from a copy "
        "or train again."
    )


def pick_device(name: str) -> torch.device:
    """Resolve `auto` (CUDA if there is a GPU), `cpu`, `cuda` or `cuda:N`; RunError for a missing GPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as exc:
        raise _unknown_device(name) from exc
    if device.type not in {"cpu", "cuda"}:
        raise _unknown_device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise RunError(
            f"device {name}: PyTorch sees {torch.cuda.device_count() or 'no'} CUDA GPU on this machine; "
            "use --device cpu or the number of an existing one."
        )
    return device


def _unknown_device(name: str) -> RunError:
    return RunError(f"device {name}: unknown; give auto, cpu, cuda or cuda:N.")
