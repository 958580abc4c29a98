"""The metrics, from a scrape of a station that runs while the documentation is built."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from ast_edge.line.watching.metrics import Metrics, Watched
from ast_edge.machine.sensors import Reading
from benchmarks.common.counterparts import free_port
from docs.generate.markdown import code, table

HEAD = """# Metrics

Generated from a scrape of a running station. `/metrics` of the station's web interface answers in
Prometheus' text format; what the process itself uses (`process_...`, `python_...`) comes from its client and
is left out here.

"""
LINE = """
[camera]
uri = "synthetic://?seed=1&defects=0.2&size=64&trigger=software"
[recipes]
first = "product"
models = {{ product = "{model}" }}
[trigger]
kind = "timer"
per_s = 10
[timing]
deadline_ms = 10000
[[output]]
kind = "webhook"
url = "http://127.0.0.1:9/"
spool = "spool"
[archive]
folder = "archive"
[audit]
file = "audit.jsonl"
[web]
port = {port}
[drift]
"""
PARTS = 5
PATIENCE_S = 120.0


def page() -> str:
    """Every metric family with its type, labels and help."""
    text = scrape()
    help_of = dict(re.findall(r"^# HELP (ast_edge_\S+) (.*)$", text, re.MULTILINE))
    types = dict(re.findall(r"^# TYPE (ast_edge_\S+) (\S+)$", text, re.MULTILINE))
    shown, rows = text + rare(), []
    for name, words in help_of.items():
        if not name.endswith("_created"):
            rows.append((code(name), types[name], ", ".join(_labels(shown, name)), words))
    return HEAD + table(("metric", "type", "labels", "meaning"), rows) + "\n"


def rare() -> str:
    """Metrics that a new station may have no value of: its drift, sensors, and a source that fails."""

    def fails() -> dict[str, int]:
        raise OSError

    board = [Reading("temperature", "gpu", 50.0), Reading("power", "gpu", 10.0)]
    watched = Watched(gauges=lambda: {"score": 1.0}, camera_counters=fails, board=lambda: board)
    return Metrics(watched).render().decode()


def scrape() -> str:
    """What `/metrics` of a station answers that has judged some parts."""
    from tests.tiny import write_tiny_model  # noqa: PLC0415 (needs onnx, which the other pages do not)

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        port = free_port()
        model = write_tiny_model(folder)
        file = folder / "line.toml"
        file.write_text(LINE.format(model=model, port=port), encoding="utf-8")
        words = [sys.executable, "-m", "ast_edge", "run", str(file)]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as station:
            try:
                return _scraped(station, f"http://127.0.0.1:{port}/metrics")
            finally:
                station.terminate()
                station.communicate()


def _scraped(station: subprocess.Popen[str], address: str) -> str:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and station.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 (our own station)
                text: str = answer.read().decode()
        except (urllib.error.URLError, OSError):
            text = ""
        if sum(map(float, re.findall(r"^ast_edge_parts_total\{.*\} (\S+)$", text, re.MULTILINE))) >= PARTS:
            return text
        time.sleep(0.1)
    station.terminate()
    raise RuntimeError(f"the station gave no metrics: {station.communicate()[1][-2000:]}")


def _labels(text: str, name: str) -> list[str]:
    found: dict[str, None] = {}
    for labels in re.findall(rf"^{name}(?:_total|_bucket|_sum|_count)?\{{(.*?)\}} ", text, re.MULTILINE):
        found |= dict.fromkeys(re.findall(r"(\w+)=", labels))
    return [code(label) for label in found if label != "le"]
