"""The command `ast-edge benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ast_edge.cli.runtime import AllowCpuOption, BackendOption, ProcessorOption, ProviderOption, engine_of
from ast_edge.cli.saying import echo
from ast_edge.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(benchmark)


def benchmark(
    model: Annotated[
        Path | None,
        typer.Argument(metavar="MODEL", help="Model, or engine built by `ast-edge build-engine`."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL", help="Also measure this model, alternating with the first, to compare them."
        ),
    ] = None,
    backend: BackendOption = None,
    provider: ProviderOption = None,
    device: ProcessorOption = None,
    allow_cpu: AllowCpuOption = False,
    precision: Annotated[
        Literal["fp32", "fp16", "int8"] | None,
        typer.Option(help="Use the file beside MODEL in this precision (model.fp16.onnx)."),
    ] = None,
    frame: Annotated[
        str | None,
        typer.Option(
            metavar="WxH[:FORMAT]", help="Frame, such as 1920x1200:bayer_rggb [training size, rgb]."
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Inspect this picture instead of noise.")
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Number of parts to measure; --against rounds it to blocks of ten."
        ),
    ] = None,
    duration: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0.1, help="Seconds to measure [10].")
    ] = None,
    concurrency: Annotated[
        int, typer.Option(metavar="N", min=1, max=64, help="Parts in flight at a time, one per thread.")
    ] = 1,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Threads of the engine (default: one per core).")
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write all figures and facts about the machine as JSON."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write an HTML page with stage bars and a histogram.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A.json B.json", help="Show two results side by side; nothing is measured."),
    ] = None,
) -> None:
    """Measure the latency from frame to verdict, by stage.

    Warms up until the times have settled, then inspects the same part repeatedly. A percentile is left blank
    if too few parts support it: p99 needs 1000. The load of other programs, memory, power and temperature are
    reported if the machine provides them. The frame is noise unless --picture is given; its content does not
    affect the time.
    """
    from ast_edge.latency.page import result_html
    from ast_edge.latency.result import read_result, write_result
    from ast_edge.latency.run import USUAL_LIMITS, Asked, in_precision
    from ast_edge.latency.run import benchmark as measured
    from ast_edge.latency.stopwatch import Limits
    from ast_edge.latency.text import compared_text, result_text

    if compare is not None:
        if model is not None:
            raise UsageError("--compare takes two result files; leave out MODEL.")
        first, second = map(read_result, compare)
        echo(compared_text(first, second, (str(compare[0]), str(compare[1]))))
        return
    if model is None:
        raise UsageError("give a MODEL to measure, or two results with --compare.")
    if frame is not None and picture is not None:
        raise UsageError("give either --frame or --picture.")
    if against is not None and concurrency != 1:
        raise UsageError("--against measures one part at a time; leave out --concurrency.")
    limits = USUAL_LIMITS if iterations is None and duration is None else Limits(iterations, duration)
    engine = engine_of(backend, provider, device, allow_cpu)
    asked = Asked(engine, frame, picture, limits, concurrency, threads)
    result = measured(model if precision is None else in_precision(model, precision), against, asked)
    echo(result_text(result))  # first, so that an unwritable path does not lose the figures
    if json_file is not None:
        write_result(json_file, result)
    if html is not None:
        from ast_edge.files import write_text

        write_text(html, result_html(result))
