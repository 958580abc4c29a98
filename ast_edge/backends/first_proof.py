"""The proof of an engine that was built where it could not run, made by the machine that opens it first."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ast_edge.backends.base import Backend
from ast_edge.backends.proof import SCORE_TOLERANCE, Parity, prove
from ast_edge.errors import ParityError
from ast_edge.model.engine_file import AnyModel, EngineFile
from ast_edge.model.engine_proof import MachineProof, proof_on, write_proof
from ast_edge.model.references import load_references

if TYPE_CHECKING:
    from ast_edge.backends.tensorrt import TensorRtBackend


def prove_first(engine: EngineFile, backend: TensorRtBackend) -> None:
    """Run the reference vectors and write the proof beside the engine, unless this machine did so before.

    Closes `backend` before it raises: ParityError where it does not reproduce the vectors, ModelError where
    there are none, or where the proof cannot be written.
    """
    try:
        if proof_on(engine, backend.machine) is None:
            _prove(engine, backend)
    except BaseException:
        backend.close()
        raise


def _prove(engine: EngineFile, backend: TensorRtBackend) -> None:
    references, _ = load_references(engine)
    spec = engine.manifest
    parity = prove(backend, references, spec, SCORE_TOLERANCE[spec.precision])
    if not parity.ok:
        raise _not_proven(engine, backend, parity)
    record(engine, backend, parity)


def record(engine: EngineFile, backend: TensorRtBackend, parity: Parity) -> None:
    """Write down beside `engine` that `parity`, which is ok, was found on this machine. Raises ModelError."""
    proof = MachineProof(
        plan_sha256=engine.info.plan.sha256,
        machine=backend.machine,
        proven=parity.proven,
        at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    write_proof(engine, proof)


def record_where_pending(model: AnyModel, backend: Backend, parity: Parity) -> None:
    """`record`, for an engine of TensorRT for RTX; nothing for others. `parity` is ok. Raises ModelError."""
    if isinstance(model, EngineFile) and model.info.rtx is not None:
        from ast_edge.backends.tensorrt import TensorRtBackend  # noqa: PLC0415 (imports TensorRT)

        assert isinstance(backend, TensorRtBackend)  # noqa: S101  # nothing else opens engines
        record(model, backend, parity)


def _not_proven(engine: EngineFile, backend: TensorRtBackend, parity: Parity) -> ParityError:
    return ParityError(
        f"{engine.path}: {backend.name} does not reproduce the reference vectors: {parity.differences}; "
        "the engine was not opened: build it with --precision fp32, or with another version of tensorrt-rtx."
    )
