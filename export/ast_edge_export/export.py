"""Run folder in, model files out: trace, fold, write, prove; what cannot be proven does not get its name."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import onnx

from ast_edge.backends.onnx_runtime import OnnxRuntimeBackend
from ast_edge.errors import ParityError, UsageError
from ast_edge.files import write_bytes
from ast_edge.manifest import Manifest, ModelSpec, Precision
from ast_edge.model_file import ModelFile, network_sha256, write_model_file
from ast_edge.references import SCORE_TOLERANCE, Parity, References, prove, reference_path
from ast_edge.train.pipeline import versions
from ast_edge.train.run import Run
from ast_edge_export.fold import FoldedNetwork
from ast_edge_export.precision import to_mixed_precision
from ast_edge_export.trace import trace

SUFFIX, HALF = ".onnx", ".fp16"
_HINT: dict[Precision, str] = {"fp32": "", "fp16": " (--no-fp16 leaves this one out)"}


@dataclass(frozen=True)
class Exported:
    """A model file that reproduced its reference vectors through ONNX Runtime."""

    path: Path
    precision: Precision
    parity: Parity


def export_run(run_folder: Path, output: Path, *, batch: int = 1, fp16: bool = True) -> list[Exported]:
    """Write `output`, its reference vectors beside it and, with `fp16`, the mixed-precision model.

    `batch` -1 leaves the batch free. Raises ParityError, with the figures, when a model does not reproduce
    PyTorch's scores; then nothing is written. RunError when the run is not complete.
    """
    _check_name(output)
    run = Run(run_folder)
    job = _Job(run.spec(), run.references(), batch, Path(run.config().data_path).name)
    network = FoldedNetwork(run.load_network())
    _make_folder(output.parent)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.stem}.") as name:
        scratch = Path(name)
        graph = trace(network, job.spec.input_specs(batch), scratch / "traced.onnx")
        made = [_make(job, graph, "fp32", scratch / output.name)]
        if fp16:
            made.append(
                _make(job, to_mixed_precision(graph), "fp16", scratch / f"{output.stem}{HALF}{SUFFIX}")
            )
        if not fp16:
            # One of an earlier export would be another network beside this model.
            (output.parent / f"{output.stem}.fp16.onnx").unlink(missing_ok=True)
        # The vectors first: a model never stands beside another export's for longer than this takes.
        write_bytes(reference_path(output), job.references.to_bytes())
        return [Exported(m.path.replace(output.parent / m.path.name), m.precision, m.parity) for m in made]


def _check_name(output: Path) -> None:
    if output.suffix != SUFFIX:
        raise UsageError(f"{output}: the model's name must end with {SUFFIX}.")
    if output.stem.endswith(HALF):
        raise UsageError(
            f"{output}: names ending with {HALF}{SUFFIX} are for the mixed-precision model, which is written "
            f"beside this one; give the name without {HALF}."
        )
    if output.is_dir():
        raise UsageError(f"{output}: is a folder; name a file to write.")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"{folder}: the folder cannot be made ({exc.strerror}); name another.") from exc


@dataclass(frozen=True)
class _Job:
    spec: ModelSpec
    references: References
    batch: int
    product: str


def _make(job: _Job, graph: onnx.ModelProto, precision: Precision, target: Path) -> Exported:
    network = target.with_suffix(".network")
    onnx.save(graph, network)
    # One good and one rejected vector travel inside, so that the file alone can be verified.
    embedded = job.references.subset(sorted({0, len(job.references) - 1})).to_bytes()
    manifest = _manifest(job, network_sha256(network), precision, embedded)
    model = write_model_file(target, network, manifest, embedded)
    return Exported(target, precision, _proven(model, job))


def _manifest(job: _Job, network: str, precision: Precision, embedded: bytes) -> Manifest:
    return Manifest(
        **job.spec.model_dump(),
        model_id=f"{job.product}-{job.spec.mode}-{network[:12]}",
        precision=precision,
        inputs=job.spec.input_specs(job.batch),
        outputs=job.spec.output_specs(job.batch),
        network_sha256=network,
        reference_sha256=hashlib.sha256(job.references.to_bytes()).hexdigest(),
        embedded_reference_sha256=hashlib.sha256(embedded).hexdigest(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions={**versions(), "onnx": version("onnx"), "onnxsim": version("onnxsim")},
    )


def _proven(model: ModelFile, job: _Job) -> Parity:
    precision = model.manifest.precision
    tolerance = SCORE_TOLERANCE[precision]
    with OnnxRuntimeBackend(model) as backend:
        parity = prove(backend, job.references, job.spec, tolerance)
    if not parity.ok:
        raise ParityError(
            f"{model.path.name}: ONNX Runtime does not reproduce PyTorch: score off by "
            f"{parity.max_relative_score_error:.2g} relative (allowed {tolerance:g}), map by "
            f"{parity.max_absolute_map_error:.2g}, {parity.flipped_verdicts} of {parity.count} verdicts "
            f"flipped; no model was written{_HINT[precision]}."
        )
    return parity
