"""The command `ast-edge collect`, which collects pictures of parts on the line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ast_edge.cli.saying import echo


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(collect)


def collect(
    config: Annotated[
        Path, typer.Argument(metavar="LINE_TOML", help="Configuration of the line; [recipes] may be missing.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PARTS", help="Folder to collect into, or to continue.")
    ],
    parts: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Exit when PARTS has N of this kind [runs until SIGTERM]."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Collect for evaluation: a kind of defect, or `good` [good parts to train on].",
        ),
    ] = None,
    false_reject_rate: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            help="Fraction of good parts that may be rejected; decides what is enough [0.01].",
        ),
    ] = None,
    min_free_gb: Annotated[
        float,
        typer.Option(metavar="GB", min=0.0, help="Stop before less of the disk is free (GB, 10^9 bytes)."),
    ] = 1.0,
) -> None:
    """Collect pictures of parts with the cameras and triggers of a line, without outputs and verdicts.

    A picture is stored only if it shows the part of its trigger, by the rules of `ast-edge run`. Pictures are
    PNG, depth maps TIFF, in the layout that `train` and `evaluate` read; parts.jsonl has a line for each.
    After Ctrl-C, a kill or a full disk the same command continues; a removed picture is replaced.
    """
    from ast_edge.line.collect.collecting import Wish
    from ast_edge.line.collect.collecting import collect as run
    from ast_edge.line.service.config import read_collect_config
    from ast_edge.verdict.threshold import USUAL_FALSE_REJECT_RATE

    wish = Wish(
        folder=output,
        parts=parts,
        label=label,
        false_reject_rate=USUAL_FALSE_REJECT_RATE if false_reject_rate is None else false_reject_rate,
        min_free_gb=min_free_gb,
    )
    found = run(read_collect_config(config), wish)
    kind = "good parts" if label is None else f"parts, {label}"
    echo(f"{'parts':<10} {found.parts} {kind} in {output}, {found.new} of them new")
    for title, text in found.lines:
        echo(f"{title:<10} {text}")
    if found.error is not None:
        raise found.error
