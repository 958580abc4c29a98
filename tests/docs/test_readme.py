"""The README is short, its tables are those of the results, and its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys

from benchmarks import tables
from benchmarks.common.command import module
from tests.docs.pages import blocks, pages
from tests.paths import ROOT

README = ROOT / "README.md"
# Words of prose; the tables of results come on top.
MOST_WORDS = 1000


def test_the_tables_are_those_of_the_result_files() -> None:
    done = subprocess.run([*module("tables"), "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, "run: python -m benchmarks.tables"


def test_every_table_stands_on_a_page() -> None:
    shown = [
        name
        for page in tables.pages()
        for name in re.findall(r"<!-- begin (\w+) -->", page.read_text(encoding="utf-8"))
    ]
    assert set(shown) == set(tables.TABLES)


def test_the_check_sees_a_changed_figure() -> None:
    text = README.read_text(encoding="utf-8")
    assert tables.filled(text) == text
    changed = text.replace("| `nano` | 0", "| `nano` | 9")
    assert changed != text
    assert tables.filled(changed) == text


def test_the_readme_is_short() -> None:
    text = README.read_text(encoding="utf-8")
    assert 500 < len(text.split()) < MOST_WORDS


def test_every_command_on_a_page_is_one() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from ast_edge.cli import main; main(['--help'])"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    known = set(re.findall(r"^│ ([a-z][a-z-]*)  ", done.stdout, re.MULTILINE))
    assert {"train", "run", "doctor"} <= known
    for page in pages():
        used = set(re.findall(r"`ast-edge ([a-z][a-z-]*)", page.read_text(encoding="utf-8")))
        for block in blocks(page):
            used |= set(re.findall(r"^ast-edge ([a-z][a-z-]*)", block.text, re.MULTILINE))
        assert used <= known, page
