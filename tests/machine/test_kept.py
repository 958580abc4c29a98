from __future__ import annotations

from pathlib import Path

import pytest

from ast_edge.machine.kept import KeptFiles

FILES = KeptFiles("some", ".kept", most_bytes=10, most_bytes_together=100)


def names() -> list[str]:
    return sorted(path.name for path in FILES.path("x").parent.glob("*"))


@pytest.mark.usefixtures("own_cache")
def test_the_ones_not_used_for_the_longest_go_first() -> None:
    FILES.keep("large", b"x" * 11)
    assert names() == []
    for key in ("a", "b"):
        FILES.keep(key, b"x" * 10)
    assert FILES.read("a") == b"x" * 10  # in use again: b goes first
    FILES.keep("c", b"x" * 10)
    assert names() == ["a.kept", "c.kept"]
    assert FILES.read("b") == b""


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("at", [0, 31, 32, -1])
def test_a_damaged_file_counts_as_none(at: int) -> None:
    FILES.keep("a", b"content")
    assert FILES.read("a") == b"content"
    damaged = bytearray(FILES.path("a").read_bytes())
    damaged[at] ^= 1
    FILES.path("a").write_bytes(damaged)
    assert FILES.read("a") == b""
    FILES.path("a").write_bytes(b"")
    assert FILES.read("a") == b""


def test_a_folder_that_cannot_be_made_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("AST_EDGE_CACHE", str(tmp_path / "file"))
    FILES.keep("a", b"content")
    assert FILES.read("a") == b""
