"""The command `ast-edge evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ast_edge.cli.runtime import BackendOption, DepthScale, MaxPixels
from ast_edge.cli.saying import command_of, echo, say_choice
from ast_edge.errors import BackendError, UsageError
from ast_edge.files import printable, write_text
from ast_edge.wording import install_hint

if TYPE_CHECKING:
    from ast_edge.backends import BackendName
    from ast_edge.data import Dataset
    from ast_edge.inspector import Inspector
    from ast_edge.train.report.page import Candidate
    from ast_edge.verdict.acceptance import Limits

DeviceOption = Annotated[str, typer.Option(metavar="auto|cpu|cuda|cuda:N", help="Device of PyTorch.")]
AcceptEscapes = Annotated[
    float | None, typer.Option(metavar="PERCENT", help="Largest share of escapes to accept.")
]
AcceptFalseRejects = Annotated[
    float | None, typer.Option(metavar="PERCENT", help="Largest share of false rejects to accept.")
]
Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA", help="MVTec 3D-AD or MVTec AD layout, or a folder of pictures of good parts."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(evaluate)


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="Run folder or model.onnx.")],
    data: Data,
    defective: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Defective pictures, if DATA is a plain folder.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="RUN|MODEL", help="Compare with this one, on the same parts.")
    ] = None,
    accept_escapes: AcceptEscapes = None,
    accept_false_rejects: AcceptFalseRejects = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", "--html", metavar="FILE", help="Write a report as one HTML file."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures to this file.")
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Also write every part's verdict and score.")
    ] = None,
    device: DeviceOption = "auto",
    threads: Annotated[int | None, typer.Option(metavar="N", min=1, help="Threads of the engine.")] = None,
    backend: BackendOption = None,
    max_pixels: MaxPixels = None,
    depth_scale: DepthScale = None,
) -> None:
    """Evaluate a run or model on labelled parts: AUROC, false-reject and escape rates.

    Pixel figures need masks. A part that cannot be read or judged is a fault, as on the line.

    The limits of --accept-escapes and --accept-false-rejects are compared with the upper bound of the rate at
    95 % confidence (one-sided, Clopper-Pearson), not with the rate itself. Unless each limit is met the exit
    code is 1; report and files are written all the same.
    """
    need_training()
    from ast_edge.verdict.acceptance import Limits

    outputs = {"--report": report, "--json": json_file, "--csv": csv_file}
    for option, target in outputs.items():
        if target is not None and target.is_dir():
            raise UsageError(f"{option} {target}: is a folder; give the path of a file to write.")
    limits = Limits(accept_escapes, accept_false_rejects)
    given = {
        "--defective": defective,
        "--against": against,
        "--accept-escapes": accept_escapes,
        "--accept-false-rejects": accept_false_rejects,
        **outputs,
        "--device": None if device == "auto" else device,
        "--threads": threads,
        "--backend": backend,
        "--max-pixels": max_pixels,
        "--depth-scale": depth_scale,
    }
    engine = Engine(device, threads, backend)
    models = [model] if against is None else [model, against]
    for path in models:
        engine.check(path)
    with ExitStack() as stack:
        opened = [_opened(stack, path, engine, data, defective) for path in models]
        limits.check({part.defect for part in opened[0].dataset.test})
        candidates = [_judged(one) for one in opened]
        accepted = _written(candidates, limits, outputs, command_of("evaluate", [model, data], given))
    if not accepted:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Engine:
    """What judges: options for a run folder and for a model file, None for their defaults."""

    device: str
    threads: int | None
    backend: BackendName | None

    def check(self, model: Path) -> None:
        """UsageError for an option that does not apply to `model`."""
        for option, value in (("--threads", self.threads), ("--backend", self.backend)):
            if model.is_dir() and value is not None:
                raise UsageError(f"{option} is for a model file; a run folder is evaluated by PyTorch.")
        if model.is_file() and self.device not in {"auto", "cpu"}:
            raise UsageError(
                f"--device {self.device} is for a run folder; a model file is evaluated on the CPU."
            )

    def open(self, model: Path) -> Inspector:
        """Open an inspector for `model`."""
        from ast_edge.train.evaluate import open_model

        return open_model(model, device=self.device, threads=self.threads, backend=self.backend)


@dataclass(frozen=True)
class _Opened:
    """A model and the parts that it will judge."""

    path: Path
    inspector: Inspector
    dataset: Dataset


def _opened(stack: ExitStack, path: Path, engine: Engine, data: Path, defective: Path | None) -> _Opened:
    from ast_edge.train.evaluate import parts_to_test

    inspector = stack.enter_context(engine.open(path))
    say_choice(inspector)
    return _Opened(path, inspector, parts_to_test(data, inspector, defective))


def _judged(opened: _Opened) -> Candidate:
    from ast_edge.train.evaluate import figures, judge
    from ast_edge.train.report.page import Candidate

    judged = judge(opened.inspector, opened.dataset)
    evaluation = figures(judged, opened.inspector, opened.dataset)
    return Candidate(opened.path, opened.inspector, judged, evaluation)


def _written(
    candidates: list[Candidate], limits: Limits, outputs: Mapping[str, Path | None], command: str
) -> bool:
    """Print the figures and write what was asked for; return whether the limits are met."""
    from ast_edge.cli.evaluation_text import evaluation_json, evaluation_text, side_by_side_text
    from ast_edge.train.report.page import Extras, report_html
    from ast_edge.train.report.parts import parts_csv
    from ast_edge.train.side_by_side import side_by_side
    from ast_edge.verdict.acceptance import acceptance

    first, second = candidates[0], candidates[1] if len(candidates) > 1 else None
    decision = acceptance(first.evaluation.counts, limits)
    compared = (
        None if second is None else side_by_side(first.evaluation, second.evaluation, printable(second.path))
    )
    if (target := outputs["--report"]) is not None:
        write_text(target, report_html(first, command, Extras(second, compared, decision)))
    if (target := outputs["--json"]) is not None:
        write_text(target, evaluation_json(first.evaluation, compared, decision))
    if (target := outputs["--csv"]) is not None:
        write_text(target, parts_csv([candidate.evaluation for candidate in candidates]))
    echo(evaluation_text(first.evaluation))
    if compared is not None:
        echo(side_by_side_text(printable(first.path), first.evaluation, compared))
    if decision is not None:
        echo(decision.text)
    return decision is None or decision.accepted


def need_training() -> None:
    """BackendError naming the packages of the extra `train` that are missing."""
    import importlib.util

    missing = [
        name for name in ("torch", "timm", "FrEIA", "onnx", "sklearn") if not importlib.util.find_spec(name)
    ]
    if missing:
        raise BackendError(
            f"training, evaluation and export need {', '.join(missing)}, which this Python does not have; "
            f"install it with: {install_hint('train')}"
        )
