"""Asking this machine's files and programs, without waiting and without raising."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path("/")
_TOOL_S = 5.0
_MAX_BYTES = 1 << 20
# Administrators' programs are often not on a user's PATH.
_MORE_FOLDERS = ("/usr/sbin", "/sbin")


def tool(name: str) -> str | None:
    """Where a program of the system is, or None."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep), *_MORE_FOLDERS]
    # An empty entry would mean the current folder, where anybody's program may lie.
    return shutil.which(name, path=os.pathsep.join(filter(None, folders)))


def ask(name: str, *arguments: str) -> str | None:
    """What a program prints, or None where it is not there, fails, or does not answer in time."""
    path = tool(name)
    if path is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 (fixed names and arguments)
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
            timeout=_TOOL_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout[:_MAX_BYTES].decode(errors="replace")


def read(path: Path) -> str | None:
    """The text of a small file, or None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode(errors="replace")
    except OSError:
        return None
