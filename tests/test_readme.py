"""What the README shows is what the tree holds."""

from __future__ import annotations

import re
import subprocess
import sys

from benchmarks.common.command import module
from tests.paths import ROOT


def test_the_tables_are_those_of_the_result_files() -> None:
    done = subprocess.run([*module("tables"), "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, "run: python -m benchmarks.tables"


def test_every_link_into_the_tree_leads_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_command_in_the_readme_is_one() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = {words.split()[0] for words in re.findall(r"ast-edge ([a-z][a-z-]*[^`\n]*)", text)}
    done = subprocess.run(
        [sys.executable, "-c", "from ast_edge.cli import main; main(['--help'])"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert commands
    assert [command for command in commands if command not in done.stdout] == []
