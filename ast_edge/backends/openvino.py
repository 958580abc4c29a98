"""OpenVINO: the same model files as ONNX Runtime, far faster on the CPU where they are INT8; Intel's GPUs."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ast_edge.backends.base import Backend, Outputs, check_threads
from ast_edge.backends.choice import named_with_cpu
from ast_edge.errors import BackendError, message
from ast_edge.machine.kept import KeptFiles
from ast_edge.machine.processor import this_processor
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import TensorSpec
from ast_edge.model.onnx_file import ModelFile
from ast_edge.telemetry import without_openvino_telemetry
from ast_edge.wording import install_hint

# Networks that OpenVINO compiled for a processor: a file for each network, processor, version and options.
NETWORKS = KeptFiles("openvino", ".network", most_bytes=200_000_000, most_bytes_together=512 << 20)
_OUTPUTS = ("score", "anomaly_map")
_SEVERAL = ("AUTO", "HETERO", "MULTI", "BATCH")
_NO_WORK = ("Parameter", "Constant", "Result")


class OpenVinoBackend(Backend):
    """Runs a checked model file on the CPU with `threads` threads, by default one per core, or on a `device`.

    Computes in FP32 where the graph says so, also on processors that would rather take BF16 or FP16. What was
    compiled for this processor is kept in the cache, which halves the time of later opens. Raises
    BackendError when OpenVINO or the device is missing, cannot load the file, finds other tensors in it than
    its manifest says, or computes on the CPU in the device's place without `allow_cpu`; UsageError for fewer
    than one thread.
    """

    def __init__(
        self, model: ModelFile, *, threads: int | None = None, device: str = "CPU", allow_cpu: bool = False
    ) -> None:
        super().__init__(model.manifest.inputs, model.manifest.outputs)
        check_threads(threads)
        openvino = _library()
        self.name = f"OpenVINO {openvino.__version__.partition('-')[0]}"
        core = openvino.Core()
        if device != "CPU":
            _require_device(core, device)
            self.name += f" on {device}"
        try:
            options = _configuration(threads, device)
            if device == "CPU":
                compiled = _compiled_for_cpu(core, openvino.__version__, model, options)
            else:
                network = core.read_model(model.content)
                compiled = core.compile_model(network, device, options)
        except Exception as exc:
            raise BackendError(
                f"{model.path}: {message(exc)}; export the model again or upgrade openvino."
            ) from exc
        if device != "CPU":
            on_cpu, total = _left_to_cpu(core, network, compiled, device)
            self.name = named_with_cpu(self.name, model.path, on_cpu, total, allow_cpu=allow_cpu)
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
            raise BackendError(f"{self.name} failed while running the network: {message(exc)}") from exc
        return Outputs(score, anomaly_map)

    def _close(self) -> None:
        self._request = None


def _library() -> Any:
    try:
        with without_openvino_telemetry():
            import openvino  # noqa: PLC0415 (the engine library is needed here and nowhere else)
    except ImportError as exc:
        raise BackendError(
            f"OpenVINO is not usable on this machine ({message(exc)}); install it with: "
            f"{install_hint('openvino')}"
        ) from exc
    return openvino


def _compiled_for_cpu(core: Any, version: str, model: ModelFile, configuration: dict[str, object]) -> Any:
    """The kept network, else the network compiled, which is then kept."""
    dependencies = (model.manifest.network_sha256, version, this_processor(), sorted(configuration.items()))
    key = hashlib.sha256(repr(dependencies).encode()).hexdigest()[:32]
    if kept := NETWORKS.read(key):
        # What OpenVINO does not accept is compiled again.
        with contextlib.suppress(RuntimeError):
            return core.import_model(kept, "CPU", configuration)
    compiled = core.compile_model(core.read_model(model.content), "CPU", configuration)
    exported = compiled.export_model()
    NETWORKS.keep(key, exported if isinstance(exported, bytes) else exported.getvalue())
    return compiled


def _require_device(core: Any, device: str) -> None:
    """Raise BackendError for a device that OpenVINO does not find on this machine."""
    kind, _, listed = device.partition(":")
    wanted = listed.split(",") if listed else [] if kind in _SEVERAL else [device]
    found = core.available_devices
    for name in wanted:
        if not any(name in (each, each.partition(".")[0]) for each in found):
            raise BackendError(
                f"device {name}: OpenVINO finds none on this machine (it finds "
                f"{', '.join(found) or 'nothing'}); check its driver, or give another device."
            )


def _left_to_cpu(core: Any, network: Any, compiled: Any, device: str) -> tuple[list[str], int]:
    """The nodes that are computed on the CPU, by type and name, and the number of all nodes."""
    nodes = [node for node in network.get_ops() if node.get_type_name() not in _NO_WORK]
    names = {node.get_friendly_name(): node.get_type_name() for node in nodes}
    running = compiled.get_property("EXECUTION_DEVICES")
    if not any(_is_cpu(each) for each in running):
        return [], len(names)
    placed = core.query_model(network, device) if device.startswith("HETERO") else dict.fromkeys(names, "CPU")
    on_cpu = [f"{kind} {name}" for name, kind in names.items() if _is_cpu(placed.get(name, "CPU"))]
    return on_cpu, len(names)


def _is_cpu(device: str) -> bool:
    return device.strip("()").startswith("CPU")  # AUTO puts the one that it starts with in parentheses


def _configuration(threads: int | None, device: str) -> dict[str, object]:
    chosen: dict[str, object] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if device.startswith("AUTO"):
        # Neither begin on the CPU while another device compiles, nor go there when it fails.
        chosen |= {"ENABLE_STARTUP_FALLBACK": False, "ENABLE_RUNTIME_FALLBACK": False}
    if device != "CPU":
        return chosen
    # Not pinned: two inspectors on one machine would share a core.
    chosen |= {"NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    return chosen if threads is None else {**chosen, "INFERENCE_NUM_THREADS": threads}


def _describe(port: Any, names: set[str]) -> str:
    # A port has several names where OpenVINO has taken nodes for one.
    name = next(iter(names & port.get_names()), port.any_name)
    shape = [-1 if size.is_dynamic else size.get_length() for size in port.partial_shape]
    return f"{name} {np.dtype(port.element_type.to_dtype()).name} {shape}"


def _describe_spec(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype} {list(spec.shape)}"
