"""With AST_EDGE_KERNELS=1, the wheel holds the kernels that prepare frames, compiled for one processor.

AST_EDGE_CXX names the compiler, g++ by default; a cross-compiler makes a wheel for its processor. The library
is called with ctypes, so the wheel fits every version of Python 3. Without the variable the wheel is pure.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class KernelsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles the library and adds it to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by Hatchling before a build; `version` is standard or editable."""
        if os.environ.get("AST_EDGE_KERNELS") != "1" or version != "standard":
            return
        sys.path.insert(0, self.root)
        from ast_edge.cuda import host_build, sources  # noqa: PLC0415 (from this very tree)

        compiler = os.environ.get("AST_EDGE_CXX", "g++")
        self._folder = tempfile.TemporaryDirectory()
        made = host_build.build(Path(self._folder.name) / sources.LIBRARY.name, compiler)
        build_data["force_include"][str(made)] = f"ast_edge/cuda/{made.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-linux_{host_build.machine_of(compiler)}"

    def finalize(self, _version: str, _build_data: dict[str, Any], _artifact_path: str) -> None:
        """Called when the wheel is written."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()
