"""A real PostgreSQL on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import free_port

_USER = "postgres"  # PostgreSQL does not run as root


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database, which any name may use without a password; skips where it is missing."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="ast-edge-postgres-"))
    as_user = []
    if os.geteuid() == 0:
        shutil.chown(folder, _USER)
        as_user = ["runuser", "-u", _USER, "--"]

    def run(program: str, *arguments: object) -> None:
        subprocess.run(
            [*as_user, str(found[-1] / program), *map(str, arguments)],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )

    data, port = folder / "data", free_port()
    try:
        run("initdb", "-D", data, "-U", _USER, "-A", "trust", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run("pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start")
        try:
            yield f"postgresql+psycopg://{_USER}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
