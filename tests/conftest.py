"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from ast_edge.manifest import Mode
from tests.small import MODES, small_model, small_product, small_run
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


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are cached in the test's own folder."""
    monkeypatch.setenv("AST_EDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """From here on PyTorch computes on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small synthetic product; read only."""
    return small_product(tmp_path_factory)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[Mode, Path]:
    """A complete run per mode; read only."""
    return {mode: small_run(tmp_path_factory, mode) for mode in MODES}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[Mode, Path]:
    """An exported model per mode; read only."""
    return {mode: small_model(tmp_path_factory, mode) for mode in MODES}


@pytest.fixture(scope="session")
def rgb_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run of mode rgb; read only."""
    return small_run(tmp_path_factory, "rgb")


@pytest.fixture(scope="session")
def depth_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run of mode depth, the cheapest to export; read only."""
    return small_run(tmp_path_factory, "depth")


@pytest.fixture(scope="session")
def rgb_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported model of mode rgb; read only."""
    return small_model(tmp_path_factory, "rgb")
