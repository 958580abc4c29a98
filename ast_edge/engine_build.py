"""Model file to TensorRT engine, on the device that will run it.

This version holds the first part of that way: the checks of the model file and of the machine. They look for
a usable driver before anything else, because creating a TensorRT object without one ends the process.
"""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path
from typing import NoReturn

from ast_edge.errors import BackendError, UsageError
from ast_edge.model_file import read_model_file

_HOW_TO_GET_THEM = (
    "on a Jetson both come with JetPack (`sudo apt install nvidia-jetpack`, then a virtual environment made "
    "with --system-site-packages), on a desktop with the NVIDIA driver and "
    '`pip install "ast-edge[tensorrt]"`'
)


def build_engine(model: Path, output: Path | None = None) -> NoReturn:
    """Check the model file and the machine, then say why there is no engine yet.

    `output` is the engine file, by default the model's path with the suffix `.engine`; nothing is written.

    Raises ModelError when the model file is refused, UsageError when `output` is no possible engine file,
    BackendError when this machine lacks TensorRT or a driver, and otherwise BackendError too, because this
    version of ast-edge does not build engines.
    """
    read_model_file(model)
    target = _engine_path(model, output)
    missing = missing_for_tensorrt()
    if missing:
        raise BackendError(
            f"{target} cannot be built on this machine: {' and '.join(missing)}; {_HOW_TO_GET_THEM}."
        )
    raise BackendError(
        f"{target} was not built: TensorRT and a driver are here, but this version of ast-edge runs ONNX "
        f"models only; use {model} as it is."
    )


def missing_for_tensorrt() -> tuple[str, ...]:
    """What this machine lacks to build or run engines, in words; empty when nothing is missing."""
    found = (_tensorrt_problem(), _driver_problem())
    return tuple(problem for problem in found if problem)


def _engine_path(model: Path, output: Path | None) -> Path:
    target = model.with_suffix(".engine") if output is None else output
    if target.suffix != ".engine":
        raise UsageError(f"{target}: an engine file ends in .engine; give another path with -o.")
    if target.is_dir():
        raise UsageError(f"{target}: this is a folder; give the path of the engine file with -o.")
    return target


def _tensorrt_problem() -> str | None:
    # find_spec instead of an import: it answers in microseconds and loads no library.
    return None if importlib.util.find_spec("tensorrt") else "the Python package tensorrt is not installed"


def _driver_problem() -> str | None:
    """Why the CUDA driver is not usable, or None; cuInit makes no context and leaves the GPU alone."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver (libcuda.so.1 is not found)"
    status = int(driver.cuInit(0))
    return f"the NVIDIA driver finds no usable GPU (cuInit answers {status})" if status else None
