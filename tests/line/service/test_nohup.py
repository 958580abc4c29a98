"""A station under `nohup` outlives its terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

LINE = """
[camera]
uri = "synthetic://?size=64&trigger=software"
[recipes]
first = "first"
models = {{ first = "{model}" }}
[trigger]
kind = "timer"
per_s = 20
[timing]
deadline_ms = 5000
[archive]
folder = "archive"
every_nth_pass = 1
min_free_gb = 0
"""


@pytest.mark.parametrize("ignored", [True, False])
def test_a_hangup_that_is_ignored_stays_ignored(tiny_rgb: Path, tmp_path: Path, ignored: bool) -> None:
    (tmp_path / "line.toml").write_text(LINE.format(model=tiny_rgb))
    handler = "SIG_IGN" if ignored else "SIG_DFL"
    script = (
        f"import signal, sys; signal.signal(signal.SIGHUP, signal.{handler});"
        "from ast_edge.cli import main; sys.exit(main())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, "run", str(tmp_path / "line.toml")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            wait_for(lambda: list((tmp_path / "archive").rglob("*.png")), 60)
            process.send_signal(signal.SIGHUP)
            if ignored:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(5)
                process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode in (0, 1), err
    assert " parts: " in out
