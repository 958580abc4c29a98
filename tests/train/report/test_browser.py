"""The report in a real browser, from a file, without a network: mouse, keys, screen reader, paper."""

from __future__ import annotations

import base64
import importlib.resources
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pypdfium2
import pypdfium2.raw
import pytest

from ast_edge.synthetic import DEFECTS
from ast_edge.wording import share_text
from tests.line.web.browser import Browser, browser
from tests.paths import ROOT
from tests.train.report.conftest import Report

pytestmark = pytest.mark.usefixtures("own_cache", "one_thread")
ARTEFACTS = ROOT / "artefacts" / "report"
A4_MM = (210, 297)
VISIBLE = "[...document.querySelectorAll('#parts tbody tr')].filter(row => !row.hidden)"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Browser]:
    chromium.complaints.clear()
    chromium.ask("Emulation.setEmulatedMedia", features=[])
    chromium.screen(1280, 900)
    yield chromium
    asked = [complaint for complaint in chromium.complaints if not complaint.startswith("file:")]
    assert asked == [], "an error, or a request to somewhere else"


def show(tab: Browser, report: Report, folder: Path, fragment: str = "") -> None:
    path = folder / "report.html"
    path.write_text(report.html, encoding="utf-8")
    tab.ask("Page.navigate", url="about:blank")
    tab.ask("Page.navigate", url=path.as_uri() + fragment)
    tab.until("document.readyState === 'complete' && document.querySelector('#parts') !== null")


def choose(tab: Browser, element: str, value: str) -> None:
    tab.value(
        f"(() => {{ const one = document.getElementById({element!r}); one.value = {value!r};"
        " one.dispatchEvent(new Event('change')); one.dispatchEvent(new Event('input')); })()"
    )


def column(tab: Browser, key: str) -> list[str]:
    found: list[str] = tab.value(f"{VISIBLE}.map(row => row.dataset.{key})")
    return found


