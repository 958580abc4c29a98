"""Shared code of the commands: models by name, results that a dry run only prints, module processes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from ast_edge.files import write_text
from benchmarks.common.paths import ROOT


def named(word: str) -> tuple[str, Path]:
    """Parse an argument NAME=PATH."""
    name, _, path = word.partition("=")
    return name, Path(path)


def keep(result: Mapping[str, object], target: Path, *, dry_run: bool) -> None:
    """Write a result file; a dry run prints it instead."""
    text = json.dumps(result, indent=1) + "\n"
    if dry_run:
        sys.stdout.write(text)
    else:
        write_text(target, text)


def module(name: str, python: str | Path = sys.executable) -> list[str]:
    """Return the command that runs a module of the benchmarks; it needs `environment`."""
    return [str(python), "-m", f"benchmarks.{name}"]


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment, extended so that every Python finds this checkout's packages."""
    paths = (str(ROOT), str(ROOT / "export"), os.environ.get("PYTHONPATH", ""))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path), **more}
