"""Every test of training has a cache of its own and computes on one thread."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _alone(own_cache: None, one_thread: None) -> None:
    """As the processes that are killed: other numbers of threads may round differently."""
