"""Engines behind one face; each engine library is imported only inside its own module."""

from __future__ import annotations

from pathlib import Path

from ast_edge.backends.base import Backend
from ast_edge.backends.onnx_runtime import OnnxRuntimeBackend
from ast_edge.errors import BackendError
from ast_edge.model_file import ModelFile, read_model_file


def open_backend(path: Path, *, threads: int | None = None) -> tuple[ModelFile, Backend]:
    """Check the model file at `path` and open the engine that runs it.

    Raises BackendError for a TensorRT engine or when the engine is missing or fails, ModelError when the file
    is refused.
    """
    if path.suffix == ".engine":
        raise BackendError(
            f"{path}: this version of ast-edge runs ONNX models only, not TensorRT engines; "
            "give the model.onnx that the engine was built from."
        )
    model = read_model_file(path)
    return model, OnnxRuntimeBackend(model, threads=threads)
