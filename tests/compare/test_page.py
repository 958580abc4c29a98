"""The page of a comparison: self-contained, and in a real browser by mouse, keys and screen reader."""

from __future__ import annotations

import base64
import importlib.resources
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ast_edge.cli import main
from tests.cli.conftest import write_picture
from tests.compare.conftest import Pair, level
from tests.line.web.browser import Browser, browser
from tests.paths import ROOT

ARTEFACTS = ROOT / "artefacts" / "compare"
EVIL = "dent</script><img src=x onerror=alert(1)>"
SHOWN = "[...document.querySelectorAll('#changed li')].filter(item => !item.hidden)"
AXE = importlib.resources.files("axe_core_python").joinpath("axe.min.js")


def page_of(pair: Pair, folder: Path, *options: object) -> Path:
    """A page with changes of two kinds, a fault, and a name that would like to be a script."""
    for kind, levels in (("good", (128, 140, 190, 205)), (EVIL.replace("/", "\\"), (192, 196, 200, 250))):
        for number, value in enumerate(levels):
            picture = level(value, 100, 120)
            picture[20:40, 30:60] = 128
            write_picture(folder / "parts" / kind / f"{number:03d}.png", picture)
    write_picture(folder / "parts" / "good" / "small.png", level(128, 20, 20))
    page = folder / "compared.html"
    words = ["compare", pair.old, pair.new, folder / "parts", "--html", page, "--duration", 0.1, *options]
    assert main([str(word) for word in words]) == 0
    return page


@pytest.fixture
def page(pair: Pair, tmp_path: Path) -> Path:
    return page_of(pair, tmp_path)


def content_of(page: Path) -> dict[str, Any]:
    (text,) = re.findall(r"^const data = (.*);$", page.read_text(encoding="utf-8"), re.M)
    content: dict[str, Any] = json.loads(text)
    return content


def test_pictures_are_inside_and_nothing_else_is_loaded(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|https?://", text)
    assert "default-src 'none'; img-src data:" in text
    assert "<img src=x" not in text
    assert text.count("</script>") == 1
    changed = content_of(page)["changed"]
    assert len(changed) == 5
    shown = [entry["pictures"] for entry in changed]
    assert [one["width"] for one in shown] == [120, 120, 120, 120, 20]
    for pictures in shown:
        photo = Image.open(io.BytesIO(base64.b64decode(pictures["photo"].partition(",")[2])))
        assert photo.size == (pictures["width"], pictures["height"])
        assert len(pictures["maps"]) == 2
    assert all(entry["pictures"]["maps"][1] for entry in changed[:3]), "the new model rejects these"


def test_only_so_many_pictures_are_kept_and_the_others_counted(pair: Pair, tmp_path: Path) -> None:
    content = content_of(page_of(pair, tmp_path, "--overlays", 2))
    with_pictures = [entry["pictures"] is not None for entry in content["changed"]]
    assert with_pictures == [True, True, False, False, False]
    assert content["without"] == 3


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def tab(chromium: Browser, page: Path) -> Iterator[Browser]:
    """The page in the browser, which complains of nothing."""
    chromium.complaints.clear()
    chromium.ask("Emulation.setEmulatedMedia", features=[])
    chromium.screen(1280, 900)
    chromium.ask("Page.navigate", url=page.as_uri())
    chromium.until("document.readyState === 'complete' && document.querySelector('#origin tr') !== null")
    yield chromium
    asked = [complaint for complaint in chromium.complaints if not complaint.startswith("file:")]
    assert asked == [], "an error, or a request to somewhere else"


@pytest.mark.slow
def test_changed_verdicts_are_filtered(tab: Browser, page: Path) -> None:
    names = [entry["name"] for entry in content_of(page)["changed"]]
    titles = f"{SHOWN}.map(item => item.querySelector('h3').textContent)"
    assert tab.value(titles) == names
    assert tab.text("#shown") == "5 of 5 changed verdicts are shown."
    tab.value(
        "(() => { const one = document.getElementById('change'); one.value = 'pass to fault';"
        " one.dispatchEvent(new Event('change')); })()"
    )
    assert tab.value(titles) == ["good/small.png"]
    assert tab.text("#faults").startswith("good/small.png: new: ")


@pytest.mark.slow
def test_a_part_is_enlarged_by_keys(tab: Browser, page: Path) -> None:
    names = [entry["name"] for entry in content_of(page)["changed"]]
    opener = "document.querySelector('#changed button.open')"
    tab.value(f"{opener}.focus()")
    tab.key("Enter", 13)
    tab.until("document.getElementById('large').open")
    assert tab.text("#part") == names[0]
    tab.until("[...document.querySelectorAll('#pair img')].every(image => image.naturalWidth > 0)")
    maps = "[...document.querySelectorAll('#pair .map')].map(map => getComputedStyle(map).visibility)"
    assert set(tab.value(maps)) == {"visible"}
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    tab.picture(ARTEFACTS / "enlarged.png")
    tab.key("m", 77)
    assert set(tab.value(maps)) == {"hidden"}
    tab.key("ArrowRight", 39)
    assert tab.text("#part") == names[1]
    tab.key("ArrowLeft", 37)
    assert tab.text("#part") == names[0]
    tab.key("Escape", 27)
    tab.until("!document.getElementById('large').open")
    assert tab.value(f"document.activeElement === {opener}"), "the focus goes back"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("opened", [False, True], ids=["page", "dialog"])
def test_a_screen_reader_finds_its_way(tab: Browser, scheme: str, *, opened: bool) -> None:
    """axe-core: names, roles, labels, landmarks, contrast (WCAG 2.1 AA and best practices)."""
    tab.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    if opened:
        tab.value("document.querySelector('button.open').click()")
    tab.value(AXE.read_text(encoding="utf-8") + "; true")
    result: dict[str, Any] = json.loads(tab.value("axe.run(document).then(found => JSON.stringify(found))"))
    assert len(result["passes"]) > 20
    wrong = [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in result["violations"]]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_the_screen(tab: Browser, width: int) -> None:
    """The screenshot is kept for people to look at: artefacts/compare."""
    tab.screen(width, 900)
    assert tab.value("document.documentElement.scrollWidth") <= width
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    tab.picture(ARTEFACTS / f"page_{width}.png", whole=True)
    assert tab.value("[...document.images].every(image => image.naturalWidth > 0)")
