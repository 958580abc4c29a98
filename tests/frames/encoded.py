"""Pictures and depth maps as files to read."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from ast_edge.errors import DataError

RGB: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
XYZ: NDArray[np.float32] = np.random.default_rng(1).random((24, 32, 3)).astype(np.float32)
LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "BMP": {},
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {"lossless": True},
}


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def tiff(values: NDArray[Any], **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **{"photometric": "rgb", **options})
    return stream.getvalue()


def by_opencv(suffix: str, values: NDArray[Any]) -> bytes:
    return bytes(cv2.imencode(suffix, values)[1].tobytes())


def saved(folder: Path, data: bytes, name: str = "part.png") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def refused(reader: Callable[[Path], object], path: Path, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        reader(path)
    assert str(path) in str(caught.value)
    assert "BytesIO" not in str(caught.value)
