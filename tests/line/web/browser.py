"""Chromium over the DevTools protocol on two pipes: clicks, keys, screenshots, scripts."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-pipe",
)


_MOVE = """
import fcntl, os, sys
into, out = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(into, 3)
os.dup2(out, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One tab. What the console says and what fails to load is in `complaints`."""

    def __init__(self, into: IO[bytes], out: IO[bytes]) -> None:
        self._into, self._out = into, out
        self._number = 0
        self._session = ""
        self.complaints: list[str] = []
        self._buffer = b""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command of the protocol and its answer."""
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._into.write(json.dumps(message).encode() + b"\0")
        self._into.flush()
        while True:
            found = self._read()
            if found.get("id") == self._number:
                assert "error" not in found, (method, found["error"])
                answer: dict[str, Any] = found["result"]
                return answer
            self._note(found)

    def open(self, url: str) -> None:
        """Go to a page; returns when it has shown the station once."""
        self.ask("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && document.getElementById('state') !== null")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives, a promise awaited."""
        found = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str, within_s: float = 30.0) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + within_s
        while not self.value(f"Boolean({expression})"):
            assert time.monotonic() < end, f"{expression} did not become true"
            time.sleep(0.05)

    def text(self, selector: str) -> str:
        """What a person reads in an element."""
        return str(self.value(f"document.querySelector({json.dumps(selector)}).innerText"))

    def screen(self, width: int, height: int) -> None:
        """The size of the screen in pixels."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )

    def language(self, *tags: str) -> None:
        """What the reader prefers."""
        agent = self.value("navigator.userAgent")
        self.ask("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=",".join(tags))

    def key(self, name: str, code: int) -> None:
        """Press a key; `code` is its virtual key code."""
        text = {"Enter": "\r", "Space": " "}.get(name, "")
        key = " " if name == "Space" else name
        for kind in ("keyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=name,
                windowsVirtualKeyCode=code,
                text=text if kind == "keyDown" else "",
            )

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """A PNG file of the screen, or of the whole page."""
        found = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = os.read(self._out.fileno(), 1 << 16)
            assert chunk, "the browser has ended"
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        method, facts = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(facts["exceptionDetails"])[:500])
        elif method == "Log.entryAdded" and facts["entry"]["level"] == "error":
            self.complaints.append(f"{facts['entry']['text']} {facts['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.complaints += [
                url for url in [facts["request"]["url"]] if not url.startswith(("http://127.0.0.1:", "data:"))
            ]


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A Chromium with its own profile; skips the test where there is none."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed (Debian, Ubuntu: apt install chromium)")
    read_in, write_in = os.pipe()
    read_out, write_out = os.pipe()
    # The protocol is spoken on the descriptors 3 and 4. Both are moved out of their way first.
    command = [sys.executable, "-c", _MOVE, str(read_in), str(write_out), chromium, *_FLAGS]
    command.append(f"--user-data-dir={profile}")
    process = subprocess.Popen(
        command, pass_fds=(read_in, write_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(read_in)
    os.close(write_out)
    with process, open(write_in, "wb") as into, open(read_out, "rb") as out:  # noqa: PTH123
        try:
            yield Browser(into, out)
        finally:
            process.kill()
