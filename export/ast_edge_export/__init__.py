"""Export of a training run as one ONNX model with a proof of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ast_edge  # noqa: F401  (it switches ONNX Runtime's telemetry off before that is loaded)

if TYPE_CHECKING:
    from ast_edge_export.export import Exported as Exported
    from ast_edge_export.export import export_run as export_run

__all__ = ["Exported", "export_run"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `ast_edge.model.half_precision` can be used without torch.
    if name in __all__:
        from ast_edge_export import export  # noqa: PLC0415

        return getattr(export, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
