"""line.toml: every error names file, line and key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from ast_edge.errors import LineError
from ast_edge.line.config.options import Options
from ast_edge.line.config.toml_file import MAX_BYTES, line_of, read_toml


class A(Options):
    kind: Literal["a"]
    port: int = 1


class B(Options):
    kind: Literal["b"]
    host: str


class Whole(Options):
    name: str
    inner: A | None = None
    output: tuple[Annotated[A | B, Field(discriminator="kind")], ...] = ()
    many: tuple[int, ...] = ()


def message(folder: Path, text: str) -> str:
    path = folder / "line.toml"
    path.write_text(text)
    with pytest.raises(LineError) as caught:
        read_toml(path, Whole)
    return str(caught.value).replace(str(path), "FILE")


def test_a_good_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "line.toml"
    path.write_text('name = "x"\n[[output]]\nkind = "b"\nhost = "plc"\n')
    assert read_toml(path, Whole).output[0] == B(kind="b", host="plc")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "x"\ncolour = 1\n', "FILE:2: colour: there is no such key."),
        ('name = "x"\nmny = [1]\n', "FILE:2: mny: there is no such key. Did you mean 'many'?"),
        ('name = "x"\n[iner]\nport = 1\n', "FILE:2: iner: there is no such section. Did you mean 'inner'?"),
        (
            'name = "x"\n[inner]\nkind = "a"\nprot = 1\n',
            "FILE:4: inner.prot: there is no such key. Did you mean 'port'?",
        ),
        ("\ufeffname = 1", "FILE:1: name: must be a text"),
        ("\n# nothing\n[inner]\nkind='a'\n", "FILE:1: name: is missing."),
        (
            'name = "x"\n\n[inner]\nkind = "a"\n# high\nport = "high"\n',
            "FILE:6: inner.port: must be a whole number",
        ),
        ('name = "x"\n[[output]]\nkind="a"\n\n[[output]]\nkind="b"\n', "FILE:5: output[1].host: is missing."),
        (
            'name = "x"\n[[output]]\nkind="c"\n',
            "FILE:2: output[0]: its 'kind' must be one of 'a', 'b', not 'c'",
        ),
        ('name = "x"\nmany = [\n  1,\n  "two",\n]\n', "FILE:2: many[1]: must be a whole number"),
        ("name = 1\nmany = 2\nother = 3", "FILE:1: name: must be a text; FILE:2: many:"),
        ("name = [", "FILE: not valid TOML:"),
        ("name = 'x'\nname = 'y'", "FILE: not valid TOML:"),
    ],
)
def test_problems_name_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    assert message(tmp_path, text).startswith(said)


def test_a_question_is_not_followed_by_a_full_stop(tmp_path: Path) -> None:
    assert message(tmp_path, 'name = "x"\nmny = [1]\n').endswith("Did you mean 'many'?")


def test_many_problems_are_counted(tmp_path: Path) -> None:
    text = "".join(f"key{number} = 1\n" for number in range(9))
    assert message(tmp_path, text).endswith("; and 5 more.")


def test_files_that_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "line.toml"
    with pytest.raises(LineError, match="cannot be read"):
        read_toml(path, Whole)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(LineError, match="not UTF-8"):
        read_toml(path, Whole)
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(LineError, match="larger than"):
        read_toml(path, Whole)
    path.write_text("a = " + "[" * 30_000)
    with pytest.raises(LineError, match="not valid TOML"):
        read_toml(path, Whole)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_rubbish_is_refused_in_words(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "rubbish.toml"
    path.write_bytes(data)
    with pytest.raises(LineError, match=r"rubbish\.toml"):
        read_toml(path, Whole)


@given(st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), min_size=1, max_size=8, unique=True))
def test_every_key_is_found_on_its_line(names: list[str]) -> None:
    text = "".join(f"# comment\n{name} = 1\n" for name in names)
    assert [line_of(text, [name]) for name in names] == [2 * n + 2 for n in range(len(names))]
