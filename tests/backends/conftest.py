"""A stand-in machine to build engines on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standin.install import standins
from tests.standin.trt_behaviour import Behaviour


@pytest.fixture
def machine(kernel_library: Path, own_cache: None) -> Iterator[Behaviour]:
    """A stand-in machine with TensorRT 8.6; nothing on its GPU is left behind."""
    with standins(kernel_library) as behaviour:
        yield behaviour
