"""Every message in every language, and the choice of the reader's language."""

from __future__ import annotations

import re
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.line.outputs.reasons import OTHER, REASONS
from ast_edge.line.web.page import page
from ast_edge.line.web.words import FAULTS, LANGUAGES, choose, translation
from tests.line.web.catalogue import TRANSLATED, compiled, messages, po_path, read


def names(message: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(message) if name}


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_catalogue_is_whole(language: str) -> None:
    """Run `python -m tests.line.web.catalogue` after a change, and translate what is new."""
    catalog = read(language)
    found = {str(entry.id): str(entry.string) for entry in catalog if entry.id}
    assert list(found) == messages()
    assert [message for message, text in found.items() if not text.strip()] == []
    assert not any(entry.fuzzy for entry in catalog if entry.id)
    for message, text in found.items():
        assert names(message) == names(text), message
    assert po_path(language).with_suffix(".mo").read_bytes() == compiled(catalog)


@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_are_in_their_language(language: str) -> None:
    """Sentences, which no two of these languages share."""
    words = translation(language)
    same = [message for message in messages() if len(message) > 20 and words.gettext(message) == message]
    assert same == []
    own = {"de": "[äöüß]", "ja": "[\u3040-\u30ff]", "zh": "[\u4e00-\u9fff]"}[language]
    assert re.search(own, "".join(words.gettext(message) for message in messages()))


def test_every_fault_has_words() -> None:
    assert set(FAULTS) == {code for code, _, _ in REASONS} | {OTHER}
    assert all(what.endswith(".") and act.endswith(".") for what, act in FAULTS.values())


@pytest.mark.parametrize(
    ("wanted", "accepted", "language"),
    [
        (None, "", "en"),
        (None, "de-AT,de;q=0.9,en;q=0.8", "de"),
        (None, "fr-FR, zh-CN;q=0.5, en;q=0.2", "zh"),
        (None, "ja", "ja"),
        (None, "en;q=0.1,ja;q=0.2", "ja"),
        (None, "de;q=0", "en"),
        (None, "fr", "en"),
        ("ja", "de", "ja"),
        ("../../etc", "de", "de"),
        ("", "zh", "zh"),
    ],
)
def test_the_readers_language(wanted: str | None, accepted: str, language: str) -> None:
    assert choose(wanted, accepted) == language


@given(st.text(max_size=200), st.text(max_size=20))
def test_whatever_is_asked_for_there_is_a_language(accepted: str, wanted: str) -> None:
    assert choose(wanted, accepted) in LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_is_one_small_file(language: str) -> None:
    text = page(language).decode()
    assert len(text.encode()) < 60_000
    assert f'<html lang="{language}">' in text
    assert "{{" not in text
    assert re.search(r"@[A-Z]+@", text) is None
    assert re.findall(r"(?:src|href)=\"(?!\?lang=|data:)[^\"]*\"", text) == []
    data = text.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    assert "<" not in data
