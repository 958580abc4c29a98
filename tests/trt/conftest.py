"""TensorRT for RTX in this process, which is given back afterwards: a process uses one library only."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator

import pytest

from ast_edge.trt import flavours
from tests.standin.install import OURS, STATELESS


@pytest.fixture
def rtx(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """NVIDIA's own builder; no GPU is needed. Skips where the package is not installed."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip('tensorrt-rtx is not installed: pip install ".[rtx]"')
    monkeypatch.setattr(flavours, "_chosen", [])
    _forget()
    flavours.use(flavours.RTX)
    yield
    _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if f"{name}.".startswith(OURS)]:
        if name not in STATELESS:
            del sys.modules[name]
