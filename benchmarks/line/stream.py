"""An RTSP camera for tests: starts and kills the process of `stream_server.py`."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType

from benchmarks.common.command import environment, module
from benchmarks.common.counterparts import free_port


class StreamCamera:
    """Shows the scene of a file in which a part stays for `stay_ms`; frames leave it `late_ms` late."""

    def __init__(self, scene: Path, *, stay_ms: float, late_ms: float) -> None:
        self.port = free_port()
        options = ("--scene", scene, "--stay-ms", stay_ms, "--late-ms", late_ms, "--port", self.port)
        self._command = [*module("line.stream_server"), *map(str, options)]

    def __enter__(self) -> StreamCamera:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            text=True,
        )
        assert self._process.stdout is not None  # noqa: S101 (a pipe was asked for)
        if self._process.stdout.readline().strip() != "serving":
            self.__exit__(None, None, None)
            raise RuntimeError("the RTSP camera did not start: is GStreamer's RTSP server installed?")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:
            self._process.kill()
