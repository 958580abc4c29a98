"""The commands that run on the device: inspect, verify, info, build-engine. None of them needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ast_edge.cli.saying import echo, say_choice
from ast_edge.errors import UsageError

if TYPE_CHECKING:
    from ast_edge.backends.choice import BackendName, Engine, Provider

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="Model file made by `ast-edge export`.")]
BackendOption = Annotated[
    Literal["auto", "onnxruntime", "openvino", "tensorrt"] | None,
    typer.Option(help="Engine library [auto: the faster one if `verify` measured, else ONNX Runtime]."),
]

ProviderOption = Annotated[
    Literal["cuda", "tensorrt", "nvtensorrtrtx"] | None,
    typer.Option(help="Execution provider of ONNX Runtime [the CPU]."),
]
ProcessorOption = Annotated[
    str | None,
    typer.Option("--device", metavar="GPU|NPU|AUTO", help="Device of OpenVINO [CPU]."),
]
AllowCpuOption = Annotated[
    bool,
    typer.Option("--allow-cpu", help="Accept that provider or device leave nodes to the CPU."),
]


def engine_of(
    backend: BackendName | None, provider: Provider | None, device: str | None, allow_cpu: bool
) -> Engine:
    """The options as one value; UsageError for a combination that there is not."""
    from ast_edge.backends.choice import Engine

    return Engine(backend, provider, device, allow_cpu)


def _limit_pixels(count: int | None) -> int | None:
    if count is not None:
        from ast_edge.frames.reading import set_max_pixels

        set_max_pixels(count)
    return count


def _scale_depth(metres: float | None) -> float | None:
    if metres is not None:
        from ast_edge.frames.reading import set_depth_scale

        set_depth_scale(metres)
    return metres


MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        metavar="N",
        min=1,
        callback=_limit_pixels,
        help="Accept pictures of up to N pixels [178956970].",
    ),
]
DepthScale = Annotated[
    float | None,
    typer.Option(
        "--depth-scale",
        metavar="METRES",
        callback=_scale_depth,
        help="One unit of depth maps of 16-bit integers; 0.001 if they hold millimetres.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def register(app: typer.Typer) -> None:
    """Add the runtime commands to `app`."""
    app.command()(inspect)
    app.command()(calibrate)
    app.command()(verify)
    app.command()(info)
    app.command("build-engine")(build_engine)


def inspect(
    model: ModelArgument,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="Pictures, or folders with pictures directly in them."),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per picture and line.")
    ] = False,
    overlay: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write pictures with heat map, outline and score to this folder."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Threads of the engine (default: one per core).")
    ] = None,
    backend: BackendOption = None,
    provider: ProviderOption = None,
    device: ProcessorOption = None,
    allow_cpu: AllowCpuOption = False,
    fail_on_reject: Annotated[
        bool, typer.Option("--fail-on-reject", help="Exit with 1 when a part is rejected.")
    ] = False,
    _max_pixels: MaxPixels = None,
    _depth_scale: DepthScale = None,
) -> None:
    """Judge pictures: pass, reject or fault.

    A folder is a folder of pictures, or a data folder in the layout of training, of which every picture is
    judged. Models with depth read the depth map that belongs to the picture (rgb/000.png, xyz/000.tiff or
    xyz/000.png). A picture that cannot be judged is a fault: the others are still judged, and the exit code
    is 1. A reject is a result, not an error, unless --fail-on-reject is given.
    """
    from ast_edge.cli.inspecting import Report, find_pictures, inspect_pictures, plan_overlays
    from ast_edge.inspector import Inspector

    pictures = find_pictures(paths)
    overlays = plan_overlays(pictures, overlay) if overlay is not None else {}
    engine = engine_of(backend, provider, device, allow_cpu)
    with Inspector.open(model, threads=threads, backend=engine) as inspector:
        say_choice(inspector)
        report = Report(inspector.spec.threshold.value, pictures, overlay)
        for result in inspect_pictures(inspector, pictures, overlays):
            report.add(result)
            echo(result.as_json() if as_json else report.line(result))
    echo(report.summary(), err=as_json)
    if report.counts["fault"] or (fail_on_reject and report.counts["reject"]):
        raise typer.Exit(1)


def calibrate(
    model: ModelArgument,
    good_parts: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="GOOD_PARTS", help="Pictures of good parts, or folders of them; none used in training."
        ),
    ] = None,
    false_reject_rate: Annotated[
        float | None,
        typer.Option(metavar="FRACTION", help="Fraction of good parts that may be rejected [unchanged]."),
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(metavar="FRACTION", help="Confidence of the reported bound [unchanged].")
    ] = None,
    operator: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who calibrates [the logged-in user].")
    ] = None,
    restore: Annotated[
        int | None, typer.Option(metavar="REVISION", min=1, help="Restore an earlier threshold.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(metavar="SCORE", help="Set this threshold, such as one chosen in a report."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the threshold, write nothing.")] = False,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Threads of the engine (default: one per core).")
    ] = None,
    backend: BackendOption = None,
    provider: ProviderOption = None,
    device: ProcessorOption = None,
    allow_cpu: AllowCpuOption = False,
    _max_pixels: MaxPixels = None,
    _depth_scale: DepthScale = None,
    as_json: JsonOption = False,
) -> None:
    """Recompute a model's threshold from good parts, on the machine and under the lighting of the line.

    Parts used in training score too low and are refused. The new threshold is written into the model file
    as a new revision; earlier ones stay in the file, with operator and time, and --restore brings one back.
    For --threshold, the model's held-out good parts tell how many good parts will be rejected; they know it
    only of a value that was chosen on other parts. The network is not changed.
    """
    from ast_edge.cli.calibrating import Asked, Restore, changed_json, changed_text, new_revision
    from ast_edge.model.engine_file import read_any, rewrite_any

    file = read_any(model)
    sources = (good_parts or None, None if restore is None else Restore(restore), threshold)
    given = [source for source in sources if source is not None]
    if len(given) != 1:
        raise UsageError("give either good parts, or --restore REVISION, or --threshold SCORE.")
    if not good_parts and (false_reject_rate is not None or confidence is not None):
        raise UsageError("--false-reject-rate and --confidence are for good parts; leave them out.")
    engine = engine_of(backend, provider, device, allow_cpu)
    asked = Asked(false_reject_rate, confidence, operator, threads, engine)
    new = new_revision(file, given[0], asked=asked)
    if not dry_run:
        rewrite_any(file, new)
    echo((changed_json if as_json else changed_text)(file, new, written=not dry_run))


def verify(
    model: ModelArgument,
    backend: BackendOption = None,
    provider: ProviderOption = None,
    device: ProcessorOption = None,
    allow_cpu: AllowCpuOption = False,
    as_json: JsonOption = False,
) -> None:
    """Prove that this machine's engine reproduces the scores of training.

    Runs the model's reference vectors through the engine and compares scores, maps and verdicts. The
    proof of an engine for RTX is written beside it, so that services without write access can open it.

    With --backend auto, the engines for the CPU are measured once: the faster one is kept in
    model.onnx.choice.json and taken from then on, unless another backend is named.
    """
    from ast_edge.backends import open_backend
    from ast_edge.backends.first_proof import record_where_pending
    from ast_edge.backends.proof import SCORE_TOLERANCE, prove
    from ast_edge.cli.choosing import choose_engine
    from ast_edge.cli.reporting import failed_parity, parity_json, parity_text
    from ast_edge.model.references import load_references

    wanted = engine_of(backend, provider, device, allow_cpu)
    if backend == "auto":
        choose_engine(model)
    file, engine = open_backend(model, backend=wanted, unproven=True)
    with engine:
        references, source = load_references(file)
        parity = prove(engine, references, file.manifest, SCORE_TOLERANCE[file.manifest.precision])
        if parity.ok:
            record_where_pending(file, engine, parity)
    echo((parity_json if as_json else parity_text)(file, engine, source, parity))
    if not parity.ok:
        raise failed_parity(file, engine.name, parity)


def info(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Model, engine, or run folder of `ast-edge train`.")
    ],
    other: Annotated[
        Path | None,
        typer.Argument(metavar="OTHER", help="Compare with this one: only differences are shown."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Describe a model: mode, sizes, threshold and the data behind it."""
    from ast_edge.cli.describing import describe, differences_text, info_json, info_text

    found = [describe(path) for path in (model, *(() if other is None else (other,)))]
    if as_json:
        texts = [info_json(one) for one in found]
        echo(texts[0] if other is None else f"[{', '.join(texts)}]")
    else:
        echo(info_text(found[0]) if other is None else differences_text(found[0], found[1]))


