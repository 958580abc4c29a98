"""The command `ast-edge compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ast_edge.cli.archiving import RecipeOption, RunOption, SinceOption, UntilOption, query_of
from ast_edge.cli.evaluating import AcceptEscapes, AcceptFalseRejects
from ast_edge.cli.runtime import (
    AllowCpuOption,
    BackendOption,
    DepthScale,
    MaxPixels,
    ProcessorOption,
    ProviderOption,
    engine_of,
)
from ast_edge.cli.saying import command_of, echo
from ast_edge.errors import UsageError

if TYPE_CHECKING:
    from ast_edge.compare.result import Comparison


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(compare)


def compare(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="Model in use.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Model to replace it.")],
    parts: Annotated[
        list[Path],
        typer.Argument(
            metavar="PARTS",
            help="Archives of a station, folders of pictures, folders with good and one folder per kind of "
            "defect, data folders in MVTec layout.",
        ),
    ],
    since: SinceOption = None,
    until: UntilOption = None,
    recipe: RecipeOption = None,
    run: RunOption = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the comparison as one HTML file.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write figures and every part's verdicts.")
    ] = None,
    overlays: Annotated[
        int, typer.Option(metavar="N", min=0, max=1000, help="Changed verdicts with pictures in the HTML.")
    ] = 200,
    fail_if_worse: Annotated[
        bool,
        typer.Option(
            "--fail-if-worse", help="Exit with 1 if NEW has more escapes, false rejects or faults than OLD."
        ),
    ] = False,
    accept_escapes: AcceptEscapes = None,
    accept_false_rejects: AcceptFalseRejects = None,
    duration: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="Seconds to measure the latency.")
    ] = 5.0,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Threads of the engines (default: one per core).")
    ] = None,
    backend: BackendOption = None,
    provider: ProviderOption = None,
    device: ProcessorOption = None,
    allow_cpu: AllowCpuOption = False,
    max_pixels: MaxPixels = None,
    depth_scale: DepthScale = None,
) -> None:
    """Compare two models on the same parts: which verdicts change, error rates, latency.

    A subfolder's name is the kind of its parts, good or a kind of defect; pictures directly in a folder and
    parts of an archive are unlabelled. A part that a model cannot judge is a fault of that model. A station
    may be writing to the archive.

    The limits of --accept-escapes and --accept-false-rejects hold for NEW, as in `ast-edge evaluate`: unless
    each is met the exit code is 1, and files are written all the same.
    """
    from ast_edge.compare.page import comparison_html
    from ast_edge.compare.run import Asked
    from ast_edge.compare.run import compare as compared
    from ast_edge.compare.text import comparison_json, comparison_text, worse_text
    from ast_edge.files import write_text
    from ast_edge.verdict.acceptance import Limits

    for option, target in (("--html", html), ("--json", json_file)):
        if target is not None and target.is_dir():
            raise UsageError(f"{option} {target}: is a folder; give the path of a file to write.")
    given = {
        "--since": since,
        "--until": until,
        "--recipe": recipe,
        "--run": run,
        "--html": html,
        "--json": json_file,
        "--overlays": None if overlays == 200 else overlays,
        "--fail-if-worse": fail_if_worse or None,
        "--accept-escapes": accept_escapes,
        "--accept-false-rejects": accept_false_rejects,
        "--duration": None if duration == 5.0 else duration,
        "--threads": threads,
        "--backend": backend,
        "--provider": provider,
        "--device": device,
        "--allow-cpu": allow_cpu or None,
        "--max-pixels": max_pixels,
        "--depth-scale": depth_scale,
    }
    comparison, pictures = compared(
        Asked(
            old=old,
            new=new,
            places=tuple(parts),
            query=query_of(None, since, until, recipe, run, None, with_picture=False),
            engine=engine_of(backend, provider, device, allow_cpu),
            threads=threads,
            overlays=overlays if html is not None else 0,
            seconds=duration,
            limits=Limits(accept_escapes, accept_false_rejects),
            must_be_labelled=fail_if_worse,
            command=command_of("compare", [old, new, *parts], given),
        )
    )
    echo(comparison_text(comparison))  # first, so that an unwritable path does not lose the figures
    if comparison.acceptance is not None:
        echo(comparison.acceptance.text)
    if fail_if_worse:
        echo(worse_text(comparison))
    if json_file is not None:
        write_text(json_file, comparison_json(comparison))
    if html is not None:
        write_text(html, comparison_html(comparison, pictures))
    if _failed(comparison, fail_if_worse):
        raise typer.Exit(1)


def _failed(comparison: Comparison, fail_if_worse: bool) -> bool:
    refused = comparison.acceptance is not None and not comparison.acceptance.accepted
    return refused or (fail_if_worse and bool(comparison.worse))
