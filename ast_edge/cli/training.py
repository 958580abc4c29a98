"""The commands of the workstation: train, evaluate, export, demo. They need the extra `train`."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from ast_edge.cli import evaluating
from ast_edge.cli.evaluating import Data, DeviceOption, need_training
from ast_edge.cli.runtime import DepthScale, MaxPixels
from ast_edge.cli.saying import echo
from ast_edge.errors import InterruptedWorkError, UsageError

if TYPE_CHECKING:
    from ast_edge.train.run import Run

LARGEST_SEED = 2**63 - 1  # limit of PyTorch's generators


def register(app: typer.Typer) -> None:
    """Add the workstation commands to `app`."""
    app.command()(train)
    evaluating.register(app)
    app.command()(export)
    app.command()(demo)


def train(
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="RUN", help="Run folder to write.")],
    mode: Annotated[
        Literal["rgb", "depth", "rgbd"] | None, typer.Option(help="Input that parts are judged by [rgb].")
    ] = None,
    preset: Annotated[
        Literal["paper", "balanced", "nano"] | None, typer.Option(help="Size of the network [balanced].")
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(metavar="NAME:STAGES", help="A timm network and its stages, such as resnet18:2,3."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Backbone weights (safetensors); `seeded`: random [nano: a package; others: timm's].",
        ),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Side of the network's input in pixels.")
    ] = None,
    epochs: Annotated[
        str | None, typer.Option(metavar="N|T,S", help="Epochs of both networks, or of teacher and student.")
    ] = None,
    padding: Annotated[
        Literal["authors", "dynamic"] | None,
        typer.Option(help="Padding of EfficientNet: as in the authors' code, or for the input size used."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Parts per training step [8].")
    ] = None,
    lr: Annotated[float | None, typer.Option(metavar="X", help="Learning rate of Adam.")] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=LARGEST_SEED, help="Seed of all random numbers [0].")
    ] = None,
    aggregation: Annotated[
        str | None,
        typer.Option(
            metavar="mean|max|topK",
            help="Reduction of the anomaly map to the image score; top5: mean of the 5 largest.",
        ),
    ] = None,
    standardise: Annotated[
        Literal["none", "channel"] | None, typer.Option(help="Standardise the features.")
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(metavar="X", min=0.0, help="Gaussian noise on the features while training."),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,W,H|auto",
            help="Crop of the frame in pixels; auto: a box around all good parts.",
        ),
    ] = None,
    roi: Annotated[
        Path | None,
        typer.Option(
            metavar="MASK", help="Look only there: a PNG of the frame's size, or polygons as .json."
        ),
    ] = None,
    ignore: Annotated[
        Path | None,
        typer.Option(
            metavar="MASK", help="Do not look there: a PNG of the frame's size, or polygons as .json."
        ),
    ] = None,
    false_reject_rate: Annotated[
        float | None,
        typer.Option(metavar="FRACTION", help="Fraction of good parts that may be rejected [0.01]."),
    ] = None,
    foreground_min_mm: Annotated[
        float | None,
        typer.Option(
            metavar="MM", min=0.0, help="Minimum distance of foreground from the background in mm [7]."
        ),
    ] = None,
    holdout: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION", help="Fraction held out for the threshold if there is no validation split."
        ),
    ] = None,
    calibration: Annotated[
        Literal["split", "cross"] | None,
        typer.Option(
            help="Parts that the threshold rests on: those held out, or all of them by training on folds too "
            "[split]."
        ),
    ] = None,
    exclude_outliers: Annotated[
        bool,
        typer.Option("--exclude-outliers", help="With cross: leave out good parts that may be defective."),
    ] = False,
    smoothing: Annotated[
        float | None,
        typer.Option(metavar="X", min=0.0, help="Standard deviation of the map's smoothing, in map pixels."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Any other setting, such as student.width=64; repeatable."
        ),
    ] = None,
    mixed_precision: Annotated[bool, typer.Option("--mixed-precision", help="Train in bfloat16.")] = False,
    device: DeviceOption = "auto",
    workers: Annotated[
        int, typer.Option(metavar="N", min=0, help="Number of processes that read pictures.")
    ] = 0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Skip unusable pictures and record them.")
    ] = False,
    mixed_sizes: Annotated[
        bool, typer.Option("--mixed-sizes", help="Allow pictures of several sizes.")
    ] = False,
    _max_pixels: MaxPixels = None,
    _depth_scale: DepthScale = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
) -> None:
    """Train on pictures of good parts and write a run folder.

    Every picture is opened and checked first, so a damaged, blank or differently sized one is reported within
    seconds. A run interrupted by Ctrl-C or killed continues with --resume, to the same result.
    """
    need_training()
    from ast_edge.train.options import AUTO, configured, parse_settings, resumable
    from ast_edge.train.pipeline import TrainRequest
    from ast_edge.train.pipeline import resume as continue_run
    from ast_edge.train.pipeline import train as start_run
    from ast_edge.train.roi import Masks
    from ast_edge.train.run import Run

    changes: dict[str, Any] = {
        "backbone": backbone,
        "backbone.padding": padding,
        "image_size": image_size,
        "batch_size": batch_size,
        "lr": lr,
        "seed": seed,
        "aggregation": aggregation,
        "standardise": standardise,
        "noise": noise,
        "smoothing": smoothing,
        "crop": crop,
        "false_reject_rate": false_reject_rate,
        "foreground_min_m": None if foreground_min_mm is None else foreground_min_mm / 1000,
        "holdout": holdout,
        "calibration": calibration,
        "exclude_outliers": True if exclude_outliers else None,
        "mixed_precision": True if mixed_precision else None,
        "epochs": epochs,
        "mode": mode,
        "preset": preset,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    given |= parse_settings(setting or ())
    masks = Masks(roi, ignore)
    with _continuable(Run(output), data):
        if resume:
            if masks:
                raise UsageError(f"{masks}: a run keeps the masks that it was started with; leave them out.")
            run = resumable(Run(output), {**given, **({} if weights is None else {"weights": weights})})
            continue_run(run, data, device=device, workers=workers)
        else:
            request = TrainRequest(
                data,
                output,
                configured(given),
                "seeded" if weights == "seeded" else None if weights is None else Path(weights),
                device,
                workers,
                crop_around_parts=crop == AUTO,
                skip_bad=skip_bad,
                mixed_sizes=mixed_sizes,
                masks=masks,
            )
            start_run(request)
    _print_run(Run(output))


@contextlib.contextmanager
def _continuable(run: Run, data: Path) -> Iterator[None]:
    """On Ctrl-C, or after a failure during training, print how to continue the run."""
    try:
        yield
    except KeyboardInterrupt as exc:
        if not run.started or run.complete:
            raise
        words = shlex.join(["ast-edge", "train", str(data), "-o", str(run.path), "--resume"])
        raise InterruptedWorkError(f"interrupted; `{words}` continues the run.") from exc


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of `ast-edge train`.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="MODEL", help="Model file to write.")
    ] = Path("model.onnx"),
    batch: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Batch size of the model [1].")
    ] = None,
    dynamic_batch: Annotated[
        bool, typer.Option("--dynamic-batch", help="Leave the batch size free.")
    ] = False,
    precision: Annotated[
        str,
        typer.Option(
            metavar="fp32|fp16|int8", help="Also write this precision beside model.onnx (FP32): a,b for two."
        ),
    ] = "fp16",
    data: Annotated[
        Path | None, typer.Option(metavar="DATA", help="Current folder of the run's data; only for int8.")
    ] = None,
    check_tensorrt: Annotated[
        bool,
        typer.Option(
            "--check-tensorrt", help="Parse and build every graph with NVIDIA's builder; no GPU needed."
        ),
    ] = False,
) -> None:
    """Export a run as one ONNX model, proven to reproduce PyTorch's scores; otherwise nothing is written.

    INT8 ranges come from the run's good parts. INT8 is written if it rejects as many held-out good parts as
    FP32 and, if labelled parts exist, its AUROC is within 0.3 points; layers that prevent this stay in FP32.

    With --check-tensorrt (package extra rtx), TensorRT for RTX builds each graph for all GPUs that it
    supports; layer types are printed, and nothing is written if it refuses a graph.
    """
    need_training()
    from ast_edge.cli.reporting import export_text
    from ast_edge.model.manifest import Precision
    from ast_edge_export import export_run

    if dynamic_batch and batch is not None:
        raise UsageError("--batch and --dynamic-batch exclude each other; give one of them.")
    wanted = [known for known in get_args(Precision) if known in precision.split(",")]
    if len(wanted) != len(precision.split(",")):
        raise UsageError(
            f"--precision {precision}: expected fp32, fp16 or int8, or two of them as fp16,int8."
        )
    if data is not None and "int8" not in wanted:
        raise UsageError("--data is for --precision int8; leave it out.")
    size = -1 if dynamic_batch else batch or 1
    for exported in export_run(
        run, output, batch=size, precisions=wanted, data=data, check_tensorrt=check_tensorrt
    ):
        echo(export_text(exported))


def demo(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write.")] = Path(
        "demo"
    ),
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, max=LARGEST_SEED, help="Seed of all random numbers.")
    ] = 0,
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="Backbone weights (safetensors), or `seeded`.")
    ] = None,
) -> None:
    """Generate a product, train, evaluate, export, verify and inspect: the whole workflow in minutes."""
    need_training()
    from ast_edge.cli.demo import run_demo

    command_line = partial(
        context.find_root().command.main, prog_name=context.find_root().info_name, standalone_mode=False
    )
    run_demo(output, seed=seed, weights=weights, command_line=command_line)


def _print_run(run: Any) -> None:
    from ast_edge.verdict.threshold import statement
    from ast_edge.verdict.tradeoff import more_parts_text, tradeoff, tradeoff_text

    spec = run.spec()
    echo(f"run        {run.path} ({spec.mode}, {spec.preset}, {spec.training_data.train_parts} good parts)")
    if crop := spec.preprocessing.crop:
        echo(f"crop       {crop.width}x{crop.height} pixels at x {crop.x}, y {crop.y}")
    if roi := spec.preprocessing.roi:
        share = roi.pixels(spec.preprocessing.image_size).mean()
        echo(f"masks      {100 * share:.1f} % of {'the crop' if crop else 'the frame'} is looked at")
    echo(f"threshold  {spec.threshold.value:.6g} ({spec.aggregation} of the map)")
    echo(statement(spec.threshold))
    echo(tradeoff_text(tradeoff(spec.calibration.scores, spec.threshold.confidence)))
    echo(more_parts_text(spec.threshold))
    echo(f"next: ast-edge export {run.path} -o model.onnx")
