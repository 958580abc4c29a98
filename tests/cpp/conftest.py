"""The library, built once."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from tests.cpp import bridge


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build tree of `cpp_bridge`."""
    return bridge.build(tmp_path_factory.mktemp("cpp"))


@pytest.fixture(scope="session")
def library(build: Path) -> ctypes.CDLL:
    """The shared library."""
    return bridge.load(build)
