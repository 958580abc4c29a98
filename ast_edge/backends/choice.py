"""Which library runs a model, and on which processor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ast_edge.errors import BackendError, UsageError

BackendName = Literal["auto", "onnxruntime", "openvino", "tensorrt"]
Provider = Literal["cuda", "tensorrt", "nvtensorrtrtx"]
_NAMED = 5  # nodes in a message


@dataclass(frozen=True)
class Engine:
    """A library and where it computes; on the CPU unless `provider` or `device` says otherwise.

    Without a backend, or with `auto`, it is the one that was measured as the faster (see
    `ast_edge.model.engine_choice`), or ONNX Runtime where nothing was measured.
    `provider` is an execution provider of ONNX Runtime, `device` a device of OpenVINO: `GPU`, `NPU`, `AUTO`,
    or one of several, `GPU.1`. What they leave to the CPU, wholly or node by node, is refused unless
    `allow_cpu`: it would be far slower than what was asked for. Raises UsageError for a combination that
    there is not.
    """

    backend: BackendName | None = None
    provider: Provider | None = None
    device: str | None = None
    allow_cpu: bool = False

    def __post_init__(self) -> None:
        if self.provider is not None and self.backend not in (None, "onnxruntime"):
            raise UsageError(f"provider {self.provider}: is for ONNX Runtime, not for {self.backend}.")
        if self.device is not None and self.backend != "openvino":
            raise UsageError(f"device {self.device}: is for OpenVINO; give the backend openvino, too.")
        if self.allow_cpu and self.provider is None and self.device is None:
            raise UsageError("allow-cpu: is for a provider or a device; without either the CPU computes.")


def named_with_cpu(engine: str, model: object, nodes: Sequence[str], total: int, *, allow_cpu: bool) -> str:
    """The name of an engine that leaves `nodes`, some of `total`, to the CPU, with their number.

    Raises BackendError if there are any and `allow_cpu` is false.
    """
    if not nodes:
        return engine
    if allow_cpu:
        return f"{engine} ({len(nodes)} of {total} nodes on the CPU)"
    which = "all" if len(nodes) == total else f"{len(nodes)} of {total}"
    shown = ", ".join(nodes[:_NAMED]) + (", ..." if len(nodes) > _NAMED else "")
    raise BackendError(
        f"{model}: {engine} leaves {which} nodes of the network to the CPU ({shown}); check its driver and "
        "libraries, or accept that with --allow-cpu."
    )
