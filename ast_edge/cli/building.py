"""What `ast-edge build-engine` reads from its options and prints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ast_edge.backends import engine_build, rtx_build
from ast_edge.backends.engine_build import Options
from ast_edge.cli.reporting import table
from ast_edge.errors import UsageError
from ast_edge.model.engine_file import EngineFile, sidecar_path
from ast_edge.model.engine_info import Batch, BuiltFor, BuiltForRtx


def parse_batch(text: str) -> Batch:
    """`4` is a fixed batch, `1:4:8` a range with the size to be fastest at. Raises UsageError."""
    parts = text.split(":")
    if len(parts) not in (1, 3) or not all(part.isdecimal() and 0 < len(part) < 6 for part in parts):
        raise UsageError(f"--batch {text}: expected a number, as in 1, or MIN:OPT:MAX, as in 1:4:8.")
    sizes = [int(part) for part in parts]
    least, usual, most = sizes if len(sizes) == 3 else sizes * 3
    if not 0 < least <= usual <= most:
        raise UsageError(f"--batch {text}: expected 1 <= MIN <= OPT <= MAX.")
    return Batch(least=least, usual=usual, most=most)


def shown_build(
    model: Path, output: Path | None, options: Options, gpus: tuple[str, ...] | None = None
) -> EngineFile:
    """Build, for RTX where there are `gpus`; an interrupt stops the library too.

    On a terminal there is a bar for each phase.
    """
    stopped = False
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        tasks: dict[str, object] = {}

        def tell(phase: str, step: int, steps: int) -> bool:
            if phase not in tasks:
                tasks[phase] = bar.add_task(phase, total=steps)
            bar.update(tasks[phase], completed=step)  # type: ignore[arg-type]
            return not stopped

        try:
            reporting = replace(options, tell=tell)
            if gpus is not None:
                return rtx_build.build_rtx_engine(model, output, reporting, gpus)
            return engine_build.build_engine(model, output, reporting)
        except KeyboardInterrupt:
            stopped = True
            raise


def built_text(engine: EngineFile) -> str:
    """What was built, for which machine, and how well it was proven."""
    info = engine.info
    build, proven = info.build, info.proven
    batch = build.batch
    sizes = (
        f"{batch.least}" if batch.size != -1 else f"{batch.least} to {batch.most}, fastest at {batch.usual}"
    )
    rows = [
        ("engine", f"{engine.path} ({engine.size / 1e6:.1f} MB), {sidecar_path(engine.path).name}"),
        ("model", f"{info.source} ({engine.manifest.model_id}, {build.precision})"),
        ("for", _machine(info.built_for)),
        ("batch", sizes),
        *(
            (("DLA", f"core {build.dla_core}, {build.dla_fallback_layers} layers on the GPU"),)
            * (build.dla_core is not None)
        ),
    ]
    if info.rtx is not None:
        rows.append(
            ("proof", "pending: the machine that opens it first, or `ast-edge verify` there, proves it")
        )
    elif proven is None:
        rows.append(("proof", "left out (--no-verify); prove it with `ast-edge verify`"))
    else:
        rows += [
            ("references", str(proven.vectors)),
            ("score error", f"{proven.max_relative_score_error:.2g} relative, allowed {proven.tolerance:g}"),
            ("map error", f"{proven.max_absolute_map_error:.2g} absolute"),
            ("result", "the engine reproduces the model"),
        ]
    return table(rows)


def _machine(built: BuiltFor | BuiltForRtx) -> str:
    if isinstance(built, BuiltForRtx):
        capabilities = ", ".join(built.compute_capabilities)
        return f"GPUs of compute capability {capabilities}, TensorRT for RTX {built.tensorrt_rtx}"
    return f"{built.gpu} ({built.compute_capability}), TensorRT {built.tensorrt}"


def built_json(engine: EngineFile) -> str:
    """The sidecar without the manifest, with the engine's path."""
    content = engine.info.model_dump(mode="json", exclude={"manifest"})
    return json.dumps({"path": str(engine.path), "model_id": engine.manifest.model_id, **content})
