"""Where the real pictures are, for the tests marked `data`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.paths import ROOT


def cable_gland() -> Path:
    """The category cable_gland of MVTec 3D-AD; skips the calling test where it is missing."""
    beside = ROOT.parent / "shared" / "data"
    folder = Path(os.environ.get("AST_EDGE_DATA", beside)) / "mvtec_3d" / "cable_gland"
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set AST_EDGE_DATA to the data folder")
    return folder
