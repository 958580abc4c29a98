"""Lines that collect from folders of pictures, and checks of everything that they wrote."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ast_edge.frames.reading import read_image, read_xyz
from ast_edge.line.collect.collecting import Collected, Wish, collect
from ast_edge.line.collect.record import CollectedPart
from ast_edge.line.service.config import read_collect_config
from ast_edge.synthetic.part import render

SIZE = 64
USUAL = '[trigger]\nkind = "timer"\nper_s = 40\n[timing]\ndeadline_ms = 20000\npicture_within_ms = 20000\n'

Pixels = NDArray[np.uint8]


@cache
def scene(number: int, size: int = SIZE) -> Pixels:
    """A generated good part."""
    return np.asarray(render(number, None, size=size).image, np.uint8)


def shoot(folder: Path, pictures: list[Pixels], depths: list[NDArray[np.float32]] | None = None) -> Path:
    """Write the pictures that a camera is to see, in the order of names; with depth maps into rgb and xyz."""
    here = folder if depths is None else folder / "rgb"
    here.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        assert cv2.imwrite(str(here / f"shot{number:03d}.png"), picture[..., ::-1])
    for number, depth_m in enumerate(depths or ()):
        (folder / "xyz").mkdir(exist_ok=True)
        xyz = np.zeros((*depth_m.shape, 3), np.float32)
        xyz[..., 0] = depth_m
        assert cv2.imwrite(str(folder / "xyz" / f"shot{number:03d}.tiff"), xyz)
    return here


def line(folder: Path, camera: str, more: str = USUAL) -> Path:
    """A line.toml without recipes."""
    folder.mkdir(exist_ok=True)
    file = folder / "line.toml"
    file.write_text(f'[camera]\nuri = "{camera}"\n{more}')
    return file


def collected(
    toml: Path,
    folder: Path,
    parts: int | None = None,
    *,
    label: str | None = None,
    rate: float = 0.01,
    min_free_gb: float = 0.0,
) -> Collected:
    """Collect as the command does."""
    wish = Wish(folder=folder, parts=parts, label=label, false_reject_rate=rate, min_free_gb=min_free_gb)
    return collect(read_collect_config(toml), wish)


def lines_of(folder: Path) -> list[CollectedPart]:
    """The lines of parts.jsonl, each of which must be whole."""
    text = (folder / "parts.jsonl").read_text()
    assert text == "" or text.endswith("\n")
    return [CollectedPart.model_validate_json(one) for one in text.splitlines()]


def check_whole(folder: Path) -> list[CollectedPart]:
    """Every line has its files, which can be read, and no number comes twice."""
    parts = lines_of(folder)
    for part in parts:
        picture = read_image(folder / part.picture)
        assert picture.shape[:2] == (part.camera.height, part.camera.width)
        if part.depth is not None:
            assert read_xyz(folder / part.depth).shape == picture.shape[:2]
    numbers = [part.number for part in parts]
    assert numbers == sorted(set(numbers))
    return parts


def temporary_files(folder: Path) -> list[str]:
    """What an interrupted write leaves behind."""
    return [name for _, _, names in os.walk(folder) for name in names if name.endswith(".tmp")]
