"""The operator's page as one file, without external resources; all text is set as text, never as HTML."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import lru_cache
from html import escape
from pathlib import Path

from ast_edge.line.web.words import FAULTS, LANGUAGES, translated, translation

_HERE = Path(__file__).parent
_HTML, _STYLE, _SCRIPT = (
    (_HERE / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js")
)
# {{message}} in the HTML, t('message') in the script.
_IN_HTML = re.compile(r"\{\{([^{}]+)\}\}")
_IN_SCRIPT = re.compile(r"\bt\('((?:[^'\\]|\\.)+)'")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def html_messages() -> list[str]:
    """Return every message of the HTML."""
    return _IN_HTML.findall(_HTML)


def script_messages() -> list[str]:
    """Return every message of the script, including the descriptions of faults."""
    found = [message.replace("\\'", "'") for message in _IN_SCRIPT.findall(_SCRIPT)]
    return [*found, *(text for pair in FAULTS.values() for text in pair)]


@lru_cache(maxsize=len(LANGUAGES))
def page(language: str) -> bytes:
    """Return the page in one of `LANGUAGES`."""
    words = translation(language)
    text = _IN_HTML.sub(lambda match: escape(words.gettext(match[1])), _HTML)
    facts = {
        "language": language,
        "words": translated(script_messages(), language),
        "faults": {code: list(pair) for code, pair in FAULTS.items()},
    }
    # Inside <script> nothing is escaped, so the data must not end it.
    data = json.dumps(facts, ensure_ascii=False).replace("<", "\\u003c")
    pieces = {
        "LANGUAGE": language,
        "LANGUAGES": _links(language),
        "STYLE": _STYLE,
        "DATA": data,
        "SCRIPT": _SCRIPT,
    }
    return re.sub(r"@([A-Z]+)@", lambda match: pieces[match[1]], text).encode()


def _links(current: str) -> str:
    """Return links to all languages but the current one."""
    links = [
        f'<a href="?lang={code}" lang="{code}" hreflang="{code}">{escape(name)}</a>'
        for code, name in LANGUAGES.items()
        if code != current
    ]
    return "\n".join(links)
