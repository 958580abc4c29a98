"""A data folder of the synthetic product in the layout of MVTec 3D-AD."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import DataError, UsageError
from ast_edge.files import write_bytes
from ast_edge.synthetic.part import DEFECTS, SyntheticPart, render


@dataclass(frozen=True)
class PartCounts:
    """How many parts go into each folder of the dataset."""

    train: int
    validation: int
    test_good: int
    test_per_defect: int


def write_product(folder: Path, parts: PartCounts, *, seed: int, size: int = 256) -> None:
    """Render a dataset into `folder`; the same arguments give the same bytes in every file.

    Writes `train/good`, `validation/good` and `test/{good,KIND}` with `rgb/NNN.png` (8 bit), `xyz/NNN.tiff`
    (float32 x, y, z in metres) and, in tests, `gt/NNN.png` (0 or 255). The folder appears only when it is
    complete. Raises DataError if it already exists, UsageError for a count below 1.
    """
    if min(parts.train, parts.validation, parts.test_good, parts.test_per_defect) < 1:
        raise UsageError(f"every count of parts must be at least 1, found {parts}.")
    if folder.exists():
        raise DataError(f"{folder}: already exists; delete it or choose another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        _write_all(unfinished, parts, seed, size)
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _write_all(folder: Path, parts: PartCounts, seed: int, size: int) -> None:
    groups: list[tuple[Path, str | None, int]] = [
        (folder / "train" / "good", None, parts.train),
        (folder / "validation" / "good", None, parts.validation),
        (folder / "test" / "good", None, parts.test_good),
        *((folder / "test" / kind, kind, parts.test_per_defect) for kind in DEFECTS),
    ]
    for stream, (group, defect, count) in enumerate(groups):
        # A separate generator for each folder: more parts in one do not change those of another.
        rng = np.random.default_rng([seed, stream])
        for number in range(count):
            _write_part(group, f"{number:03d}", render(rng, defect, size=size))


def _write_part(group: Path, stem: str, part: SyntheticPart) -> None:
    """Write one part; channels are reversed, since OpenCV expects BGR."""
    write_bytes(group / "rgb" / f"{stem}.png", _encoded(".png", part.image[..., ::-1]))
    write_bytes(group / "xyz" / f"{stem}.tiff", _encoded(".tiff", part.xyz[..., ::-1]))
    if group.parent.name == "test":
        write_bytes(group / "gt" / f"{stem}.png", _encoded(".png", part.mask.astype(np.uint8) * 255))


def _encoded(suffix: str, picture: NDArray[np.uint8] | NDArray[np.float32]) -> bytes:
    # Uncompressed TIFF: every reader supports it, and noise does not compress anyway.
    options = [cv2.IMWRITE_TIFF_COMPRESSION, 1] if suffix == ".tiff" else []
    done, data = cv2.imencode(suffix, np.ascontiguousarray(picture), options)
    if not done:
        raise DataError(f"OpenCV cannot write a picture as {suffix}; install another build of it.")
    return data.tobytes()
