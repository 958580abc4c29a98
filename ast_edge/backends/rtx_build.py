"""Model file to an engine of TensorRT for RTX, on any machine: no GPU is needed, and none is asked.

What is compiled here are plans for the GPUs that were named. The proof is pending until a machine with such a
GPU opens the engine (see `ast_edge.backends.first_proof`).
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

from ast_edge.backends.engine_build import Options, engine_path, in_precision, layer_report, make_folder
from ast_edge.errors import UsageError
from ast_edge.files import write_text
from ast_edge.model.engine_file import EngineFile, content_of, write_engine_file
from ast_edge.model.engine_info import Build, BuiltForRtx, EngineInfo
from ast_edge.model.onnx_file import HALF_SCOPES, read_model_file
from ast_edge.model.references import load_references
from ast_edge.trt import flavours
from ast_edge.trt.gpus import SINCE_AMPERE, TURING
from ast_edge.version import VERSION

SUFFIX = ".rtx.engine"
_WORKSPACE_MIB = 4096


def build_rtx_engine(
    model: Path, output: Path | None, options: Options, gpus: tuple[str, ...] = SINCE_AMPERE
) -> EngineFile:
    """Build the model file `model` for GPUs of the compute capabilities `gpus`; by default all since Ampere.

    `output` is by default the model's path with the suffix `.rtx.engine`. Raises UsageError for a request
    that TensorRT for RTX cannot fulfil, or where it is not installed, ModelError when a file is refused,
    BackendError when the graph is. Then no engine is left.
    """
    target = engine_path(model, model.with_suffix(SUFFIX) if output is None else output)
    flavours.RTX.need(f"{target}: cannot be built")
    flavours.use(flavours.RTX)
    _check(options, gpus)
    source = in_precision(read_model_file(model), options.precision, options.say)
    load_references(source)  # without them the engine could never be proven
    make_folder(target.parent)
    from ast_edge.trt.build import Request, build_plan  # noqa: PLC0415 (imports the library)
    from ast_edge.trt.log import Log  # noqa: PLC0415

    mib = options.workspace_mib or _WORKSPACE_MIB
    request = Request(
        onnx=source.path,
        precision=options.precision,
        batch=options.batch,
        workspace_bytes=mib << 20,
        half=HALF_SCOPES,
        timing_cache=None,
        tell=options.tell,
        layers=options.report is not None,
        capabilities=gpus,
    )
    built = build_plan(request, Log())
    if options.report is not None:
        write_text(options.report, json.dumps(layer_report(list(built.compiled)), indent=1) + "\n")
    info = EngineInfo(
        source=source.path.name,
        manifest=source.manifest,
        plan=content_of(built.plan),
        kernels=None,
        built_for=BuiltForRtx(tensorrt_rtx=flavours.library().__version__, compute_capabilities=gpus),
        build=Build(precision=options.precision, batch=options.batch, workspace_mib=mib),
        proven=None,
        built=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        ast_edge=VERSION,
    )
    return write_engine_file(target, built.plan, None, info)


def _check(options: Options, gpus: tuple[str, ...]) -> None:
    flavours.refuse_lacking(options)
    if not options.verify:
        raise UsageError(
            "--no-verify: an engine for RTX is proven by the machine that opens it first; leave it out."
        )
    if TURING in gpus and options.precision == "int8":
        raise UsageError(
            "--precision int8: TensorRT for RTX computes INT8 convolutions in FP32 on GPUs of compute "
            f"capability {TURING}; build for them with --precision fp16."
        )
    if TURING in gpus and len(gpus) > 1:
        options.say(f"one engine for {TURING} and newer GPUs is slower on the newer ones; better build two")
