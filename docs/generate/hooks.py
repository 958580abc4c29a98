"""Pages that are written from the code when the documentation is built."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
# mkdocs loads this file by its path: the packages of the checkout must be importable.
for folder in (ROOT, ROOT / "export"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from docs.generate import commands, line_toml, metrics, registers  # noqa: E402

PAGES: dict[str, Callable[[], str]] = {
    "reference/command-line.md": commands.page,
    "reference/line-toml.md": line_toml.page,
    "reference/metrics.md": metrics.page,
    "reference/registers.md": registers.page,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    return files
