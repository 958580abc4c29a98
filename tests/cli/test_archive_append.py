"""`ast-edge archive append`: every archived part once, in CSV, Parquet, SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.dataset
import pytest
import sqlalchemy as sa

from ast_edge.errors import LineError
from ast_edge.files import claim
from ast_edge.line.archive.reading import ArchivedPart, ArchiveReader, Query
from ast_edge.line.tables.columns import NAMES
from tests.cli.conftest import Cli
from tests.line.archive.bench import Opened, archiving, part
from tests.line.postgres import postgres
from tests.paths import ROOT
from tests.waiting import wait_for

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["csv", "parquet", "sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A table that does not exist yet."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("database")
        execute(url, "DROP TABLE IF EXISTS parts")
        return url
    names = {"csv": "mes/parts.csv", "parquet": "mes/parts.parquet", "sqlite": "mes.db"}
    path = tmp_path / names[request.param]
    return f"sqlite:///{path}" if request.param == "sqlite" else str(path)


@contextlib.contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def execute(url: str, statement: str) -> None:
    with connected(url) as connection:
        connection.execute(sa.text(statement))


def read(table: str) -> Rows:
    """All rows in their order; CSV knows only text."""
    if table.endswith(".csv"):
        with Path(table).open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    if table.endswith(".parquet"):
        files = sorted(Path(table).glob("*.parquet"))
        found: Rows = pyarrow.dataset.dataset(files).to_table().to_pylist()
        return found
    with connected(table) as connection:
        rows = connection.execute(sa.text("SELECT * FROM parts ORDER BY position")).mappings().all()
    return [dict(row) for row in rows]


def plain(value: object) -> str:
    """A value as text, whatever table it comes from."""
    if value is None or value == "":
        return ""
    for kind in (datetime.fromisoformat, float):
        with contextlib.suppress(ValueError):
            found = kind(str(value))
            return str(found.replace(tzinfo=None)) if isinstance(found, datetime) else str(found)
    return str(value)


def archive_parts(folder: Path, numbers: range, run: str = "run") -> None:
    verdicts = ("pass", "reject", "fault")
    with archiving(folder, run=run, every_nth_pass=1000) as opened:
        for number in numbers:
            verdict = verdicts[number % 3]
            result = part(number, verdict, run=run, external_id=f"E{number}")  # type: ignore[arg-type]
            opened.archive.put(
                replace(result, reason=f"=why\n{number}" if number % 7 == 0 else result.reason)
            )


def archived(folder: Path) -> Rows:
    with ArchiveReader(folder) as reader:
        return [found.as_dict() for found in reader.oldest_first(Query())]


def check(table: str, folder: Path) -> None:
    """The table has the archive's parts, each once, in their order, value for value."""
    rows, expected = read(table), archived(folder)
    assert [row["part_id"] for row in rows] == [one["part_id"] for one in expected]
    for row, one in zip(rows, expected, strict=True):
        assert row["station"] == "bench"
        for name in NAMES:
            if name not in ("station", "reason"):
                assert plain(row[name]) == plain(one[name]), name
        reason = one["reason"]
        if table.endswith(".csv"):  # one line, and no formula for a spreadsheet
            reason = reason.replace("\n", "\\n").replace("=why", "'=why")
        assert row["reason"] == reason


