"""Every link in README, docs and examples leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import pages
from tests.paths import ROOT

# Pages that have moved: the old addresses must not come back.
MOVED = ("github.com/openvinotoolkit/anomalib", "mvtec.com/company/research")
# Written when the documentation is built (docs/generate).
GENERATED = {"command-line.md", "line-toml.md", "metrics.md", "registers.md"}


def links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    return re.findall(r"\]\(([^)\s]+)\)", text)


READMES = [ROOT / "benchmarks" / "results" / "kept" / "README.md"]


@pytest.mark.parametrize("page", [*pages(), *READMES], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    missing = []
    for link in links(page):
        target = link.partition("#")[0]
        if "://" in link or not target:
            continue
        if not (page.parent / target).exists() and Path(target).name not in GENERATED:
            missing.append(link)
    assert not missing


def test_there_are_links() -> None:
    assert sum(len(links(page)) for page in pages()) > 80


def test_no_page_names_an_address_that_has_moved() -> None:
    files = [*pages(), *(ROOT / "cpp_bridge").glob("*.md"), *(ROOT / "benchmarks").rglob("*.py")]
    found = [path for path in files for old in MOVED if old in path.read_text(encoding="utf-8")]
    assert not found


def test_links_to_the_web_are_encrypted() -> None:
    plain = [link for page in pages() for link in links(page) if link.startswith("http://")]
    assert not [link for link in plain if not link.startswith("http://127.0.0.1")]
