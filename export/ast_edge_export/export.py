"""Run folder in, model files out: trace, fold, write, prove; what cannot be proven does not get its name."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx

from ast_edge.backends.onnx_runtime import OnnxRuntimeBackend
from ast_edge.backends.proof import SCORE_TOLERANCE, Parity, prove
from ast_edge.data import GOOD, Sample, open_dataset
from ast_edge.errors import ParityError, RunError, UsageError, reason
from ast_edge.files import named_errors, write_bytes, write_text
from ast_edge.model.engine_info import Batch
from ast_edge.model.half_precision import to_mixed_precision
from ast_edge.model.manifest import Manifest, ModelSpec, Precision
from ast_edge.model.onnx_file import ModelFile, network_sha256, write_model_file
from ast_edge.model.references import References, earlier_reference_path, reference_path
from ast_edge.progress import stage
from ast_edge.train.features import network_inputs
from ast_edge.train.pipeline import versions
from ast_edge.train.run import Run
from ast_edge.train.split import same_parts, split_parts
from ast_edge.trt import flavours
from ast_edge.trt.check import Checked, check_graph
from ast_edge.verdict.margin import for_precision
from ast_edge_export.fold import FoldedNetwork
from ast_edge_export.int8_gate import Evidence, Int8Report, Proof, quantise
from ast_edge_export.quantise import Inputs
from ast_edge_export.trace import trace

SUFFIX = ".onnx"
SMALLER: tuple[Precision, ...] = ("fp16", "int8")
DEFAULT: tuple[Precision, ...] = ("fp16",)
RANGE_PARTS = 64  # good parts that INT8 takes its ranges from
_RANGE = Batch(least=1, usual=4, most=8)  # that a graph with a free batch is checked for


@dataclass(frozen=True)
class Exported:
    """A model file that reproduced its reference vectors through ONNX Runtime.

    `int8` is about its layers, `checked` what NVIDIA's builder made of it where that was asked for.
    """

    path: Path
    precision: Precision
    parity: Parity
    int8: Int8Report | None = None
    checked: Checked | None = None


def export_run(
    run_folder: Path,
    output: Path,
    *,
    batch: int = 1,
    precisions: Collection[Precision] = DEFAULT,
    data: Path | None = None,
    check_tensorrt: bool = False,
) -> list[Exported]:
    """Write `output` (FP32), its reference vectors and, beside it, a model in each of `precisions`.

    `batch` -1 leaves the batch free. INT8 takes its ranges from the run's good parts in `data`, by default
    the folder that was trained on, and writes `model.int8.json` about its layers. `check_tensorrt` has
    TensorRT for RTX parse and build every graph: BackendError, with its words, where it refuses one. Raises
    ParityError, with the figures, when a model does not reproduce PyTorch's scores or INT8 does not pass its
    gate. In both cases nothing is written. RunError when the run is not complete or `data` is not
    what it was trained on.
    """
    _check_name(output)
    if check_tensorrt:
        flavours.RTX.need("--check-tensorrt")
    run = Run(run_folder)
    job = _Job(run.spec(), run.references(), batch, Path(run.config().data_path).name)
    network = FoldedNetwork(run.load_network())
    _make_folder(output.parent)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.stem}.") as name:
        scratch = Path(name)
        with named_errors(output):
            graph = trace(network, job.spec.input_specs(batch), scratch / "traced.onnx")
        made = [_make(job, graph, "fp32", scratch / output.name)]
        if "fp16" in precisions:
            half = to_mixed_precision(graph)
            made.append(_make(job, half, "fp16", _beside(scratch / output.name, "fp16")))
        if "int8" in precisions:
            made.append(_make_int8(job, graph, run, data, _beside(scratch / output.name, "int8")))
        if check_tensorrt:
            made = [_checked(one, batch) for one in made]
        # One of an earlier export would be another network beside this model.
        for precision in SMALLER:
            if precision not in precisions:
                for left_over in (
                    _beside(output, precision),
                    _beside(output, precision).with_suffix(".json"),
                ):
                    left_over.unlink(missing_ok=True)
        # The vectors first: a model never stands beside another export's for longer than this takes.
        write_bytes(reference_path(output), job.references.to_bytes())
        earlier_reference_path(output).unlink(missing_ok=True)
        return [_placed(exported, output.parent) for exported in made]


def _checked(exported: Exported, batch: int) -> Exported:
    size = _RANGE if batch == -1 else Batch(least=batch, usual=batch, most=batch)
    return replace(exported, checked=check_graph(exported.path, exported.precision, size))


def _beside(output: Path, precision: Precision) -> Path:
    """`model.fp16.onnx` or `model.int8.onnx` for `model.onnx`."""
    return output.with_name(f"{output.stem}.{precision}{SUFFIX}")


def _placed(exported: Exported, folder: Path) -> Exported:
    if exported.int8 is not None:
        report = json.dumps(exported.int8.as_json(), indent=1) + "\n"
        write_text(folder / exported.path.with_suffix(".json").name, report)
    return replace(exported, path=exported.path.replace(folder / exported.path.name))


def _check_name(output: Path) -> None:
    if output.suffix != SUFFIX:
        raise UsageError(f"{output}: the model's name must end with {SUFFIX}.")
    if Path(output.stem).suffix.removeprefix(".") in SMALLER:
        raise UsageError(
            f"{output}: names ending with {Path(output.stem).suffix}{SUFFIX} are for the smaller models, "
            f"which are written beside this one; give the name without {Path(output.stem).suffix}."
        )
    if output.is_dir():
        raise UsageError(f"{output}: is a folder; name a file to write.")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"{folder}: the folder cannot be made ({reason(exc)}); name another.") from exc


@dataclass(frozen=True)
class _Job:
    spec: ModelSpec
    references: References
    batch: int
    product: str

    @property
    def copies(self) -> int:
        """How many copies of a part fill a batch."""
        return max(self.batch, 1)


def _make(job: _Job, graph: onnx.ModelProto, precision: Precision, target: Path) -> Exported:
    network = target.with_suffix(".network")
    onnx.save(graph, network)
    # One good and one rejected vector travel inside, so that the file alone can be verified.
    embedded = job.references.subset(sorted({0, len(job.references) - 1})).to_bytes()
    manifest = _manifest(job, network_sha256(network), precision, embedded)
    model = write_model_file(target, network, manifest, embedded)
    return Exported(target, precision, _proven(model, job))


def _make_int8(job: _Job, graph: onnx.ModelProto, run: Run, data: Path | None, target: Path) -> Exported:
    quantised, report = quantise(graph, _evidence(run, data, job.copies), Proof(job.references, job.spec))
    if refusal := report.figures.refusal:
        raise ParityError(
            f"{target.name}: INT8 does not keep the verdicts, even with {len(report.in_fp32)} of "
            f"{len(report.sensitivity)} layers in FP32: {refusal}; no model was written: leave INT8 out."
        )
    return replace(_make(job, quantised, "int8", target), int8=report)


def _evidence(run: Run, data: Path | None, copies: int) -> Evidence:
    """Inputs from the folder that was trained on, unchanged since; `copies` of a part fill a batch."""
    about = run.config()
    folder = data or Path(about.data_path)
    split = split_parts(folder, about.train, about.skipped)
    if not same_parts(split.describe(), about.data):
        raise RunError(f"{folder}: is not the data that {run.path} was trained on; name it with --data.")
    dataset = open_dataset(folder, mode=about.train.mode)
    step = max(1, len(split.train) // RANGE_PARTS)
    samples = (split.train[::step][:RANGE_PARTS], split.holdout, dataset.test)
    with stage("reading parts for INT8", sum(map(len, samples))) as shown:

        def inputs(sample: Sample) -> Inputs:
            shown.advance()
            found = network_inputs(sample, about.train.mode, about.train.preprocessing)
            return {name: np.repeat(array[None], copies, axis=0) for name, array in found.items()}

        ranges, held_out, labelled = ([inputs(sample) for sample in part] for part in samples)
    return Evidence(
        ranges, held_out, labelled, np.array([sample.defect != GOOD for sample in dataset.test], np.bool_)
    )


def _manifest(job: _Job, network: str, precision: Precision, embedded: bytes) -> Manifest:
    return Manifest(
        **for_precision(job.spec, precision).model_dump(),
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
            f"flipped; no model was written."
        )
    return parity
