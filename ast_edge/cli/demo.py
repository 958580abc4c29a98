"""The whole workflow on a synthetic product, run through the same commands that a user types."""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ast_edge.cli.saying import echo
from ast_edge.errors import UsageError, WeightsError
from ast_edge.files import write_text

if TYPE_CHECKING:
    from ast_edge.model.manifest import Mode
    from ast_edge.train.config import PresetName

MARKER = "ast-edge-demo.json"
MODE: Mode = "rgbd"
PRESET: PresetName = "nano"
PICTURES_TO_INSPECT = 10
# With this few training parts a good one occasionally scores high; at 1 % it would set the threshold.
FALSE_REJECT_RATE = 0.05
RANDOM_BACKBONE = (
    "Pretrained weights of the backbone are not available here: the demo uses random ones (seeded, "
    "batch norm calibrated), so its figures show that the workflow runs, not how good AST is."
)


def run_demo(
    folder: Path, *, seed: int, weights: str | None, command_line: Callable[[list[str]], int | None]
) -> None:
    """Fill `folder` with a product, a run, a model, figures and overlays, and print where they are.

    `command_line` runs one command of `ast-edge` and returns its exit code, None for success. The folder of
    an earlier demo is replaced; UsageError for any other that exists and is not empty.
    """
    started = time.monotonic()
    call = partial(_call, command_line)
    _clear(folder)
    if weights is None and not _pretrained():
        weights = "seeded"
    warning = RANDOM_BACKBONE if weights == "seeded" else None
    if warning:
        echo(warning)
    product, run, model = folder / "product", folder / "run", folder / "model.onnx"
    _make_product(product, seed)
    training = ("--mode", MODE, "--preset", PRESET, "--seed", seed, "--false-reject-rate", FALSE_REJECT_RATE)
    given = () if weights is None else ("--weights", weights)
    call("train", product, "-o", run, *given, *training)
    call("export", run, "-o", model)
    report = folder / "report.html"
    call("evaluate", model, product, "--json", folder / "evaluation.json", "--report", report)
    call("verify", model)
    call("inspect", model, "--overlay", folder / "overlays", pictures=_pictures(product, seed))
    echo(f"\nThe demo took {time.monotonic() - started:.0f} s. Look at:")
    for path, what in (
        (folder / "overlays", "pictures with heat map, outline and score"),
        (report, "evaluation report, for a browser"),
        (folder / "evaluation.json", "figures"),
        (model, "the model; try `ast-edge info` on it"),
        (product, "the product's pictures, depth maps and masks"),
    ):
        echo(f"  {path}  {what}")
    if warning:
        echo(warning)


def _clear(folder: Path) -> None:
    if folder.is_dir() and (folder / MARKER).is_file():
        shutil.rmtree(folder)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: exists and is not an earlier demo; name another folder with --output.")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / MARKER, json.dumps({"made_by": "ast-edge demo"}))


def _pretrained() -> bool:
    """Return whether `train` can load pretrained weights for the backbone, installed or downloaded."""
    from ast_edge.train.backbone import build_trunk, pretrained_weights
    from ast_edge.train.config import preset

    config = preset(PRESET, MODE)
    try:
        pretrained_weights(build_trunk(config.backbone, config.image_size), config.backbone)
    except WeightsError:
        return False
    return True


def _make_product(product: Path, seed: int) -> None:
    from ast_edge.synthetic import PartCounts, write_product

    counts = PartCounts(train=96, validation=99, test_good=24, test_per_defect=8)
    echo(f"generating a product in {product}")
    write_product(product, counts, seed=seed)


def _pictures(product: Path, seed: int) -> list[Path]:
    pictures = sorted(product.glob("test/*/rgb/*.png"))
    return sorted(random.Random(seed).sample(pictures, PICTURES_TO_INSPECT))  # noqa: S311  # a choice, no secret


def _call(
    command_line: Callable[[list[str]], int | None], *arguments: Any, pictures: Sequence[Path] = ()
) -> None:
    """Print a command as a user would type it, and run it; only the first of many `pictures` is printed."""
    words = [str(argument) for argument in arguments]
    shown = [*words, f"{pictures[0]} ... ({len(pictures)} pictures)"] if pictures else words
    echo(f"\n$ ast-edge {' '.join(shown)}")
    sys.stdout.flush()
    if code := command_line([*words, *map(str, pictures)]):
        raise typer.Exit(code)
