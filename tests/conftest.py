"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from ast_edge.manifest import Mode
from tests.tiny import write_tiny_model

# Shared build machines stall for seconds: a slow example is no finding, a failing one is.
settings.register_profile("ast-edge", deadline=None)
settings.load_profile("ast-edge")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[Mode, Path]:
    """One tiny model per mode, references beside it; read only, copy before you change one."""
    modes: tuple[Mode, ...] = ("rgb", "depth", "rgbd")
    return {mode: write_tiny_model(tmp_path_factory.mktemp(mode), mode) for mode in modes}


@pytest.fixture(scope="session")
def tiny_rgb(tiny_models: dict[Mode, Path]) -> Path:
    """The tiny model of mode rgb; read only."""
    return tiny_models["rgb"]
