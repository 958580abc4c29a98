"""The documentation is built without a warning and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ast_edge.line.service.config import LineConfig
from docs.generate import commands, line_toml, metrics, registers
from tests.line.web.browser import browser
from tests.paths import ROOT


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
        """Say nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 35
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"?([^\" >]+)", text)
        loaded += re.findall(
            r"<link[^>]* rel=\"?(?:stylesheet|preconnect|icon)\"?[^>]* href=\"?([^\" >]+)", text
        )
        assert not [address for address in loaded if address.startswith(("http:", "https:", "//"))], page


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_fit_the_screen(site: Path, width: int, tmp_path: Path) -> None:
    """No page is wider than the screen; wide tables and code scroll by themselves."""
    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    try:
        with browser(tmp_path / "profile") as chromium:
            chromium.screen(width, 800)
            for page in sorted(site.rglob("*.html")):
                address = f"http://127.0.0.1:{served.server_port}/{page.relative_to(site).as_posix()}"
                chromium.ask("Page.navigate", url=address)
                chromium.until("document.readyState === 'complete' && document.querySelector('h1') !== null")
                assert chromium.value("document.documentElement.scrollWidth") <= width, page
            assert chromium.complaints == []
    finally:
        served.shutdown()
        served.server_close()


@pytest.mark.slow
def test_links_inside_the_site_have_their_anchors(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"href=\"([^\"]+#[^\"]+)\"", text):
            target, _, anchor = link.partition("#")
            if "://" in link:
                continue
            other = (page.parent / target) if target else page
            assert other.exists(), (page, link)
            assert f'id="{anchor}"' in other.read_text(encoding="utf-8"), (page, link)


@pytest.mark.slow
def test_the_metrics_are_those_of_a_station(site: Path) -> None:
    text = (site / "reference" / "metrics.html").read_text(encoding="utf-8")
    assert all(f"ast_edge_{name}" in text for name in ("parts_total", "ready", "balanced", "stage_seconds"))


def test_metrics_that_a_new_station_lacks_have_their_labels() -> None:
    text = metrics.rare()
    labels = {"drift": "name", "scrape_errors_total": "source"}
    labels |= dict.fromkeys(("board_temperature_celsius", "board_power_watts"), "sensor")
    assert all(f"ast_edge_{name}{{{label}=" in text for name, label in labels.items())


def test_every_section_of_line_toml_is_documented() -> None:
    text = line_toml.page()
    assert all(f"{{ #{name} }}" in text for name in LineConfig.model_fields)
    assert "| `deadline_ms` | number > 0" in text
    for kind in ("modbus", "s7", "ethernet-ip", "gpio", "mqtt", "webhook", "opcua"):
        assert f"{{ #output-{kind} }}" in text


def test_every_command_is_documented() -> None:
    text = commands.page()
    for command in ("train", "build-engine", "archive list", "audit verify", "doctor"):
        assert f"\n## ast-edge {command}\n" in text
    assert "`--false-reject-rate" in text


@pytest.mark.slow
def test_choices_are_shown_without_escapes(site: Path) -> None:
    page = (site / "reference" / "command-line.html").read_text(encoding="utf-8")
    assert "<code>--mode &lt;rgb|depth|rgbd&gt;</code>" in page
    assert not re.findall(r"<code>[^<]*\\\|[^<]*</code>", page)


def test_the_register_map_has_the_block_and_the_reasons() -> None:
    text = registers.page()
    assert "| heartbeat | +16 | DBW32 | [9] | one more every `heartbeat_ms`" in text
    assert "| station | +20 +21 | DBD40 | [13] |" in text
    assert "| 99 | any other reason |" in text