@pytest.mark.parametrize("third", [None, 1, 3])
def test_the_slider_counts_as_the_line_would_judge(
    tab: Browser, one: Report, tmp_path: Path, third: int | None
) -> None:
    evaluation = one.first.evaluation
    scores = sorted(part.score for part in evaluation.parts if part.score is not None)
    limit = evaluation.threshold if third is None else scores[third * len(scores) // 3 - 1]
    show(tab, one, tmp_path, "" if third is None else f"#threshold={limit!r}")

    def passed(*kinds: str) -> int:
        return sum(part.defect in kinds and (part.score or 0) <= limit for part in evaluation.parts)

    assert tab.text("#escapes") == share_text(passed(*DEFECTS), evaluation.defective_parts)
    rejects = evaluation.good_parts - passed("good")
    assert tab.text("#false-rejects") == share_text(rejects, evaluation.good_parts)
    for kind in DEFECTS:
        assert f"Escapes, {kind}\t{share_text(passed(kind), 3)}" in tab.text("#kinds")
    assert tab.value("document.getElementById('applying').hidden") == (third is None)


def test_shares_are_rounded_as_in_python(tab: Browser, one: Report, tmp_path: Path) -> None:
    show(tab, one, tmp_path)
    pairs = [(count, parts) for parts in (1, 3, 7, 16, 40, 80, 999, 2000) for count in range(0, parts + 1, 5)]
    found = tab.value(f"{json.dumps(pairs)}.map(([count, parts]) => share(count, parts))")
    assert found == [share_text(*pair) for pair in pairs]


def test_a_moved_threshold_is_copied_as_a_command(tab: Browser, one: Report, tmp_path: Path) -> None:
    show(tab, one, tmp_path)
    tab.value("document.getElementById('slider').focus()")
    tab.key("ArrowRight", 39)
    shown = tab.text("#threshold")
    assert tab.text("#apply") == f"ast-edge calibrate {one.first.path} --threshold {shown}"
    assert float(shown) != one.first.evaluation.threshold
    tab.value("document.getElementById('copy').click()")
    tab.until("document.getElementById('copied').textContent !== ''")
    tab.value("document.getElementById('reset').click()")
    assert tab.value("document.getElementById('applying').hidden")


def test_the_list_is_filtered(tab: Browser, two: Report, tmp_path: Path) -> None:
    show(tab, two, tmp_path)
    parts = two.first.evaluation.parts
    assert tab.text("#shown") == f"{len(parts)} of {len(parts)} parts are shown."
    choose(tab, "kind", "dent")
    assert set(column(tab, "kind")) == {"dent"}
    choose(tab, "name", "000")
    assert column(tab, "name") == ["test/dent/rgb/000.png"]
    assert tab.text("#shown") == f"1 of {len(parts)} parts are shown."
    tab.value("document.getElementById('all').click()")
    choose(tab, "verdict", "pass")
    assert len(column(tab, "name")) == sum(part.verdict == "pass" for part in parts)
    tab.value("document.getElementById('all').click()")
    tab.value("document.getElementById('wrong').click()")
    wrong = [part.name for part in parts if (part.verdict == "pass") != (part.defect == "good")]
    assert column(tab, "name") == wrong
    tab.value("document.getElementById('all').click()")
    tab.value("document.getElementById('differs').click()")
    assert two.extras.second is not None
    second = two.extras.second.evaluation.parts
    assert column(tab, "name") == [
        one.name for one, other in zip(parts, second, strict=True) if one.verdict != other.verdict
    ]


def test_the_list_is_sorted(tab: Browser, one: Report, tmp_path: Path) -> None:
    show(tab, one, tmp_path)
    scores = sorted(part.score for part in one.first.evaluation.parts if part.score is not None)
    button = "document.querySelector('#parts th button[data-key=score]')"
    tab.value(f"{button}.focus()")
    for direction, expected in (("ascending", scores), ("descending", scores[::-1])):
        tab.key("Enter", 13)
        assert [float(score) for score in column(tab, "score")] == expected
        assert tab.value(f"{button}.closest('th').ariaSort") == direction
    tab.value("document.querySelector('#parts th button[data-key=kind]').click()")
    assert column(tab, "kind") == sorted(column(tab, "kind"))
    assert tab.value("document.querySelectorAll('#parts th[aria-sort]').length") == 1


def shown_maps(tab: Browser) -> list[bool]:
    found: list[bool] = tab.value(
        "[...document.querySelectorAll('#stack .map')]"
        ".map(map => getComputedStyle(map).visibility === 'visible')"
    )
    return found


def test_a_part_is_enlarged_with_each_map_and_without(tab: Browser, two: Report, tmp_path: Path) -> None:
    show(tab, two, tmp_path)
    rejected = next(
        number for number, part in enumerate(two.first.evaluation.parts) if part.verdict == "reject"
    )
    opener = f"document.querySelector('#parts button.open[data-number=\"{rejected}\"]')"
    tab.value(f"{opener}.focus()")
    tab.key("Enter", 13)
    tab.until("document.getElementById('large').open")
    part = two.first.evaluation.parts[rejected]
    assert tab.text("#part") == part.name
    assert f"model 1: {part.verdict}, score {part.score:.4g}" in tab.text("#what")
    tab.until("[...document.querySelectorAll('#stack img')].every(image => image.naturalWidth > 0)")
    maps = len(shown_maps(tab))
    assert shown_maps(tab)[0]
    assert sum(shown_maps(tab)) == 1
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    tab.picture(ARTEFACTS / "enlarged.png")
    tab.key("m", 77)
    assert not any(shown_maps(tab))
    tab.key("ArrowRight", 39)
    assert tab.text("#part") == two.first.evaluation.parts[rejected + 1].name
    tab.key("ArrowLeft", 37)
    assert tab.text("#part") == part.name
    tab.value("document.querySelector('input[name=map][value=\"1\"]').click()")
    assert shown_maps(tab) == [False, True][:maps]
    tab.key("Escape", 27)
    tab.until("!document.getElementById('large').open")
    assert tab.value(f"document.activeElement === {opener}"), "the focus goes back"
    assert tab.value("document.getElementById('maps').value") == "1"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("opened", [False, True], ids=["page", "dialog"])
def test_a_screen_reader_finds_its_way(
    tab: Browser, two: Report, tmp_path: Path, scheme: str, *, opened: bool
) -> None:
    """axe-core: names, roles, labels, landmarks, contrast (WCAG 2.1 AA and best practices)."""
    axe = importlib.resources.files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    tab.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    show(tab, two, tmp_path, "#threshold=1")
    if opened:
        tab.value("document.querySelector('button.open').click()")
    tab.value(axe + "; true")
    result: dict[str, Any] = json.loads(tab.value("axe.run(document).then(found => JSON.stringify(found))"))
    assert len(result["passes"]) > 20
    wrong = [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in result["violations"]]
    assert wrong == []


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_the_screen(tab: Browser, two: Report, tmp_path: Path, width: int) -> None:
    """The screenshot is kept for people to look at: artefacts/report."""
    tab.screen(width, 900)
    show(tab, two, tmp_path)
    assert tab.value("document.documentElement.scrollWidth") <= width
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    tab.picture(ARTEFACTS / f"report_{width}.png", whole=True)
    assert tab.value(
        "[...document.images].filter(image => image.checkVisibility({visibilityProperty: true}) && image.src)"
        ".every(image => image.naturalWidth > 0)"
    )


def test_paper_is_a4_and_nothing_is_cut(tab: Browser, two: Report, tmp_path: Path) -> None:
    """A picture or a row that is cut by the end of a page is drawn on both."""
    show(tab, two, tmp_path)
    tab.value("document.querySelector('#parts th button[data-key=score]').click()")
    tab.value("document.getElementById('wrong').click()")
    names = column(tab, "name")
    printed = base64.b64decode(
        tab.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"]
    )
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    (ARTEFACTS / "report.pdf").write_bytes(printed)
    pdf = pypdfium2.PdfDocument(printed)
    assert len(pdf) > 2
    text, photos = "", 0
    for page in pdf:
        width, height = page.get_size()
        assert (width / 72 * 25.4, height / 72 * 25.4) == pytest.approx(A4_MM, abs=1)
        for thing in page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]):
            left, bottom, right, top = thing.get_bounds()
            assert left > 0
            assert bottom > 0
            assert right < width
            assert top < height
            photos += thing.get_filters() == ["DCTDecode"]
        text += page.get_textpage().get_text_bounded()
    gallery = tab.value("document.querySelectorAll('.gallery img.photo').length")
    assert photos == gallery + len(names)
    assert "Show all" not in text
    assert text.count("Customer") == 1
    flat = "".join(text.split())
    assert f"1/{len(pdf)}" in flat
    listed = flat[flat.index("SavethelistasCSV") :]
    assert [listed.count(name) for name in names] == [1] * len(names)
    places = [listed.index(name) for name in names]
    assert places == sorted(places), "in the order that was chosen"
