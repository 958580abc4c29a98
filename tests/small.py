"""A small synthetic product and trained runs, made once a session; tests of other folders use them too."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from ast_edge.cli import main
from ast_edge.model.manifest import Mode
from ast_edge.synthetic import PartCounts, write_product
from ast_edge.train.run import Run
from tests.paths import ROOT

TRIES, PATIENCE_S = 4, 240
MODES: tuple[Mode, ...] = ("rgb", "depth", "rgbd")
COUNTS = PartCounts(train=24, validation=10, test_good=6, test_per_defect=3)
PARTS = COUNTS.train + COUNTS.validation
EPOCHS = 4
# Seconds on one core: frames of 64 pixels and a map of 8x8 with the 128 channels of one stage.
OPTIONS = (
    *("--preset", "nano", "--weights", "seeded", "--backbone", "resnet18:2"),
    *("--image-size", "64", "--epochs", str(EPOCHS)),
)
# Frames of the small product are 64 pixels square.
LOOKED_AT = {"polygons": [[[14, 12], [52, 12], [52, 47], [14, 47]]]}
MASKED = ("--mode", "rgb", "--crop", "4,2,56,60")


def small_product(factory: pytest.TempPathFactory) -> Path:
    """The product of `COUNTS`, in the layout of MVTec 3D-AD; read only, copy it before you change it."""
    folder = factory.getbasetemp() / "small" / "product"
    if not folder.exists():
        write_product(folder, COUNTS, seed=0, size=64)
    return folder


def small_run(factory: pytest.TempPathFactory, mode: Mode) -> Path:
    """A complete run of `ast-edge train` with `OPTIONS` on the small product; read only."""
    run = factory.getbasetemp() / "small" / f"run-{mode}"
    if not Run(run).complete:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AST_EDGE_CACHE", str(factory.mktemp("cache")))
            # As the processes that are killed: other numbers of threads may round differently.
            torch.set_num_threads(1)
            product = small_product(factory)
            assert main(["train", str(product), "-o", str(run), "--mode", mode, *OPTIONS]) == 0
    return run


def small_model(factory: pytest.TempPathFactory, mode: Mode) -> Path:
    """The exported model of `small_run`, references and FP16 beside it; read only."""
    model = factory.getbasetemp() / "small" / f"model-{mode}" / "model.onnx"
    if not model.exists():
        assert main(["export", str(small_run(factory, mode)), "-o", str(model)]) == 0
    return model


def masked_run(factory: pytest.TempPathFactory) -> Path:
    """A complete run with `OPTIONS` that looks into `LOOKED_AT` of its crop only; read only."""
    folder = factory.getbasetemp() / "small"
    run = folder / "run-masked"
    if not Run(run).complete:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AST_EDGE_CACHE", str(factory.mktemp("cache")))
            torch.set_num_threads(1)
            product = small_product(factory)
            roi = folder / "roi.json"
            roi.write_text(json.dumps(LOOKED_AT))
            assert main(["train", str(product), "-o", str(run), "--roi", str(roi), *MASKED, *OPTIONS]) == 0
    return run


def masked_model(factory: pytest.TempPathFactory) -> Path:
    """The exported model of `masked_run`, references and FP16 beside it; read only."""
    model = factory.getbasetemp() / "small" / "model-masked" / "model.onnx"
    if not model.exists():
        assert main(["export", str(masked_run(factory)), "-o", str(model)]) == 0
    return model


def disturbed(picture: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """A picture of the small product with noise wherever `masked_run` does not look."""
    x, y = LOOKED_AT["polygons"][0][0]
    right, bottom = LOOKED_AT["polygons"][0][2]
    noisy = np.random.default_rng(seed).integers(0, 256, picture.shape, dtype=np.uint8)
    looked_at = slice(y, bottom + 1), slice(x, right + 1)
    noisy[looked_at] = picture[looked_at]
    return noisy


def unsealed(run: Path) -> Path:
    """A complete run made as those of version 0.1, which have no seal: what is in a file decides alone."""
    (run / "seal.json").unlink()
    config = run / "config.json"
    config.write_text(config.read_text().replace('"sealed": true', '"sealed": false'))
    return run


def calibration_scores(run: Path) -> list[tuple[float, float]]:
    """Score and largest map value of every held-out good part, as JSON keeps them: to the last bit."""
    rows = json.loads((run / "calibration.json").read_text())["held_out_parts"]
    return [(row["score"], row["map_maximum"]) for row in rows]


def start_training(*arguments: object, cache: Path) -> subprocess.Popen[str]:
    """`ast-edge train` in a process and a process group of its own, on one thread."""
    # A shell starts its background jobs with Ctrl-C ignored, and they pass that on: a terminal does not.
    script = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from ast_edge.cli import main; sys.exit(main())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script, "train", *map(str, arguments)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "export")]),
            "AST_EDGE_CACHE": str(cache),
            "OMP_NUM_THREADS": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@dataclass(frozen=True)
class Moment:
    """A moment in a run, recognised by its files: whether it has begun, and whether it still lasts."""

    begun: Callable[[Path, Path], bool]
    lasts: Callable[[Path, Path], bool]


def extracted(_run: Path, cache: Path) -> int:
    for progress in cache.glob("features/*/progress.json"):
        return int(json.loads(progress.read_text())["done"])
    return 0


def epochs(run: Path, phase: str) -> int:
    history = run / "history.json"
    rows = json.loads(history.read_text()) if history.exists() else []
    return sum(row["phase"] == phase for row in rows)


def checkpoint_of(run: Path, phase: str) -> int:
    """The epoch of `phase` that the checkpoint holds, 0 for none."""
    path = run / "checkpoint.safetensors"
    if not path.exists():
        return 0
    with safe_open(path, framework="np") as stream:
        position = json.loads(stream.metadata()["position"])
    return int(position["epoch"]) if position["phase"] == phase else 0


MOMENTS = {
    "features": Moment(
        lambda run, cache: extracted(run, cache) > 0,
        lambda run, cache: extracted(run, cache) < PARTS and not epochs(run, "teacher"),
    ),
    # After the first checkpoint: within a later epoch.
    "teacher": Moment(
        lambda run, _: checkpoint_of(run, "teacher") > 0,
        lambda run, _: checkpoint_of(run, "teacher") < EPOCHS,
    ),
    # After the first row of history, which is written just before the checkpoint.
    "student": Moment(
        lambda run, _: epochs(run, "student") > 0,
        lambda run, _: epochs(run, "student") < EPOCHS,
    ),
}


def stop_at(moment: Moment, product: Path, folder: Path, sent: signal.Signals) -> subprocess.Popen[str]:
    """Start a run in `folder`/run and send it a signal at `moment`; it has ended when this returns.

    A machine that stalls may let the moment pass: then the run is started again.
    """
    for _ in range(TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        run, cache = folder / "run", folder / "cache"
        process = start_training(product, "-o", run, *OPTIONS, cache=cache)
        try:
            started = time.monotonic()
            while process.poll() is None and not moment.begun(run, cache):
                assert time.monotonic() - started < PATIENCE_S, "the moment never came"
                time.sleep(0.001)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sent)
            process.wait(PATIENCE_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if not Run(run).complete and moment.lasts(run, cache):
            return process
        process.communicate()
    pytest.fail(f"missed the moment {TRIES} times")