def test_every_part_is_appended_once(cli: Cli, table: str, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    for numbers, run, count in (
        (range(1, 40), "first", 39),
        (range(1, 6), "second", 5),
        (range(6, 6), "third", 0),
    ):
        archive_parts(folder, numbers, run)
        done = cli("archive", "append", folder, table)
        assert (done.code, done.out, done.err) == (0, f"{count} parts appended\n", "")
        check(table, folder)
    assert cli("archive", "append", folder, table).out == "0 parts appended\n"
    check(table, folder)


@pytest.mark.slow
def test_a_kill_leaves_whole_parts_and_none_twice(table: str, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    archive_parts(folder, range(1, 2001))
    script = """import sys
from ast_edge.cli import main
from ast_edge.line.tables import csv_file, database, parquet
csv_file.CsvFile.batch = database.DatabaseTable.batch = parquet.ParquetFolder.batch = 20
sys.exit(main(["archive", "append", *sys.argv[1:]]))"""
    kills = 0
    for wait_s in (0.02, 0.1, 0.3, 0.5, 0.05, 60):
        running = subprocess.Popen(
            [sys.executable, "-c", script, str(folder), table],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )
        before = size(table)
        until = time.monotonic() + 60
        while size(table) == before and running.poll() is None and time.monotonic() < until:
            time.sleep(0.01)  # its libraries load
        try:
            assert running.wait(wait_s) == 0
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait()
            kills += 1
        rows = [row["part_id"] for row in read(table)[:-1]]  # the last line of a CSV file may be cut
        assert rows == [one["part_id"] for one in archived(folder)[: len(rows)]]
    assert kills >= 1
    check(table, folder)


def size(table: str) -> int:
    """Grows when rows are appended."""
    try:
        return len(read(table))
    except (OSError, sa.exc.SQLAlchemyError):
        return 0


@pytest.mark.slow
def test_what_the_archive_removed_before_it_was_appended_is_reported(
    cli: Cli, table: str, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    archive_parts(folder, range(1, 11))
    assert cli("archive", "append", folder, table).code == 0
    execute(f"sqlite:///{folder / 'index.sqlite'}", "DELETE FROM parts")
    archive_parts(folder, range(11, 14))
    done = cli("archive", "append", folder, table)
    assert (done.code, done.out) == (0, "3 parts appended\n")
    assert "the archive no longer has run-0000010, the last part in the table" in done.err
    assert [row["part_id"] for row in read(table)] == [f"run-{number:07d}" for number in range(1, 14)]


@pytest.mark.slow
def test_an_index_that_was_made_again_from_the_pictures_doubles_nothing(
    cli: Cli, table: str, tmp_path: Path
) -> None:
    """Rejects and faults have pictures; whatever their new order, those not appended before are appended."""
    folder = tmp_path / "archive"
    archive_parts(folder, range(1, 11))
    assert cli("archive", "append", folder, table).code == 0
    archive_parts(folder, range(11, 31))
    for file in folder.glob("index.sqlite*"):
        file.unlink()
    pictured = {file.stem[-11:] for file in (folder / "pictures").rglob("*.json")}
    with archiving(folder, run="later", every_nth_pass=1000) as opened:
        opened.archive.put(part(1, "pass", run="later"))
        wait_for(lambda: len(rows_of(opened)) == 1 + len(pictured))
    done = cli("archive", "append", folder, table)
    adopted = sorted(pictured.difference(f"run-{number:07d}" for number in range(1, 11)))
    assert len(adopted) >= 10
    assert (done.code, done.out) == (0, f"{len(adopted) + 1} parts appended\n")
    ids = [row["part_id"] for row in read(table)]
    assert sorted(ids[10:]) == ["later-0000001", *adopted]
    assert cli("archive", "append", folder, table).out == "0 parts appended\n"


def rows_of(opened: Opened) -> list[ArchivedPart]:
    """None yet while the index is made."""
    try:
        return opened.rows()
    except LineError:
        return []


@pytest.mark.slow
def test_archives_share_a_folder_or_a_database_and_not_a_file(cli: Cli, table: str, tmp_path: Path) -> None:
    archive_parts(tmp_path / "one", range(1, 5), "one")
    archive_parts(tmp_path / "other", range(1, 3), "other")
    assert cli("archive", "append", tmp_path / "one", table).out == "4 parts appended\n"
    rename(tmp_path / "other")
    done = cli("archive", "append", tmp_path / "other", table)
    if table.endswith(".csv"):
        assert done.code == 1
        assert done.error == (
            f"{table}: its last part, one-0000004, is of station 'bench', and the archive's station is "
            "'elsewhere'; give each archive a file of its own."
        )
        return
    assert done.out == "2 parts appended\n"
    archive_parts(tmp_path / "one", range(5, 7), "one")
    assert cli("archive", "append", tmp_path / "one", table).out == "2 parts appended\n"
    assert cli("archive", "append", tmp_path / "other", table).out == "0 parts appended\n"
    assert [row["station"] for row in read(table)] == ["bench"] * 4 + ["elsewhere"] * 2 + ["bench"] * 2


def rename(folder: Path) -> None:
    execute(f"sqlite:///{folder / 'index.sqlite'}", "UPDATE runs SET station = 'elsewhere'")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of three parts; read only."""
    folder = tmp_path_factory.mktemp("small") / "archive"
    archive_parts(folder, range(1, 4))
    return folder


@pytest.mark.slow
def test_a_line_that_was_cut_is_written_again(cli: Cli, small: Path, tmp_path: Path) -> None:
    table = tmp_path / "parts.csv"
    assert cli("archive", "append", small, table).code == 0
    whole = table.read_bytes()
    for cut in range(0, len(whole), 11):
        table.write_bytes(whole[:cut])
        assert cli("archive", "append", small, table).code == 0
        assert table.read_bytes() == whole


def other_csv(folder: Path) -> str:
    (folder / "other.csv").write_text("name,value\r\n", encoding="utf-8")
    return str(folder / "other.csv")


def damaged(folder: Path) -> str:
    (folder / "parts.parquet").mkdir()
    (folder / "parts.parquet" / "parts-000001.parquet").write_bytes(b"PAR1")
    return str(folder / "parts.parquet")


def other_columns(folder: Path) -> str:
    execute(
        f"sqlite:///{folder / 'other.db'}", "CREATE TABLE parts (part_id TEXT, run TEXT, position INTEGER)"
    )
    return f"sqlite:///{folder / 'other.db'}"


REFUSED: dict[str, tuple[Callable[[Path], str], int, str]] = {
    "no kind": (lambda folder: str(folder / "parts.xlsx"), 2, r"ends with \.csv or \.parquet, or the URL"),
    "another CSV": (other_csv, 1, r"expected a CSV file that begins with 'part_id,.* found 'name,value'"),
    "a file for a folder": (lambda folder: f"{folder / 'file'}/x.csv", 1, r"x\.csv: cannot be written \("),
    "damaged": (damaged, 1, r"parts-000001\.parquet: is not a file of parts \("),
    "other columns": (other_columns, 1, r"the table 'parts' has no column station, number"),
    "no such database": (lambda _: "nosuch://x", 2, r"nosuch: SQLAlchemy knows no such database"),
    "no driver": (lambda _: "mysql://host/x", 2, r"mysql: needs the Python package MySQLdb"),
    "no URL": (
        lambda _: "postgresql://host:port/x",
        2,
        r"expected the URL of a database as sqlite:///mes.db",
    ),
    "nobody answers": (
        lambda _: "postgresql+psycopg://me:secret@127.0.0.1:1/x",
        1,
        r"postgresql\+psycopg://me:\*\*\*@127\.0\.0\.1:1/x: the database refused \(",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_table_is_refused_in_one_sentence(
    cli: Cli,
    name: str,
    small: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_bytes(b"")
    make, code, said = REFUSED[name]
    done = cli("archive", "append", small, make(tmp_path))
    assert done.code == code
    assert re.search(said, done.error), done.error
    assert "secret" not in done.err


@pytest.mark.slow
def test_a_user_without_rights_is_told(cli: Cli, database: str, small: Path) -> None:
    execute(database, "CREATE USER guest")
    done = cli("archive", "append", small, database.replace("postgres@", "guest@"), "--table", "mine")
    assert done.code == 1
    assert "the database refused (permission denied for schema public" in done.error


def test_two_do_not_append_at_once(cli: Cli, small: Path, tmp_path: Path) -> None:
    for table, lock in ((tmp_path / "a.csv", "a.csv"), (tmp_path / "b.parquet", "b.parquet/.lock")):
        with claim(tmp_path / lock):
            done = cli("archive", "append", small, table)
        assert done.code == 1
        assert done.error == f"{table}: another process appends to it; try again when it has ended."


def test_a_table_of_a_database_has_any_name(cli: Cli, small: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mes.db'}"
    assert cli("archive", "append", small, url, "--table", "line 1").out == "3 parts appended\n"
    with connected(url) as connection:
        assert sa.inspect(connection).get_table_names() == ["line 1"]
    assert "--table x: is for a database" in cli("archive", "append", small, "a.csv", "--table", "x").error
