"""A GigE Vision camera for tests and measurements: starts and kills the process of `camera_server.py`."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO

from ast_edge.files import claim
from benchmarks.common.command import environment, module

SERIAL = "LINE"


class FakeCamera:
    """Aravis' fake camera on loopback; the standard fixes its port, so a machine can have only one.

    The fraction `lost_share` of its packets is never sent. It shows the `scene` of this file, in which a part
    stays for `stay_ms`, or else a moving pattern.
    """

    def __init__(
        self,
        address: str = "127.0.0.1",
        *,
        lost_share: float = 0.0,
        scene: Path | None = None,
        stay_ms: float | None = None,
    ) -> None:
        self.address, self.lost_share = address, lost_share
        self._view = [] if scene is None else ["--scene", str(scene)]
        self._view += [] if stay_ms is None else ["--stay-ms", str(stay_ms)]
        self._process: subprocess.Popen[str] | None = None
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> FakeCamera:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start once no other one runs. Raises RuntimeError if it does not come up."""
        if self._lock is None:
            self._lock = claim(Path(tempfile.gettempdir()) / "ast-edge-fake-camera.lock", wait=True)
        self._process = process = subprocess.Popen(
            [
                *(*module("line.camera_server"), "--address", self.address, "--serial", SERIAL),
                *("--lost-share", str(self.lost_share)),
                *self._view,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            text=True,
        )
        assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
        if process.stdout.readline().strip() != "serving":
            self.close()  # the lock, too: the next one in this process would wait for it forever
            raise RuntimeError("the fake camera did not start: does another one run, is Aravis installed?")

    def late(self, milliseconds: float) -> None:
        """Delay every frame by this time after its exposure, from now on."""
        process = self._process
        if process is None or process.stdin is None:
            raise RuntimeError("the camera is not running")
        process.stdin.write(f"late {milliseconds}\n")
        process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP freezes the camera, SIGCONT lets it continue."""
        if self._process is None:
            raise RuntimeError("the camera is not running")
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the camera, as if unplugged; a second call does nothing."""
        process, self._process = self._process, None
        if process is not None:
            with process:
                process.kill()

    def close(self) -> None:
        """Stop, and release the lock for others."""
        self.kill()
        if self._lock is not None:
            self._lock.close()
            self._lock = None
