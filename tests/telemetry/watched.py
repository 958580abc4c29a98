"""A child process whose look-ups and connections are all recorded, also those of native libraries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.paths import ROOT

SOURCE = Path(__file__).with_name("recorder.c")
# Its presence would switch some telemetry off by itself.
_CI = ("CI", "TF_BUILD", "JENKINS_URL", "GITHUB_ACTIONS")


def compile_recorder(folder: Path) -> Path:
    """The shared library that is preloaded; skips where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("g++")
    if compiler is None:
        pytest.skip("gcc is not installed")
    library = folder / "recorder.so"
    subprocess.run(
        [compiler, "-xc", "-shared", "-fPIC", "-Wall", "-Werror", SOURCE, "-o", library, "-ldl"], check=True
    )
    return library


@dataclass
class Watched:
    """Runs Python with the recorder; `home` is the child's home folder, empty at first."""

    recorder: Path
    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home.mkdir()
        self.record = self.home.with_name(f"{self.home.name}.record")

    def command(self, *words: object, before: str = "") -> subprocess.CompletedProcess[str]:
        """One command of `ast-edge` to its end; `before` is Python that runs first."""
        return self.python(f"{before}\nimport sys\nfrom ast_edge.cli import main\nsys.exit(main())", *words)

    def python(self, script: str, *words: object) -> subprocess.CompletedProcess[str]:
        """One script to its end."""
        return self.executable(sys.executable, "-c", script, *words)

    def executable(self, *words: object) -> subprocess.CompletedProcess[str]:
        """One program to its end."""
        return subprocess.run(
            list(map(str, words)),
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    @contextmanager
    def started(self, script: str, *words: object) -> Iterator[subprocess.Popen[bytes]]:
        """A script while it runs; it is killed at the end of the block."""
        command: Sequence[str] = [sys.executable, "-c", script, *map(str, words)]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, env=self._environment(), stdout=quiet, stderr=quiet) as process:
            try:
                yield process
            finally:
                process.kill()

    def turned_to(self) -> list[str]:
        """Names and addresses that the children wanted, in their order."""
        return self.record.read_text().splitlines() if self.record.exists() else []

    def left_at_home(self) -> list[str]:
        """Files of telemetry in the home folder: identities and reports that wait to be sent."""
        files = (str(path.relative_to(self.home)) for path in self.home.rglob("*") if path.is_file())
        return sorted(name for name in files if name.startswith(("intel/", ".cache/Microsoft/")))

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in _CI}
        inherited.pop("ORT_DISABLE_TELEMETRY", None)
        return {
            **inherited,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "export")]),
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "LD_PRELOAD": str(self.recorder),
            "NETWORK_RECORD": str(self.record),
            "AST_EDGE_CACHE": str(self.home / "ast-edge"),
            "OMP_NUM_THREADS": "1",
            **self.environment,
        }
