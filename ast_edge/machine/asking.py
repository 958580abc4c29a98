"""Query files and programs of this machine; no call blocks for long and none raises."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path("/")
_TOOL_S = 5.0
_MAX_BYTES = 1 << 20
# Administration programs are often missing from a user's PATH.
_MORE_FOLDERS = ("/usr/sbin", "/sbin")


def tool(name: str) -> str | None:
    """Return the path of a system program, or None if it is not installed."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep), *_MORE_FOLDERS]
    # An empty entry means the current folder, which may hold any program.
    return shutil.which(name, path=os.pathsep.join(filter(None, folders)))


def ask(name: str, *arguments: str) -> str | None:
    """Return what a program prints, or None if it is missing, fails or exceeds the time limit."""
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
    """Return the text of a small file, or None if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode(errors="replace")
    except OSError:
        return None
