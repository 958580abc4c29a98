"""A page as one file: a template with style, script and data put into it."""

from __future__ import annotations

import json
from importlib.resources import files

STYLE, SCRIPT, DATA = "/* style */", "/* script */", "{/* data */}"


def filled(template: str, content: object, *, style: str = "", script: str = "") -> str:
    """Put style, script and `content`, as JSON, where the template has their marks."""
    # The data last: nothing in it may be taken for a mark.
    before, _, after = template.replace(STYLE, style).replace(SCRIPT, script).partition(DATA)
    # "<" is escaped, so that nothing in a file name can end the script that contains the data.
    data = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
    return f"{before}{data}{after}"


def piece(package: str, name: str) -> str:
    """Read a piece of a page that is a file of `package`."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def base_style() -> str:
    """Return the style that pages have in common."""
    return piece("ast_edge.pages", "base.css")
