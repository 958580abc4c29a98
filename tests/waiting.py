"""Waiting for other threads and processes, ports that are free, processes that are ended again."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from benchmarks.common.counterparts import free_port, listens

__all__ = ["free_port", "listens", "program", "running", "wait_for"]


def wait_for(condition: Callable[[], object], within_s: float = 20.0) -> None:
    """Return when the condition holds; fail when it does not in time."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def program(name: str, package: str) -> str:
    """The path of a program; skips the test with the Debian package that brings it."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed (Debian, Ubuntu: apt install {package})")
    return found


@contextlib.contextmanager
def running(*command: str, environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed at the end of the block, by its own id."""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()
