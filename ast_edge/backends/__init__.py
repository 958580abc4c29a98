"""Engines behind one face; each engine library is imported only inside its own module."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ast_edge.backends.base import Backend
from ast_edge.backends.onnx_runtime import OnnxRuntimeBackend
from ast_edge.backends.openvino import OpenVinoBackend
from ast_edge.cuda.device import missing_for_tensorrt
from ast_edge.errors import BackendError, UsageError
from ast_edge.model.engine_file import AnyModel, EngineFile, read_any
from ast_edge.model.onnx_file import ModelFile

BackendName = Literal["onnxruntime", "openvino", "tensorrt"]


def open_backend(
    path: Path, *, threads: int | None = None, backend: BackendName | None = None
) -> tuple[AnyModel, Backend]:
    """Check the model or engine at `path`, and open the engine that runs it.

    A model runs on ONNX Runtime unless `backend` says OpenVINO, an engine on TensorRT. Raises BackendError
    when the engine is missing, does not fit this machine or fails, ModelError when a file is refused,
    UsageError for `threads` of an engine that has none, or a backend that does not run such a file.
    """
    model = read_any(path)
    if not isinstance(model, EngineFile):
        return model, _on_cpu(model, threads, backend)
    if backend not in (None, "tensorrt"):
        raise UsageError(
            f"{path}: an engine runs on TensorRT, not on {backend}; give the model that it was built from."
        )
    if threads is not None:
        raise UsageError(f"{path}: an engine runs on the GPU; leave out the number of threads.")
    if missing := missing_for_tensorrt():
        raise BackendError(f"{path}: TensorRT engines do not run on this machine: {' and '.join(missing)}.")
    from ast_edge.backends.tensorrt import TensorRtBackend  # noqa: PLC0415 (imports TensorRT)

    return model, TensorRtBackend(model)


def _on_cpu(model: ModelFile, threads: int | None, backend: BackendName | None) -> Backend:
    if backend == "tensorrt":
        raise UsageError(
            f"{model.path}: TensorRT runs engines, not models; build one with "
            f"`ast-edge build-engine {model.path}` and give that."
        )
    if backend == "openvino":
        return OpenVinoBackend(model, threads=threads)
    return OnnxRuntimeBackend(model, threads=threads)
