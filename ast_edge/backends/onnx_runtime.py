"""ONNX Runtime: on the CPU the engine that every machine has, on a GPU by an execution provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ast_edge.backends.base import Backend, Outputs, check_threads
from ast_edge.backends.choice import Provider, named_with_cpu
from ast_edge.errors import BackendError, message
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import TensorSpec
from ast_edge.model.onnx_file import ModelFile
from ast_edge.wording import install_hint

_DTYPES = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}
_ERRORS_ONLY = 3
_CPU = "CPUExecutionProvider"
_RECORD = "session.record_ep_graph_assignment_info"


class _Known(NamedTuple):
    """An execution provider: how ONNX Runtime and people call it, and its options."""

    library: str
    title: str
    options: dict[str, str]


# Sums and products in full FP32: TensorFloat-32 has three digits.
PROVIDERS: dict[Provider, _Known] = {
    "cuda": _Known("CUDAExecutionProvider", "CUDA", {"use_tf32": "0"}),
    "tensorrt": _Known("TensorrtExecutionProvider", "TensorRT", {}),
    "nvtensorrtrtx": _Known("NvTensorRTRTXExecutionProvider", "TensorRT for RTX", {}),
}


class OnnxRuntimeBackend(Backend):
    """Runs a checked model file with `threads` threads, by default one per core, or by a `provider`.

    Raises BackendError when ONNX Runtime is missing or has no such provider, cannot load the file, finds
    other tensors in it than its manifest says, or leaves nodes to the CPU without `allow_cpu`; UsageError for
    fewer than one thread.
    """

    name = "ONNX Runtime"

    def __init__(
        self,
        model: ModelFile,
        *,
        threads: int | None = None,
        provider: Provider | None = None,
        allow_cpu: bool = False,
    ) -> None:
        super().__init__(model.manifest.inputs, model.manifest.outputs)
        check_threads(threads)
        if provider is None:
            self._session = _open_session(model, threads, None)
        else:
            known = PROVIDERS[provider]
            self._session = _open_session(model, threads, known)
            on_cpu, total = _left_to_cpu(self._session, known, model)
            name = f"ONNX Runtime with {known.title}"
            self.name = named_with_cpu(name, model.path, on_cpu, total, allow_cpu=allow_cpu)
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
            raise BackendError(f"{self.name} failed while running the network: {message(exc)}") from exc
        return Outputs(score, anomaly_map)

    def _close(self) -> None:
        self._session = None


def _open_session(model: ModelFile, threads: int | None, provider: _Known | None) -> Any:
    try:
        import onnxruntime  # noqa: PLC0415 (the engine library is needed here and nowhere else)
    except ImportError as exc:
        raise BackendError(
            f"ONNX Runtime is not usable on this machine ({message(exc)}); "
            f"install it with: {install_hint('cpu')}"
        ) from exc
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads or 0
    # Its threads spin for the next layer, not for the next part: between parts the processors are free for
    # the thread that takes and prepares the next frame.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    providers: list[Any] = [_CPU]
    if provider is not None:
        options.add_session_config_entry(_RECORD, "1")
        available = onnxruntime.get_available_providers()
        if provider.library not in available:
            raise BackendError(
                f"provider {provider.title}: this ONNX Runtime {onnxruntime.__version__} has no "
                f"{provider.library} (it has {', '.join(available)}); install the package of ONNX Runtime "
                "that has it, such as onnxruntime-gpu, in the place of onnxruntime."
            )
        providers = [(provider.library, provider.options), _CPU]
    try:
        return onnxruntime.InferenceSession(model.content, options, providers=providers)
    except Exception as exc:
        raise BackendError(
            f"{model.path}: {message(exc)}; export the model again or upgrade onnxruntime."
        ) from exc


def _left_to_cpu(session: Any, provider: _Known, model: ModelFile) -> tuple[list[str], int]:
    """The nodes that the provider did not take, by type and name, and the number of all nodes."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        raise BackendError(
            f"{model.path}: this ONNX Runtime does not report which nodes {provider.title} leaves to the "
            "CPU; upgrade it to 1.24 or newer."
        )
    others: list[str] = []
    total = 0
    for group in session.get_provider_graph_assignment_info():
        nodes = group.get_nodes()
        total += len(nodes)
        if group.ep_name != provider.library:
            others += [f"{node.op_type} {node.name}".strip() for node in nodes]
    return others, total


def _nodes(session: Any) -> list[Any]:
    return [*session.get_inputs(), *session.get_outputs()]


def _describe(name: str, dtype: str, shape: list[int | str | None]) -> str:
    # A free dimension has a name of its own or none; the manifest writes it as -1.
    return f"{name} {dtype} {[size if isinstance(size, int) else -1 for size in shape]}"


def _describe_spec(spec: TensorSpec) -> str:
    return _describe(spec.name, _DTYPES[spec.dtype], list(spec.shape))