def build_engine(
    context: typer.Context,
    model: ModelArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Engine file [beside the model]."),
    ] = None,
    library: Annotated[
        Literal["tensorrt", "rtx"],
        typer.Option("--for", help="TensorRT, for this GPU; or TensorRT for RTX, for other machines."),
    ] = "tensorrt",
    gpu: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|SM|all",
            help="GPUs to build for with --for rtx: rtx-4060, sm89, all [all since Ampere].",
        ),
    ] = None,
    precision: Annotated[
        Literal["fp16", "fp32", "int8"], typer.Option(help="Of trunk and student; the rest is FP32.")
    ] = "fp16",
    batch: Annotated[
        str, typer.Option(metavar="N|MIN:OPT:MAX", help="Parts at once: a fixed number or a range.")
    ] = "1",
    workspace_mib: Annotated[
        int | None,
        typer.Option(
            metavar="MIB", min=1, help="Memory for trying layers [half of what is free, at most 4096]."
        ),
    ] = None,
    timing_cache: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Measurements of earlier builds [in the cache folder]."),
    ] = None,
    optimization_level: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=5,
            help="0 builds fast, 5 searches longest [TensorRT's own]; 8.6 or newer.",
        ),
    ] = None,
    version_compatible: Annotated[
        bool,
        typer.Option("--version-compatible", help="Let later TensorRT versions run it; 8.6 or newer."),
    ] = False,
    hardware_compatible: Annotated[
        bool,
        typer.Option("--hardware-compatible", help="Let every GPU from Ampere on run it; 8.6 or newer."),
    ] = False,
    dla: Annotated[
        int | None,
        typer.Option(metavar="CORE", min=0, help="Use this deep-learning accelerator of a Jetson."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write every layer's precision, tactic and fusion as JSON."),
    ] = None,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Leave out the proof on the reference vectors.")
    ] = False,
    cpu: Annotated[
        bool,
        typer.Option(
            "--cpu", help="Build nothing: measure the engines for the CPU, and keep the faster one."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Build a TensorRT engine on the device that will run it, and prove it on the reference vectors.

    With --for rtx, build on any machine for desktop GPUs, from Turing (RTX 20) to Blackwell (RTX 50); no GPU
    is needed. The machine that opens model.rtx.engine first proves it.

    FP16 is built from model.fp16.onnx beside the model, which is written first if it is not there and the
    package onnx is. An engine that does not give the model's scores is not written. It runs on this GPU with
    this TensorRT; build it again after an update of either.

    With --cpu, the engines for the CPU are proven and measured, and the faster one is kept in
    model.onnx.choice.json: it is taken from then on, unless another backend is named.
    """
    if cpu:
        from ast_edge.cli.choosing import choice_json, choice_text, measure_engines, refuse_others

        refuse_others(context, ("model", "cpu", "as_json"))
        echo((choice_json if as_json else choice_text)(measure_engines(model)))
        return
    from ast_edge.backends.engine_build import Options
    from ast_edge.cli.building import built_json, built_text, parse_batch, shown_build
    from ast_edge.trt.gpus import parse_gpus

    options = Options(
        precision=precision,
        batch=parse_batch(batch),
        workspace_mib=workspace_mib,
        timing_cache=timing_cache,
        optimization_level=optimization_level,
        version_compatible=version_compatible,
        hardware_compatible=hardware_compatible,
        dla_core=dla,
        verify=not no_verify,
        report=report,
        say=lambda text: echo(text, err=True),
    )
    if gpu is not None and library != "rtx":
        raise UsageError("--gpu is for --for rtx; TensorRT builds for the GPU of this machine: leave it out.")
    gpus = None if library == "tensorrt" else parse_gpus(gpu or "all")
    engine = shown_build(model, output, options, gpus)
    echo((built_json if as_json else built_text)(engine))
