"""Fixtures that every test may use."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from ast_edge.model.manifest import Mode
from tests.cuda.host import compile_library
from tests.tiny import write_tiny_model

# Shared build machines stall for seconds: a slow example is no finding, a failing one is.
settings.register_profile("ast-edge", deadline=None)
settings.register_profile("fast", deadline=None, max_examples=15)  # `make fast`
settings.load_profile("ast-edge")

# Fixtures that train or export a network, make B5, or compile the kernels or the C++ library. Their tests
# are slow, however short they are themselves; other slow tests carry the marker, alone or by module.
SLOW_FIXTURES = {
    *("runs", "models", "rgb_run", "depth_run", "rgb_model", "depth_model", "b5"),
    *("masked_run", "masked_model"),
    *("kernel_library", "kernels", "library", "build"),
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark slow and grouped tests, put `alone` last, leave out those for a process with another driver."""
    for item in items:
        if SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
        # One worker takes a group: it builds the C++ library once, and no two wait to be alone.
        if item.get_closest_marker("alone"):
            item.add_marker(pytest.mark.xdist_group("alone"))
        elif "build" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("build"))
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)
    if os.environ.get("AST_EDGE_STANDIN") != "1":
        elsewhere = [item for item in items if item.get_closest_marker("driver")]
        items[:] = [item for item in items if item not in elsewhere]
        config.hook.pytest_deselected(items=elsewhere)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test marked `alone` waits until no other worker runs one, and keeps them waiting."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    with Path(__file__).open("rb") as shared:
        fcntl.flock(shared, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        return (yield)


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
    import torch  # noqa: PLC0415

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def kernel_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernels compiled for the CPU."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    return compile_library(compiler, tmp_path_factory.mktemp("kernels"))


def small() -> Any:
    """Needs torch, which tests of the runtime do without."""
    from tests import small as module  # noqa: PLC0415

    return module


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small synthetic product; read only."""
    found: Path = small().small_product(tmp_path_factory)
    return found


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[Mode, Path]:
    """A complete run per mode; read only."""
    return {mode: small().small_run(tmp_path_factory, mode) for mode in small().MODES}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[Mode, Path]:
    """An exported model per mode; read only."""
    return {mode: small().small_model(tmp_path_factory, mode) for mode in small().MODES}


@pytest.fixture(scope="session")
def rgb_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run of mode rgb; read only."""
    found: Path = small().small_run(tmp_path_factory, "rgb")
    return found


@pytest.fixture(scope="session")
def depth_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run of mode depth, the cheapest to export; read only."""
    found: Path = small().small_run(tmp_path_factory, "depth")
    return found


@pytest.fixture(scope="session")
def rgb_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported model of mode rgb; read only."""
    found: Path = small().small_model(tmp_path_factory, "rgb")
    return found


@pytest.fixture(scope="session")
def masked_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run of mode rgb that looks only into `tests.small.LOOKED_AT`; read only."""
    found: Path = small().masked_run(tmp_path_factory)
    return found


@pytest.fixture(scope="session")
def masked_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported model of `masked_run`; read only."""
    found: Path = small().masked_model(tmp_path_factory)
    return found


@pytest.fixture(scope="session")
def depth_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported model of mode depth with its FP16 twin, the cheapest; read only.

    A process on the software driver, on which PyTorch does not start, gets it made by another one.
    """
    if ready := os.environ.get("AST_EDGE_DEPTH_MODEL"):
        return Path(ready)
    found: Path = small().small_model(tmp_path_factory, "depth")
    return found
