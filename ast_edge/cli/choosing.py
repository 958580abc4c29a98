"""What `verify --backend auto` and `build-engine --cpu` do and print: the choice of an engine for the CPU."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import typer

from ast_edge.backends.fastest import kept_here, measure
from ast_edge.cli.reporting import table
from ast_edge.cli.saying import echo
from ast_edge.errors import UsageError
from ast_edge.model.engine_choice import Choice, write_choice
from ast_edge.model.engine_file import EngineFile, read_any
from ast_edge.model.onnx_file import choice_path


def choose_engine(path: Path) -> None:
    """Measure, unless a choice for this machine is kept; nothing for an engine, which has one library."""
    model = read_any(path)
    if isinstance(model, EngineFile):
        return
    kept = kept_here(model)
    if kept.choice is None:
        if kept.void is not None:
            echo(f"measuring again: {kept.void}", err=True)
        measure_engines(path)


def measure_engines(path: Path) -> tuple[Path, Choice]:
    """Measure, and keep the choice beside the model. Raises UsageError for an engine."""
    model = read_any(path)
    if isinstance(model, EngineFile):
        raise UsageError(f"{path}: an engine runs on the GPU; give the model that it was built from.")
    echo("measuring the engines for the CPU", err=True)
    choice = measure(model)
    write_choice(model, choice)
    return choice_path(path), choice


def choice_text(measured: tuple[Path, Choice]) -> str:
    """Every engine with its figures, and the chosen one."""
    path, choice = measured
    chosen = next(one for one in choice.timed if one.backend == choice.chosen)
    rows: list[tuple[str, str]] = [
        (
            one.backend,
            f"{one.name}: median {one.median_ms:.3g} ms, least {one.least_ms:.3g} ms of {one.parts} parts; "
            f"score within {one.proven.max_relative_score_error:.1e} relative",
        )
        for one in choice.timed
    ]
    rows += [(name, f"left out: {why}") for name, why in choice.left_out.items()]
    rows += [("measured on", str(choice.processor)), ("chosen", f"{chosen.name}, kept in {path}")]
    return table(rows)


def choice_json(measured: tuple[Path, Choice]) -> str:
    """The choice as one JSON object, with the path of its file."""
    path, choice = measured
    return json.dumps({"path": str(path), **choice.model_dump(mode="json")})


def refuse_others(context: typer.Context, own: Collection[str]) -> None:
    """Raise UsageError for an option that was given and is not one of `own`."""
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name not in own and source is not None and source.name != "DEFAULT":
            raise UsageError(f"{parameter.opts[0]}: is for engines on a GPU; leave it out with --cpu.")
