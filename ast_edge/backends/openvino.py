"""OpenVINO on the CPU: the same model files as ONNX Runtime, and far faster where they are INT8."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ast_edge.backends.base import Backend, Outputs, check_threads, one_line
from ast_edge.errors import BackendError
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import TensorSpec
from ast_edge.model.onnx_file import ModelFile
from ast_edge.telemetry import without_openvino_telemetry
from ast_edge.wording import install_hint

_OUTPUTS = ("score", "anomaly_map")


class OpenVinoBackend(Backend):
    """Runs a checked model file on the CPU with `threads` threads, by default one per core.

    Computes in FP32 where the graph says so, also on processors that would rather take BF16 or FP16. Raises
    BackendError when OpenVINO is missing, cannot load the file, or finds other tensors in it than its
    manifest says; UsageError for fewer than one thread.
    """

    def __init__(self, model: ModelFile, *, threads: int | None = None) -> None:
        super().__init__(model.manifest.inputs, model.manifest.outputs)
        check_threads(threads)
        openvino = _library()
        self.name = f"OpenVINO {openvino.__version__.partition('-')[0]}"
        try:
            core = openvino.Core()
            compiled = core.compile_model(core.read_model(model.content), "CPU", _configuration(threads))
        except Exception as exc:
            raise BackendError(
                f"{model.path}: {one_line(exc)}; export the model again or upgrade openvino."
            ) from exc
        names = {spec.name for spec in (*self.inputs, *self.outputs)}
        found = sorted(_describe(port, names) for port in (*compiled.inputs, *compiled.outputs))
        expected = sorted(_describe_spec(spec) for spec in (*self.inputs, *self.outputs))
        if found != expected:
            raise BackendError(
                f"{model.path}: the network has other tensors than its manifest says (expected "
                f"{', '.join(expected)}, found {', '.join(found)}); export the model again."
            )
        self._request = compiled.create_infer_request()

    def _run(self, inputs: Mapping[str, Array]) -> Outputs:
        try:
            # Contiguous inputs are read where they are; outputs are copied: the next run overwrites them.
            self._request.infer(dict(inputs), share_inputs=True, share_outputs=True)
            score, anomaly_map = (np.array(self._request.get_tensor(name).data) for name in _OUTPUTS)
        except Exception as exc:
            raise BackendError(f"{self.name} failed while running the network: {one_line(exc)}") from exc
        return Outputs(score, anomaly_map)

    def _close(self) -> None:
        self._request = None


def _library() -> Any:
    try:
        with without_openvino_telemetry():
            import openvino  # noqa: PLC0415 (the engine library is needed here and nowhere else)
    except ImportError as exc:
        raise BackendError(
            f"OpenVINO is not usable on this machine ({one_line(exc)}); install it with: "
            f"{install_hint('openvino')}"
        ) from exc
    return openvino


def _configuration(threads: int | None) -> dict[str, object]:
    chosen: dict[str, object] = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # two inspectors on one machine would share a core
    }
    return chosen if threads is None else {**chosen, "INFERENCE_NUM_THREADS": threads}


def _describe(port: Any, names: set[str]) -> str:
    # A port has several names where OpenVINO has taken nodes for one.
    name = next(iter(names & port.get_names()), port.any_name)
    shape = [-1 if size.is_dynamic else size.get_length() for size in port.partial_shape]
    return f"{name} {np.dtype(port.element_type.to_dtype()).name} {shape}"


def _describe_spec(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype} {list(spec.shape)}"
