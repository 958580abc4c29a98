"""Engines behind one face; each engine library is imported only inside its own module."""

from __future__ import annotations

from pathlib import Path

from ast_edge.backends.base import Backend
from ast_edge.backends.choice import BackendName, Engine
from ast_edge.backends.first_proof import prove_first
from ast_edge.backends.onnx_runtime import OnnxRuntimeBackend
from ast_edge.backends.openvino import OpenVinoBackend
from ast_edge.cuda.device import missing_for_tensorrt
from ast_edge.errors import BackendError, UsageError
from ast_edge.model.engine_file import AnyModel, EngineFile, read_any
from ast_edge.model.onnx_file import ModelFile, choice_path
from ast_edge.trt import flavours

__all__ = ["BackendName", "Engine", "open_backend"]


def open_backend(
    path: Path,
    *,
    threads: int | None = None,
    backend: BackendName | Engine | None = None,
    unproven: bool = False,
) -> tuple[AnyModel, Backend]:
    """Check the model or engine at `path`, and open the engine that runs it.

    A model runs on the CPU unless `backend` says otherwise, on the engine that is kept as the fastest beside
    it (see `ast_edge.model.engine_choice`), or on ONNX Runtime; nothing is measured here. An engine runs on
    the library that built it. An engine of TensorRT for RTX is proven first, where this machine has not done
    so yet (see `ast_edge.backends.first_proof`); `unproven` leaves that to the caller. Raises BackendError
    when the engine is missing, does not fit this machine or fails, ModelError when a file is refused,
    UsageError for `threads` of an engine that has none, or a backend that does not run such a file.
    """
    model = read_any(path)
    asked = backend if isinstance(backend, Engine) else Engine(backend)
    if not isinstance(model, EngineFile):
        return model, _model_on(asked, model, threads)
    if asked.backend not in (None, "auto", "tensorrt") or asked.provider is not None:
        raise UsageError(
            f"{path}: an engine runs on TensorRT, not on {asked.backend or 'onnxruntime'}; give the model "
            "that it was built from."
        )
    if threads is not None:
        raise UsageError(f"{path}: an engine runs on the GPU; leave out the number of threads.")
    flavour = flavours.TENSORRT if model.info.rtx is None else flavours.RTX
    if missing := missing_for_tensorrt(flavour.module):
        raise BackendError(
            f"{path}: engines of {flavour.title} do not run on this machine: {' and '.join(missing)}."
        )
    flavours.use(flavour)
    from ast_edge.backends.tensorrt import TensorRtBackend  # noqa: PLC0415 (imports TensorRT)

    opened = TensorRtBackend(model)
    if model.info.rtx is not None and not unproven:
        prove_first(model, opened)
    return model, opened


def _model_on(asked: Engine, model: ModelFile, threads: int | None) -> Backend:
    left_open = asked.backend in (None, "auto") and asked.provider is None
    if left_open and (asked.backend == "auto" or choice_path(model.path).exists()):
        from ast_edge.backends.fastest import kept_here, why_not_chosen  # noqa: PLC0415 (rarely needed)

        kept = kept_here(model)
        if kept.choice is not None:
            opened = _model_on(Engine(kept.choice.chosen), model, threads)
            opened.choice = str(kept.choice)
            return opened
        opened = _model_on(Engine("onnxruntime"), model, threads)
        opened.choice = why_not_chosen(model, kept.void, asked=asked.backend == "auto")
        return opened
    if asked.backend == "tensorrt":
        raise UsageError(
            f"{model.path}: TensorRT runs engines, not models; build one with "
            f"`ast-edge build-engine {model.path}` and give that."
        )
    if asked.backend == "openvino":
        return OpenVinoBackend(
            model, threads=threads, device=asked.device or "CPU", allow_cpu=asked.allow_cpu
        )
    return OnnxRuntimeBackend(model, threads=threads, provider=asked.provider, allow_cpu=asked.allow_cpu)
