"""The spool's folder: complete files of ours are sent in order, all others are left alone and counted."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ast_edge.errors import LineError
from ast_edge.line.outputs.spool import MAX_ENTRY_BYTES, Spool


@contextmanager
def opened(folder: Path, entries: int = 100) -> Iterator[Spool]:
    spool = Spool(folder, entries, 10**9)
    try:
        assert spool.open()
        yield spool
    finally:
        assert spool.close() == 0


def body(part_id: str) -> bytes:
    return json.dumps({"part_id": part_id}).encode()


def drain(spool: Spool) -> list[str]:
    """Take everything out of the spool; return the parts in order."""
    found = []
    while (first := spool.first()) is not None:
        assert json.loads(first[1])["part_id"] == first[0].part_id
        found.append(first[0].part_id)
        spool.remove(first[0])
    return found


def test_the_order_stays_over_restarts(tmp_path: Path) -> None:
    for round_ in range(3):
        with opened(tmp_path) as spool:
            for number in range(5):
                spool.add(f"{round_}-{9 - number}", body(f"{round_}-{9 - number}"))
    with opened(tmp_path) as spool:
        assert drain(spool) == [f"{round_}-{9 - number}" for round_ in range(3) for number in range(5)]


def test_what_is_torn_or_not_ours_is_counted_and_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        for number in range(4):
            spool.add(f"p{number}", body(f"p{number}"))
    names = sorted(path.name for path in tmp_path.glob("0*"))
    (tmp_path / names[1]).write_bytes(body("p1")[:-3])
    (tmp_path / names[2]).write_bytes(body("p7"))
    foreign = ["notes.txt", "000000000009-x.json.bak", "1-x.json", "lock", "000000000007-\u00e4.json"]
    for name in foreign:
        (tmp_path / name).write_text("mine")
    (tmp_path / "000000000010-folder.json").mkdir()
    (tmp_path / "000000000011-link.json").symlink_to(tmp_path / names[0])
    (tmp_path / ".000000000012-cut.json.abc123.tmp").write_text('{"part')
    with opened(tmp_path) as spool:
        assert drain(spool) == ["p0", "p3"]
    assert (spool.counts.damaged, spool.counts.foreign) == (2, 8)
    left = {path.name for path in tmp_path.iterdir()}
    assert left >= {*foreign, *names[1:3], "000000000010-folder.json", "000000000011-link.json"}
    assert ".000000000012-cut.json.abc123.tmp" not in left
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_file_that_was_taken_away_is_counted(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        for name in ("a", "b"):
            spool.add(name, body(name))
        next(tmp_path.glob("*-a.json")).unlink()
        assert drain(spool) == ["b"]
    assert spool.counts.damaged == 1


def test_what_was_given_up_on_its_way_and_arrived_is_not_lost(tmp_path: Path) -> None:
    with opened(tmp_path, entries=2) as spool:
        for name in ("a", "b"):
            spool.add(name, body(name))
        first = spool.first()
        assert first is not None
        spool.add("c", body("c"))
        assert spool.counts.dropped == 1
        spool.remove(first[0])
        assert spool.counts.dropped == 0
        assert drain(spool) == ["b", "c"]


def test_a_folder_has_one_user(tmp_path: Path) -> None:
    second = Spool(tmp_path, 10, 10**6)
    with opened(tmp_path):
        assert not second.open()
        assert "another output or process" in second.counts.error
        second.add("x", body("x"))
        assert second.counts.in_memory == 1
        assert drain(second) == ["x"]
    with opened(tmp_path):
        pass


def test_a_read_only_folder_holds_entries_in_memory(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    spool = Spool(tmp_path, 10, 10**6)
    assert not spool.open()
    spool.add("x", body("x"))
    assert drain(spool) == ["x"]


def test_odd_names_are_made_fit_for_a_file(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        spool.add("../\n/etc\u00e4", body("../\n/etc\u00e4"))
        first = spool.first()
        assert first is not None
        assert first[0].part_id == "..___etc_"
        with pytest.raises(LineError, match="at most 65536"):
            spool.add("large", b"x" * (MAX_ENTRY_BYTES + 1))


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
own_names = st.builds("{:012d}-{}.json".format, st.integers(0, 10**12 - 1), st.sampled_from("abc"))
contents = st.binary(max_size=60) | st.sampled_from("abc").map(body)


@settings(max_examples=60)
@given(st.dictionaries(own_names | names.filter(lambda name: name not in {".", "..", ".lock"}), contents))
def test_any_folder_can_be_opened(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = {file: content for file, content in files.items() if len(file.encode()) < 200}
        for file, content in kept.items():
            (folder / file).write_bytes(content)
        with opened(folder, entries=1000) as spool:
            counts = spool.counts
            assert counts.waiting + counts.foreign == len(kept)
            spool.add("new", body("new"))
            found = drain(spool)
        assert found == [*sorted_whole(kept), "new"]


def sorted_whole(files: dict[str, bytes]) -> list[str]:
    """Which of them are entries, by the names that the spool gives and by what is in them, in their order."""
    ours = [name for name in files if re.fullmatch(r"[0-9]{12}-[abc]\.json", name)]
    return [name[13:-5] for name in sorted(ours) if part_of(files[name]) == name[13:-5]]


def part_of(content: bytes) -> object:
    """The part that a file names, however its JSON is spelt; None if it names none."""
    try:
        entry = json.loads(content)
    except ValueError:
        return None
    return entry.get("part_id") if isinstance(entry, dict) else None
