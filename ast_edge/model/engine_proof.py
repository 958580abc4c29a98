"""The proof of an engine that was built on another machine: `model.rtx.engine.proof.json`, beside the engine.

TensorRT for RTX builds without a GPU, so such an engine has never run. The first machine that opens it
runs the reference vectors, and writes down here that it reproduced them. What the file must be:

* one JSON object with the keys of `Proofs` and no other, under 64 KiB, sealed by a digest of its bytes;
* an entry for every machine that proved the engine, the last 16 of them; one of another plan, GPU, driver or
  version of the library is no proof here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ast_edge.errors import ModelError
from ast_edge.model.engine_file import EngineFile
from ast_edge.model.engine_info import BuiltFor, Proven
from ast_edge.model.manifest import Sha256
from ast_edge.model.sealed_file import read_sealed, write_sealed

_MOST_MACHINES = 16


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MachineProof(_Strict):
    """That a machine reproduced the reference vectors with the plan of this digest, and when."""

    plan_sha256: Sha256
    machine: BuiltFor
    proven: Proven
    at: str


class Proofs(_Strict):
    """The whole file."""

    format_version: Literal[1] = 1
    proofs: Annotated[tuple[MachineProof, ...], Field(max_length=_MOST_MACHINES)]


def proof_path(engine: Path) -> Path:
    """`model.rtx.engine.proof.json`."""
    return engine.with_name(engine.name + ".proof.json")


def proofs_of(engine: EngineFile) -> list[MachineProof]:
    """The proofs of this very plan on any machine. Raises ModelError for a damaged file."""
    return [one for one in _read(engine.path) if one.plan_sha256 == engine.info.plan.sha256]


def proof_on(engine: EngineFile, machine: BuiltFor) -> MachineProof | None:
    """The proof of this very plan on this very machine, or None. Raises ModelError for a damaged file."""
    wanted = (engine.info.plan.sha256, machine)
    return next((one for one in _read(engine.path) if (one.plan_sha256, one.machine) == wanted), None)


def write_proof(engine: EngineFile, proof: MachineProof) -> None:
    """Add `proof`, in the place of an earlier one of that machine; atomic. Raises ModelError."""
    path = proof_path(engine.path)
    others = [one for one in _read(engine.path) if one.machine != proof.machine]
    proofs = Proofs(proofs=tuple([*others, proof][-_MOST_MACHINES:]))

    def refused(why: str) -> ModelError:
        return ModelError(
            f"{path}: the engine reproduces the model, but its proof cannot be written ({why}); run "
            f"`ast-edge verify {engine.path}` once as a user who may write there."
        )

    write_sealed(path, proofs, refused)


def _read(engine: Path) -> tuple[MachineProof, ...]:
    path = proof_path(engine)
    found = read_sealed(path, Proofs, lambda why: _damaged(path, engine, why))
    return () if found is None else found.proofs


def _damaged(path: Path, engine: Path, why: str) -> ModelError:
    return ModelError(
        f"{path}: the engine's proof is damaged: {why}; remove the file and run `ast-edge verify {engine}`."
    )
