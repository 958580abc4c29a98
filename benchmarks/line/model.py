"""A real model for the camera's pictures: captured, trained and exported by the product's commands."""

from __future__ import annotations

from pathlib import Path

import cv2

from ast_edge.cameras.base import Frame
from ast_edge.cameras.opening import open_camera
from ast_edge.cli import main as ast_edge
from ast_edge.errors import LostFrameError
from ast_edge.frames.pixel_formats import decode


def capture(uri: str, folder: Path, count: int) -> None:
    """Write `count` frames of the camera as PNG. Raises RuntimeError if one does not arrive."""
    folder.mkdir(parents=True)
    with open_camera(uri) as camera:
        for number in range(count):
            camera.trigger()
            try:
                frame = camera.read(5.0)
            except LostFrameError:  # a busy machine loses packets occasionally
                camera.trigger()
                frame = camera.read(5.0)
            if not isinstance(frame, Frame) or frame.pixels is None or frame.colour is None:
                raise RuntimeError(f"{uri}: no frame, but {frame}")
            rgb = decode(frame.pixels, frame.colour)
            cv2.imwrite(str(folder / f"{number:04d}.png"), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))


def train(folder: Path, uri: str, *, pictures: int, epochs: int, weights: str) -> Path:
    """Train a model of preset `nano` for the camera's pictures, whose threshold rejects about a fifth."""
    good = folder / "product" / "train" / "good"
    capture(uri, good, pictures)
    run, model = folder / "run", folder / "model.onnx"
    rate = ("--false-reject-rate", "0.2")
    options = (
        "--mode",
        "rgb",
        "--preset",
        "nano",
        "--epochs",
        str(epochs),
        "--weights",
        weights,
        "--seed",
        "0",
    )
    for command in (
        ("train", str(folder / "product"), "-o", str(run), *options, *rate),
        ("export", str(run), "-o", str(model)),
    ):
        if ast_edge(command):
            raise RuntimeError(f"ast-edge {command[0]} failed")
    return model
