"""Two tiny models that disagree, labelled parts of rising brightness, and an archive."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from ast_edge.cameras.base import Frame
from ast_edge.line.part import PartResult
from ast_edge.model.manifest import Crop
from ast_edge.verdict.scoring import Verdict
from tests.cli.conftest import cli, process, write_picture
from tests.line.archive.bench import archiving, part
from tests.tiny import tiny_spec, write_tiny_model

__all__ = ["cli", "process"]

# The score of a grey picture of this level is ((level - 127.5) / 255) ** 2.
GOOD_LEVELS = (128, 140, 150, 200)  # 200: 0.081, between both thresholds
DENT_LEVELS = (130, 190, 195, 250)  # 130: an escape of both; 190, 195: 0.060, 0.070; 250: found by both
OLD_THRESHOLD, NEW_THRESHOLD = 0.1, 0.05


@dataclass(frozen=True)
class Pair:
    """The old model, the new one, and the folder that they lie in."""

    old: Path
    new: Path


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The new model has a lower threshold, another size and a crop; read only."""
    folder = tmp_path_factory.mktemp("pair")
    spec = tiny_spec()
    threshold = spec.threshold.model_copy(update={"value": NEW_THRESHOLD, "pixel_value": NEW_THRESHOLD})
    area = {"image_size": 64, "map_size": 8, "crop": Crop(x=4, y=2, width=40, height=36)}
    preprocessing = spec.preprocessing.model_copy(update=area)
    other = spec.model_copy(update={"threshold": threshold, "preprocessing": preprocessing})
    return Pair(write_tiny_model(folder, name="old"), write_tiny_model(folder, name="new", spec=other))


def level(value: int, height: int = 40, width: int = 48) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A grey picture."""
    return np.full((height, width, 3), value, np.uint8)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Four good and four defective parts, by subfolder."""
    folder = tmp_path / "labelled"
    for kind, levels in (("good", GOOD_LEVELS), ("dent", DENT_LEVELS)):
        for number, value in enumerate(levels):
            write_picture(folder / kind / f"{number:03d}.png", level(value))
    return folder


def archived(number: int, value: int, verdict: Verdict = "pass", run: str = "run") -> PartResult:
    """A part as the station gives it to its archive, its frame a grey picture."""
    return replace(part(number, verdict, run=run), frame=Frame(level(value), "rgb", number, None, 0, "bench"))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Written by the archive: five parts with pictures, and three passes whose pictures were not selected."""
    folder = tmp_path / "archive"
    with archiving(folder, every_nth_pass=2) as opened:
        for number, value in enumerate((128, 130, 195, 140, 150, 200), 1):
            opened.archive.put(archived(number, value))
        opened.archive.put(archived(7, 250, "reject"))
        opened.archive.put(archived(8, 190, "reject"))
    return folder
