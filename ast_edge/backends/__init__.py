"""Engines behind one face; each engine library is imported only inside its own module."""

from __future__ import annotations

from pathlib import Path

from ast_edge.backends.base import Backend
from ast_edge.backends.onnx_runtime import OnnxRuntimeBackend
from ast_edge.cuda.device import missing_for_tensorrt
from ast_edge.engine_file import AnyModel, EngineFile, read_any
from ast_edge.errors import BackendError, UsageError


def open_backend(path: Path, *, threads: int | None = None) -> tuple[AnyModel, Backend]:
    """Check the model or engine at `path`, and open the engine that runs it.

    Raises BackendError when the engine is missing, does not fit this machine or fails, ModelError when a file
    is refused, UsageError for `threads` of an engine that has none.
    """
    model = read_any(path)
    if not isinstance(model, EngineFile):
        return model, OnnxRuntimeBackend(model, threads=threads)
    if threads is not None:
        raise UsageError(f"{path}: an engine runs on the GPU; leave out the number of threads.")
    if missing := missing_for_tensorrt():
        raise BackendError(f"{path}: TensorRT engines do not run on this machine: {' and '.join(missing)}.")
    from ast_edge.backends.tensorrt import TensorRtBackend  # noqa: PLC0415 (imports TensorRT)

    return model, TensorRtBackend(model)
