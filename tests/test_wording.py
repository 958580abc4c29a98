"""Wording: pydantic's findings, suggestions, and text without terminal control characters."""

from __future__ import annotations

import csv
import io
import re
import shlex
import subprocess
import sys
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ast_edge.wording import csv_text, escaped, first_problem, install_hint, meant, percent_text, share_text
from tests.paths import ROOT


class Inner(BaseModel):
    size: int = Field(1, ge=1, le=9)


class Sample(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = "x"
    rate: float = Field(0.5, gt=0, lt=1, allow_inf_nan=False)
    kind: Literal["a", "b"] = "a"
    on: bool = True
    inner: Inner = Inner(size=1)
    many: tuple[int, ...] = ()


@pytest.mark.parametrize(
    ("content", "key", "words"),
    [
        ({"nam": 1}, "nam", "there is no such key"),
        ({"name": 1}, "name", "must be a text"),
        ({"rate": "fast"}, "rate", "must be a number"),
        ({"rate": 0}, "rate", "must be greater than 0"),
        ({"rate": 1.5}, "rate", "must be less than 1"),
        ({"rate": float("nan")}, "rate", "must be a finite number"),
        ({"kind": "c"}, "kind", "must be 'a' or 'b'"),
        ({"on": "perhaps"}, "on", "must be true or false"),
        ({"inner": {"size": 0}}, "inner.size", "must be at least 1"),
        ({"inner": {"size": 10}}, "inner.size", "must be at most 9"),
        ({"inner": 3}, "inner", "must be a table of keys and values"),
        ({"many": 3}, "many", "must be a list"),
        ({"many": [1, 2.5]}, "many.1", "must be a whole number"),
    ],
)
def test_findings_are_in_plain_words(content: dict[str, object], key: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate(content)
    assert first_problem(caught.value) == (key, words)


def test_a_guess_is_made_only_where_a_word_is_close() -> None:
    assert meant("balancd", ["paper", "balanced", "nano"]) == " Did you mean 'balanced'?"
    assert not meant("giraffe", ["paper", "balanced", "nano"])


@given(st.text())
def test_no_text_commands_a_terminal(text: str) -> None:
    assert all(one.isprintable() or one in "\n\t" for one in escaped(text))


def test_what_can_be_printed_stays() -> None:
    assert escaped("größer → 5 µm\n\tnext") == "größer → 5 µm\n\tnext"
    assert escaped("\x1b[2J\u202e\udcfc") == "\\x1b[2J\\u202e\\udcfc"


def hinted_extras() -> set[str]:
    """The extras that a message of the package tells people to install."""
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "ast_edge").rglob("*.py"))
    return {name for text in sources for name in re.findall(r"install_hint\([\"'](\w+)[\"']\)", text)}


def test_no_message_names_a_package_that_is_not_published() -> None:
    assert {"cpu", "line", "openvino", "tensorrt", "train"} <= hinted_extras()
    for path in (ROOT / "ast_edge").rglob("*.py"):
        assert "ast-edge[" not in path.read_text(encoding="utf-8"), path


@pytest.mark.slow
@pytest.mark.parametrize("extra", sorted(hinted_extras()))
def test_a_hint_runs_as_printed(extra: str) -> None:
    """Without the packages that it would download: pip accepts the command and knows the extra."""
    command = install_hint(extra).split("`")[1]
    pip, *words = shlex.split(command)
    assert pip == "pip"
    options = ("--dry-run", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "does not provide the extra" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("count", "parts", "text"),
    [(5, 16, "31.3 %"), (1, 16, "6.3 %"), (2, 3, "66.7 %"), (0, 7, "0.0 %"), (7, 7, "100.0 %")],
)
def test_a_share_has_one_decimal_and_the_half_goes_up(count: int, parts: int, text: str) -> None:
    assert percent_text(count, parts) == text
    assert share_text(count, parts) == f"{count} of {parts} ({text})"


def test_a_spreadsheet_evaluates_nothing() -> None:
    text = csv_text([["=1+1", "a,b", -1.5], ["@x", "-y", None]])
    assert list(csv.reader(io.StringIO(text))) == [["'=1+1", "a,b", "-1.5"], ["'@x", "'-y", ""]]
