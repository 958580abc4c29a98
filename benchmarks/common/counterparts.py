"""Counterparts on loopback for tests and measurements: free ports, and mosquitto."""

from __future__ import annotations

import getpass
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

_START_S = 20.0


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is currently free."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether connections to this port of 127.0.0.1 are accepted."""
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


class Mosquitto:
    """The MQTT broker with its own port and configuration; it can be killed, stopped and restarted."""

    def __init__(self, folder: Path, *settings: str) -> None:
        """`settings`: lines of mosquitto.conf; without any, everything is allowed and sessions are kept."""
        self.port = free_port()
        self.file = folder / "mosquitto.conf"
        # Started by root, mosquitto would change to a user without access to `folder`.
        lines = [f"listener {self.port} 127.0.0.1", f"user {getpass.getuser()}"]
        lines += settings or ("allow_anonymous true", "persistence true", f"persistence_location {folder}/")
        self.file.write_text("\n".join([*lines, "log_dest none", ""]), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start to serve. Raises RuntimeError if mosquitto is not installed or does not start."""
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            raise RuntimeError("mosquitto is not installed (Debian, Ubuntu: apt install mosquitto)")
        self._process = subprocess.Popen(
            [program, "-c", str(self.file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + _START_S
        while not listens(self.port):
            if time.monotonic() > end:
                raise RuntimeError("mosquitto did not start")
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP freezes the broker, SIGCONT lets it continue."""
        if self._process is None:
            raise RuntimeError("the broker is not running")
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the broker, as in a power cut; a second call does nothing."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
