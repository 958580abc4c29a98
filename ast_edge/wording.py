"""Text for people: pydantic's findings in plain words, guesses what was meant, no terminal's commands."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet evaluates a text that begins so
_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "there is no such key",
    "frozen_field": "cannot be changed",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "string_type": "must be a text",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a table of keys and values",
    "model_type": "must be a table of keys and values",
    "model_attributes_type": "must be a table of keys and values",
    "none_required": "must be left out",
    "path_type": "must be a path",
    "json_invalid": "is not JSON",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "too_short": "must have at least {min_length} entries, not {actual_length}",
    "too_long": "must have at most {max_length} entries, not {actual_length}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must look like {pattern}",
    "union_tag_not_found": "needs its key {discriminator}",
    "union_tag_invalid": "its {discriminator} must be one of {expected_tags}, not '{tag}'",
}


def problem(error: Mapping[str, Any]) -> str:
    """One entry of `ValidationError.errors()` in plain words, without the key that it is about."""
    words = _WORDS.get(error["type"])
    if words is None:
        return str(error["msg"]).removeprefix("Value error, ")
    limits = error.get("ctx", {}).items()
    return words.format(
        **{name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in limits}
    )


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Key, dotted and empty for the whole, and words of the first thing that is wrong."""
    first = error.errors(include_url=False)[0]
    return ".".join(map(str, first["loc"])), problem(first)


def install_hint(extra: str) -> str:
    """The command that installs an extra, for a message. No release is published: it needs the checkout."""
    return f'`pip install ".[{extra}]"` in the folder of ast-edge'


def meant(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for a known word that is close to `word`, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def escaped(text: str) -> str:
    """`text` with every character that could command a terminal, or hide there, shown as an escape.

    Names and texts come from files, PLCs and archives. Line ends and tabs stay.
    """
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text
    )


def one_line(text: str) -> str:
    """`escaped`, also line ends and tabs: a name with a line end must not look like a line of its own."""
    return escaped(text).replace("\n", "\\n").replace("\t", "\\t")


def percent_text(count: int, parts: int) -> str:
    """A share in percent with one decimal, the half rounded up: the same figure in Python and in a page.

    Of a float 31.25, Python makes 31.2 and JavaScript 31.3.
    """
    tenths = (2000 * count + parts) // (2 * parts)
    return f"{tenths // 10}.{tenths % 10} %"


def share_text(count: int, parts: int) -> str:
    """A share as counts and in percent."""
    return f"{count} of {parts} ({percent_text(count, parts)})"


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV. A text that a spreadsheet would evaluate as a formula gets a quote before it."""
    text = io.StringIO()
    csv.writer(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
