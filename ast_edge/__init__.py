"""AST edge: train on good parts, export one ONNX model, inspect on the line.

Importing the package loads nothing heavy; `Inspector` loads NumPy, Pillow and pydantic on first access, and
never torch. The import switches the telemetry of ONNX Runtime off for the whole process.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ast_edge.telemetry import switch_off
from ast_edge.version import VERSION

if TYPE_CHECKING:
    from ast_edge.inspector import Inspection, Inspector

__version__ = VERSION
__all__ = ["Inspection", "Inspector", "__version__"]

switch_off()


def __getattr__(name: str) -> object:
    # Lazy, to keep `ast-edge --help` and `ast_edge.errors` fast.
    if name in ("Inspection", "Inspector"):
        value: object = getattr(importlib.import_module("ast_edge.inspector"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'ast_edge' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
