"""Keeps the page's message catalogue: `python -m tests.line.web.catalogue` after a message was changed.

Every .po file gets the messages that the page has now, new ones without translation; every .mo is compiled.
"""

from __future__ import annotations

from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from ast_edge.line.web.page import html_messages, script_messages
from ast_edge.line.web.words import DOMAIN, LANGUAGES, LOCALE

_WHEN = datetime(2026, 1, 1, tzinfo=timezone.utc)  # no file changes without a message
TRANSLATED = [language for language in LANGUAGES if language != "en"]


def messages() -> list[str]:
    """Every message of the page, in the order of its appearance."""
    return list(dict.fromkeys([*html_messages(), *script_messages()]))


def po_path(language: str) -> Path:
    return LOCALE / language / "LC_MESSAGES" / f"{DOMAIN}.po"


def read(language: str) -> Catalog:
    with po_path(language).open("rb") as stream:
        return read_po(stream, locale=language, domain=DOMAIN)


def compiled(catalog: Catalog) -> bytes:
    """What belongs into the .mo file."""
    stream = BytesIO()
    write_mo(stream, catalog)
    return stream.getvalue()


def update(language: str) -> None:
    """Bring both files of a language up to date."""
    old = read(language)
    new = Catalog(
        locale=language,
        domain=DOMAIN,
        header_comment="# The operator's page.",
        project="ast-edge",
        version="1",
        msgid_bugs_address="none",
        last_translator="none",
        language_team="none",
        fuzzy=False,
    )
    new.creation_date = new.revision_date = _WHEN
    for message in messages():
        known = old.get(message)
        new.add(message, known.string if known is not None else "")
    stream = BytesIO()
    write_po(stream, new, width=100)
    po_path(language).write_bytes(stream.getvalue())
    po_path(language).with_suffix(".mo").write_bytes(compiled(read(language)))


if __name__ == "__main__":
    for each in TRANSLATED:
        update(each)
