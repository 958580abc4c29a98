"""Runs the command line: arguments in, output and exit code out, and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from ast_edge.cli import main
from tests.paths import ROOT


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line on stderr that tells what went wrong."""
        (line,) = self.err.splitlines()
        assert line.startswith("ast-edge: error: ")
        return line.removeprefix("ast-edge: error: ")


Cli = Callable[..., Done]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command in this process."""
    for name in ("MAX_PIXELS", "DEPTH_SCALE"):  # --max-pixels and --depth-scale set them, and are not to last
        monkeypatch.setenv(f"AST_EDGE_{name}", "")

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        done = Done(code, *capsys.readouterr())
        assert "Traceback" not in done.out + done.err
        return done

    return run


@pytest.fixture
def process() -> Cli:
    """Run a command in a fresh process; `before` is Python that runs first, `environment` comes on top."""

    def run(*arguments: object, before: str = "", environment: dict[str, str] | None = None) -> Done:
        script = f"{before}\nimport sys\nfrom ast_edge.cli import main\nsys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", script, *map(str, arguments)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "export"))),
                **(environment or {}),
            },
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert b"Traceback" not in done.stdout + done.stderr
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_part(folder: Path, name: str, pixels: NDArray[np.uint8], depth_m: NDArray[np.float32]) -> Path:
    """rgb/<name>.png and xyz/<name>.tiff as in MVTec 3D-AD; returns the picture."""
    (folder / "xyz").mkdir(parents=True, exist_ok=True)
    xyz = np.stack([np.zeros_like(depth_m), np.zeros_like(depth_m), depth_m], axis=-1)
    tifffile.imwrite(folder / "xyz" / f"{name}.tiff", xyz, photometric="rgb")
    return write_picture(folder / "rgb" / f"{name}.png", pixels)


def refusal(cli: Cli, code: int, *arguments: object) -> str:
    """The one sentence of a command that ends with `code`, after the talk of the stages before it."""
    done = cli(*arguments)
    assert (done.code, done.out) == (code, "")
    *talk, last = done.err.splitlines()
    assert all(
        line.startswith(("checking", "parts: ", "extracting", "training", "evaluating")) for line in talk
    )
    assert last.startswith("ast-edge: error: ")
    assert "internal error" not in last
    return last.removeprefix("ast-edge: error: ")
