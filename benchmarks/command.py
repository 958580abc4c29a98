"""What the commands of this folder share: models by name, and results that a dry run only prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from ast_edge.files import write_text


def named(word: str) -> tuple[str, Path]:
    """An argument NAME=PATH."""
    name, _, path = word.partition("=")
    return name, Path(path)


def keep(result: Mapping[str, object], target: Path, *, dry_run: bool) -> None:
    """Write a result file; a dry run prints it instead."""
    text = json.dumps(result, indent=1) + "\n"
    if dry_run:
        sys.stdout.write(text)
    else:
        write_text(target, text)
