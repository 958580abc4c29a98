"""The kernels, compiled once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cuda.host import Host


@pytest.fixture(scope="session")
def host(kernel_library: Path) -> Host:
    return Host(kernel_library)
