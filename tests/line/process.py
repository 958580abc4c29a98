"""`ast-edge run` as a process with the test's line.toml, and requests to its page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

from tests.paths import ROOT
from tests.waiting import free_port, wait_for

RUN = "import sys; from ast_edge.cli import main; sys.exit(main())"


class StationProcess:
    """One station in `folder`; use as a context manager. Its log is in the file `log`."""

    def __init__(self, folder: Path, model: Path, toml: str, *, name: str = "bench") -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.port = folder, free_port()
        self.file = folder / "line.toml"
        camera = "" if "[camera]" in toml else '[camera]\nuri = "synthetic://?size=64&trigger=software"\n'
        self.file.write_text(
            f'[station]\nname = "{name}"\n{camera}[recipes]\nfirst = "a"\nmodels = {{ a = "{model}" }}\n'
            f"threads = 1\n[web]\nport = {self.port}\n{toml}"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> StationProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, stderr: IO[bytes] | int | None = None) -> subprocess.Popen[bytes]:
        path = f"{ROOT}:{ROOT / 'export'}"
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN, "run", str(self.file)],
                env={**os.environ, "PYTHONPATH": path},
                stdout=subprocess.DEVNULL,
                stderr=log if stderr is None else stderr,
            )
        return self.process

    def kill(self) -> None:
        """As a power cut; a second call does nothing."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def ask(self, path: str) -> tuple[int, str]:
        """Status and body of one page; 0 while the port is closed."""
        assert self.process is not None
        assert self.process.poll() is None, self.log
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as exc:
            return exc.code, exc.read().decode()
        except OSError:
            return 0, ""

    def status(self) -> dict[str, Any]:
        code, body = self.ask("/status")
        found: dict[str, Any] = json.loads(body) if code == 200 else {}
        return found

    def wait_until(self, key: str, wanted: object, within_s: float = 60.0) -> None:
        """Until the status says so."""
        wait_for(lambda: self.status().get(key) == wanted, within_s)
