"""What a start finds: leftovers of a killed process, files that were removed, a damaged index."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ast_edge.line.archive.clock import ArchiveClock
from ast_edge.line.archive.index import Index
from ast_edge.line.archive.pictures import part_file
from ast_edge.line.archive.reading import ArchivedPart
from ast_edge.line.archive.retention import remove_files
from ast_edge.line.archive.row import row_of
from ast_edge.line.archive.schema import look
from tests.line.archive.bench import Opened, archiving, check_whole, part, rows
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of six rejects; copy before you change it."""
    folder = tmp_path_factory.mktemp("made") / "archive"
    with archiving(folder, "first") as opened:
        for number in range(1, 7):
            opened.archive.put(part(number, run="first", external_id=f"E{number}", encoder=number))
    return folder


@pytest.fixture
def archive(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "archive"))


def sql(folder: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / "index.sqlite")) as index, index:
        index.execute(statement, values)


def started_again(folder: Path) -> Opened:
    """The next run looks through the archive, and adds a part."""
    with archiving(folder, "second") as opened:
        opened.archive.put(part(1, run="second"))
        wait_for(lambda: opened.archive.counts.swept)
    return opened


def of_first(folder: Path) -> list[ArchivedPart]:
    return [found for found in rows(folder) if found.run == "first"]


def test_a_good_archive_is_left_as_it_is(archive: Path) -> None:
    before = of_first(archive)
    opened = started_again(archive)
    assert of_first(archive) == before
    assert opened.heard.events == []
    check_whole(archive)


def test_files_without_a_row_are_adopted(archive: Path) -> None:
    before = of_first(archive)
    sql(archive, "DELETE FROM parts WHERE number IN (2, 5)")
    opened = started_again(archive)
    assert opened.heard.found()["adopted"] == 2
    after = sorted(of_first(archive), key=lambda found: found.number)
    for old, new in zip(before, after, strict=True):
        assert new.as_dict() == old.as_dict()
    check_whole(archive)


def test_a_picture_that_its_row_waits_for_is_adopted(archive: Path) -> None:
    sql(
        archive,
        "UPDATE parts SET picture_state = 'waiting', picture = NULL, overlay = NULL, json = NULL "
        "WHERE number = 3",
    )
    assert started_again(archive).heard.found()["adopted"] == 1
    assert {found.picture_state for found in check_whole(archive)} == {"kept"}


def test_what_was_not_finished_is_removed(archive: Path) -> None:
    """The process was killed before the JSON file, and while it wrote a temporary one."""
    third = of_first(archive)[2]
    sql(
        archive,
        "UPDATE parts SET picture_state = 'waiting', picture = NULL, overlay = NULL, json = NULL "
        "WHERE number = 3",
    )
    (archive / str(third.files.json)).unlink()
    torn = (archive / str(third.files.picture)).with_name(".first-0000009.png.a1b2c3_d.tmp")
    torn.write_bytes(b"half a picture")
    opened = started_again(archive)
    assert opened.heard.found() == {"adopted": 0, "removed": 3, "interrupted": 1, "missing": 0, "damaged": 0}
    assert of_first(archive)[2].picture_state == "interrupted"
    check_whole(archive)


def test_a_removal_that_was_begun_is_ended(archive: Path) -> None:
    second = of_first(archive)[1]
    (archive / str(second.files.json)).unlink()
    sql(
        archive,
        "UPDATE parts SET picture_state = 'expired', picture = NULL, overlay = NULL, json = NULL, bytes = 0 "
        "WHERE number = 3",
    )
    found = started_again(archive).heard.found()
    assert (found["missing"], found["removed"]) == (1, 3)
    assert [one.picture_state for one in of_first(archive)[1:3]] == ["missing", "expired"]
    check_whole(archive)


def test_a_picture_that_a_power_failure_tore_is_not_adopted(archive: Path) -> None:
    picture = archive / str(of_first(archive)[2].files.picture)
    sql(archive, "DELETE FROM parts WHERE number = 3")
    picture.write_bytes(picture.read_bytes()[:-100])
    assert started_again(archive).heard.found()["damaged"] == 1
    assert [found.number for found in of_first(archive)] == [1, 2, 4, 5, 6]


def test_a_removal_that_stops_half_way_leaves_no_whole_part(archive: Path) -> None:
    files = of_first(archive)[0].files
    (archive / str(files.picture)).unlink()
    (archive / str(files.picture)).mkdir()  # cannot be removed as a file
    with pytest.raises(OSError, match="directory"):
        remove_files(archive, files)
    assert not (archive / str(files.json)).exists()
    (archive / str(files.picture)).rmdir()
    assert started_again(archive).heard.found()["missing"] == 1
    check_whole(archive)


