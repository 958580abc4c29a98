"""Shared code of the commands: models by name, results that a dry run only prints, module processes."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ast_edge.files import write_text
from benchmarks.common.paths import ROOT

if TYPE_CHECKING:
    from ast_edge.model.manifest import Mode
    from ast_edge.train.config import PresetName


def named(word: str) -> tuple[str, Path]:
    """Parse an argument NAME=PATH."""
    name, _, path = word.partition("=")
    return name, Path(path)


class Untrained(NamedTuple):
    """A model with random weights: a preset in a mode, with `int8` also in INT8."""

    preset: PresetName
    mode: Mode
    int8: bool = False


@contextmanager
def models_of(given: Sequence[tuple[str, Path]], made: Sequence[Untrained]) -> Iterator[dict[str, Path]]:
    """The models `given`, by name; without any, those `made` for as long as the context lasts."""
    if given:
        yield dict(given)
        return
    from ast_edge.train.config import preset  # noqa: PLC0415 (imports torch)
    from benchmarks.common.untrained import write_model  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for name, mode, int8 in made:
            target = Path(folder) / f"{name}_{mode}.onnx"
            write_model(target.stem, preset(name, mode), Path(folder), int8=int8)
            found[f"{name} {mode}"] = target
            if int8 and (other := target.with_name(f"{target.stem}.int8.onnx")).exists():
                found[f"{name} {mode} int8"] = other
        yield found


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
