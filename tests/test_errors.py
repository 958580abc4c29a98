"""Exceptions in words: one line, with the file that they concern."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ast_edge.errors import DataError, message, reason, sentence


@pytest.mark.parametrize(
    ("exc", "whole", "without_file"),
    [
        (DataError("a/b.png: is no picture."), "a/b.png: is no picture.", "a/b.png: is no picture."),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/disk/f"),
            "/disk/f: No space left on device",
            "No space left on device",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), *(2 * ["No space left on device"])),
        (OSError("odd"), "odd", "odd"),
        (TimeoutError(), "TimeoutError", "TimeoutError"),
        (ValueError("one\n  two"), "ValueError: one two", "ValueError: one two"),
        (ValueError(), "ValueError", "ValueError"),
    ],
)
def test_an_exception_is_one_line_of_words(exc: Exception, whole: str, without_file: str) -> None:
    assert (sentence(exc), reason(exc)) == (whole, without_file)


@pytest.mark.parametrize(
    ("exc", "said"), [(RuntimeError("one\n  two "), "one two"), (RuntimeError(" \n"), "RuntimeError")]
)
def test_what_a_library_says_is_one_line(exc: Exception, said: str) -> None:
    assert message(exc) == said


def test_the_words_of_a_real_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory") as caught:
        (tmp_path / "none" / "file").read_bytes()
    assert sentence(caught.value) == f"{tmp_path}/none/file: No such file or directory"