@pytest.mark.parametrize("change", ["cut", "grown", "gone"])
def test_changed_files_are_reported_and_left_alone(archive: Path, change: str) -> None:
    picture = archive / str(of_first(archive)[0].files.picture)
    if change == "gone":
        picture.unlink()
    else:
        data = picture.read_bytes()
        picture.write_bytes(data[:100] if change == "cut" else data + b"x")
    assert started_again(archive).heard.found()["missing"] == 1
    assert of_first(archive)[0].picture_state == "missing"
    assert picture.exists() == (change != "gone")
    if change != "gone":  # put back from a copy, the part is whole again
        picture.write_bytes(data)
        assert started_again_as(archive, "third").heard.found()["adopted"] == 1
        assert of_first(archive)[0].picture_state == "kept"


def started_again_as(folder: Path, run: str) -> Opened:
    with archiving(folder, run) as opened:
        wait_for(lambda: opened.archive.counts.swept)
    return opened


def test_what_is_not_the_archives_own_is_never_touched(archive: Path) -> None:
    day = (archive / str(of_first(archive)[0].files.json)).parent
    foreign = [
        day / "holiday.png",
        day / "notes.txt",
        day / ".hidden.tmp",
        archive / "pictures" / "first-0000077.png",
        archive / "pictures" / "mine" / "first-0000078.png",
        archive / "README",
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    lying = day / "first-0000099.json"  # tells of files elsewhere
    content = json.loads((archive / str(of_first(archive)[0].files.json)).read_text(encoding="utf-8"))
    outside = archive.parent / "outside.png"
    outside.write_text("mine")
    lying.write_text(
        json.dumps(
            {**content, "number": 99, "part_id": "first-0000099", "files": {"../../../outside.png": 4}}
        )
    )
    opened = started_again(archive)
    assert all(path.exists() for path in (*foreign, lying, outside))
    assert opened.heard.found()["damaged"] == 1
    assert not [found for found in rows(archive) if found.number == 99]


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"part_id": 1', b"[" * 70_000])
def test_a_json_file_that_says_nothing_is_left_alone(archive: Path, content: bytes) -> None:
    day = (archive / str(of_first(archive)[0].files.json)).parent
    (day / "first-0000099.json").write_bytes(content)
    assert started_again(archive).heard.found()["damaged"] == 1
    assert (day / "first-0000099.json").read_bytes() == content


def garbage(path: Path) -> None:
    path.write_bytes(b"no index at all" * 1000)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:9000])


def middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:12288] = b"\xa5" * 8192
    path.write_bytes(data)


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE mine (x)")


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as index:
        index.execute("PRAGMA user_version = 99")


def without_a_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as index:
        index.execute("DROP TABLE parts")


@pytest.mark.parametrize("spoil", [garbage, cut, middle, foreign, newer, without_a_table])
def test_an_index_that_cannot_be_used_is_moved_aside(archive: Path, spoil: Callable[[Path], None]) -> None:
    before = of_first(archive)
    spoil(archive / "index.sqlite")
    spoilt = (archive / "index.sqlite").read_bytes()
    opened = started_again(archive)
    (reported,) = [event["index"] for event in opened.heard.events if "index" in event]
    assert "index.sqlite.aside-1" in str(reported)
    assert (archive / "index.sqlite.aside-1").read_bytes() == spoilt
    # The pictures tell what the index knew of their parts.
    after = sorted(of_first(archive), key=lambda found: found.number)
    assert [found.as_dict() for found in after] == [found.as_dict() for found in before]
    assert opened.archive.status.undelivered == 0
    check_whole(archive)


def test_an_empty_index_is_a_new_one(archive: Path) -> None:
    (archive / "index.sqlite").write_bytes(b"")
    assert started_again(archive).heard.found()["adopted"] == 6


@pytest.mark.slow
def test_only_so_many_damaged_indices_are_kept(archive: Path) -> None:
    for number in range(11):
        garbage(archive / "index.sqlite")
        started_again_as(archive, f"run{number}")
    assert len(list(archive.glob("index.sqlite.aside-*"))) == 9


