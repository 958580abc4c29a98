"""ONNX Runtime on the CPU: the engine that every machine has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ast_edge.backends.base import Backend, Outputs, check_threads, one_line
from ast_edge.errors import BackendError
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import TensorSpec
from ast_edge.model.onnx_file import ModelFile
from ast_edge.wording import install_hint

_DTYPES = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}
_ERRORS_ONLY = 3


class OnnxRuntimeBackend(Backend):
    """Runs a checked model file on the CPU with `threads` threads, by default one per core.

    Raises BackendError when ONNX Runtime is missing, cannot load the file, or finds other tensors in it than
    its manifest says; UsageError for fewer than one thread.
    """

    name = "ONNX Runtime"

    def __init__(self, model: ModelFile, *, threads: int | None = None) -> None:
        super().__init__(model.manifest.inputs, model.manifest.outputs)
        check_threads(threads)
        self._session = _open_session(model, threads)
        found = [_describe(node.name, node.type, node.shape) for node in _nodes(self._session)]
        expected = [_describe_spec(spec) for spec in (*self.inputs, *self.outputs)]
        if sorted(found) != sorted(expected):
            raise BackendError(
                f"{model.path}: the network has other tensors than its manifest says (expected "
                f"{', '.join(expected)}, found {', '.join(found)}); export the model again."
            )

    def _run(self, inputs: Mapping[str, Array]) -> Outputs:
        try:
            score, anomaly_map = self._session.run(["score", "anomaly_map"], dict(inputs))
        except Exception as exc:
            raise BackendError(f"{self.name} failed while running the network: {one_line(exc)}") from exc
        return Outputs(score, anomaly_map)

    def _close(self) -> None:
        self._session = None


def _open_session(model: ModelFile, threads: int | None) -> Any:
    try:
        import onnxruntime  # noqa: PLC0415 (the engine library is needed here and nowhere else)
    except ImportError as exc:
        raise BackendError(
            f"ONNX Runtime is not usable on this machine ({one_line(exc)}); "
            f"install it with: {install_hint('cpu')}"
        ) from exc
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads or 0
    # Its threads spin for the next layer, not for the next part: between parts the processors are free for
    # the thread that takes and prepares the next frame.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(model.content, options, providers=["CPUExecutionProvider"])
    except Exception as exc:
        raise BackendError(
            f"{model.path}: {one_line(exc)}; export the model again or upgrade onnxruntime."
        ) from exc


def _nodes(session: Any) -> list[Any]:
    return [*session.get_inputs(), *session.get_outputs()]


def _describe(name: str, dtype: str, shape: list[int | str | None]) -> str:
    # A free dimension has a name of its own or none; the manifest writes it as -1.
    return f"{name} {dtype} {[size if isinstance(size, int) else -1 for size in shape]}"


def _describe_spec(spec: TensorSpec) -> str:
    return _describe(spec.name, _DTYPES[spec.dtype], list(spec.shape))