@pytest.mark.slow
def test_an_index_damaged_while_it_is_written_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    with archiving(folder, overlay=False) as opened:
        for number in range(1, 400):
            opened.archive.put(part(number, "pass" if number % 8 else "reject"))
        wait_for(lambda: opened.archive.counts.kept > 40)
        with closing(sqlite3.connect(folder / "index.sqlite")) as index:
            index.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with (folder / "index.sqlite").open("r+b") as stream:
            stream.seek(4096)
            stream.write(b"\xa5" * 65_536)
        for number in range(400, 500):
            opened.archive.put(part(number, "reject"))
            if number % 10 == 0:
                wait_for(lambda: opened.archive.status.queued == 0)
        wait_for(lambda: opened.archive.counts.swept and opened.archive.status.queued == 0)
        assert opened.heard.warned("index")[-2:] == ["begin", "end"]
    there = {found.number for found in rows(folder)}
    assert set(range(401, 500)) <= there
    assert (folder / "index.sqlite.aside-1").exists()


def test_an_index_with_damaged_text_is_replaced(made: Path, tmp_path: Path) -> None:
    """SQLite does not check text, so the error is one of decoding."""
    folder = tmp_path / "archive"
    shutil.copytree(made, folder)
    index = folder / "index.sqlite"
    content = index.read_bytes()
    assert b"tableparts" in content  # kind and name in the schema
    index.write_bytes(content.replace(b"tableparts", b"table\xd4arts"))
    with archiving(folder, "second") as opened:
        opened.archive.put(part(1, "pass", run="second"))
        wait_for(lambda: opened.archive.status.delivered == 1)
    assert (folder / "index.sqlite.aside-1").exists()


def test_damage_anywhere_in_the_index_is_seen_at_the_start(tmp_path: Path) -> None:
    """Also in pages that are seldom read."""
    path = tmp_path / "index.sqlite"
    index = Index(path, "normal", ArchiveClock())
    row = row_of(part(1, "pass").record, "none")
    index.write([replace(row, number=number) for number in range(1, 3000)], [])
    index.close()
    assert look(path) == "ours"
    content = path.read_bytes()
    for page in range(1, len(content) // 4096, 7):
        spoilt = bytearray(content)
        spoilt[4096 * page : 4096 * page + 64] = b"\xa5" * 64
        path.write_bytes(spoilt)
        assert look(path) == "damaged", page


@given(st.text(max_size=60))
def test_names_of_files(name: str) -> None:
    found = part_file(name)
    if found is not None:
        assert "/" not in name
        assert name.startswith(f"{found.run}-")
    assert part_file("run-0000001" + name) is None or "/" not in name


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(st.data())
def test_a_damaged_index_never_stops_the_archive(made: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "archive"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made, folder)
    index = folder / "index.sqlite"
    content = bytearray(index.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    index.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    with archiving(folder, "second") as opened:
        opened.archive.put(part(1, "pass", run="second"))
        wait_for(lambda: opened.archive.status.delivered == 1)
    assert opened.archive.status.undelivered == 0
    assert [found.number for found in rows(folder) if found.run == "second"] == [1]


FORGED = [
    "../victim.json",
    "pictures/../../victim.json",
    "pictures/2026-01-01/../../../victim.json",
    "{outside}/victim.json",
    "pictures/linked/first-0000001.json",
    "pictures/2026-01-02/first-0000001.json",
]


@pytest.mark.parametrize("path", FORGED)
@pytest.mark.parametrize("by", ["sweep", "limits"])
def test_a_forged_index_deletes_nothing_outside(made: Path, tmp_path: Path, path: str, by: str) -> None:
    """Rows that name files elsewhere, two of them by a link in the archive's own folder."""
    folder, outside = tmp_path / "archive", tmp_path / "outside"
    shutil.copytree(made, folder)
    outside.mkdir()
    victims = [outside / "victim.json", tmp_path / "victim.json", outside / "first-0000001.json"]
    for victim in victims:
        victim.write_bytes(b"precious")
    for name in ("linked", "2026-01-02"):
        (folder / "pictures" / name).symlink_to(outside, target_is_directory=True)
    forged = path.format(outside=outside)
    with closing(sqlite3.connect(folder / "index.sqlite")) as index, index:
        index.execute("UPDATE parts SET json = ?, picture = ?, overlay = ?", (forged, forged, forged))
        # The sweep removes what is not as it was written, the limits what is.
        index.execute("UPDATE parts SET bytes = ?", (24 if by == "limits" else 1,))
    limits = {"keep_parts": 1} if by == "limits" else {}
    with archiving(folder, run="second", every_nth_pass=0, **limits) as opened:
        wait_for(lambda: opened.archive.counts.swept)
        opened.archive.put(part(1, "reject", run="second"))
        wait_for(lambda: opened.archive.counts.kept == 1)
    assert [victim.read_bytes() for victim in victims] == [b"precious"] * 3
