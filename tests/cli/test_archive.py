"""`ast-edge archive`: selecting, showing and exporting archived parts."""

from __future__ import annotations

import csv
import json
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ast_edge.cameras.base import Frame
from ast_edge.cli.archive_text import printable
from ast_edge.frames.reading import read_image, read_xyz
from ast_edge.line.archive.reading import ArchiveReader
from ast_edge.line.part import PartResult
from tests.cli.conftest import Cli
from tests.line.archive.bench import archiving, part
from tests.waiting import wait_for

HOUR = 3600.0


def at(result: PartResult, hours_ago: float) -> PartResult:
    moved = replace(result.trigger, wall_s=time.time() - hours_ago * HOUR, encoder=None, source="test")
    return replace(result, trigger=moved)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three passes, two rejects and a fault of two recipes, an hour apart; read only."""
    folder = tmp_path_factory.mktemp("cli") / "archive"
    depth = np.full((48, 64), 0.5, np.float32)
    with archiving(folder, every_nth_pass=2) as opened:
        for number, verdict in enumerate(("pass", "reject", "pass", "fault", "pass", "reject"), 1):
            result = at(part(number, verdict, external_id=f"E{number}"), 7 - number)  # type: ignore[arg-type]
            if number == 6:
                frame = result.frame
                assert frame is not None
                result = replace(
                    result, recipe="second", frame=Frame(frame.pixels, "rgb", 1, None, 0, depth_m=depth)
                )
            opened.archive.put(result)
    return folder


def listed(cli: Cli, archive: Path, *options: object) -> list[int]:
    done = cli("archive", "list", archive, "--json", *options)
    assert done.code == 0
    return [json.loads(line)["number"] for line in done.out.splitlines()]


def test_the_newest_come_first(cli: Cli, archive: Path) -> None:
    done = cli("archive", "list", archive)
    assert (done.code, done.err) == (0, "6 of 6 parts\n")
    lines = done.out.splitlines()
    assert [line.split()[3] for line in lines] == [f"run-000000{number}" for number in range(6, 0, -1)]
    assert lines[0].split()[1:3] == ["reject", "2"]
    assert "no frame arrived in time" in lines[2]
    assert cli("archive", "list", archive, "--limit", 2).err == "2 of 6 parts\n"


@pytest.mark.slow
def test_selection(cli: Cli, archive: Path) -> None:
    assert listed(cli, archive) == [6, 5, 4, 3, 2, 1]
    assert listed(cli, archive, "--verdict", "reject") == [6, 2]
    assert listed(cli, archive, "--verdict", "reject", "--verdict", "fault") == [6, 4, 2]
    assert listed(cli, archive, "--recipe", "second") == [6]
    assert listed(cli, archive, "--run", "other") == []
    assert listed(cli, archive, "--id", "E3") == [3]
    assert listed(cli, archive, "--with-picture") == [6, 5, 4, 2, 1]
    assert listed(cli, archive, "--since", "210m") == [6, 5, 4]
    assert listed(cli, archive, "--since", "4.5h", "--until", "2.5h") == [4, 3]
    with ArchiveReader(archive) as reader:
        fourth = reader.get("run-0000004").time
    assert listed(cli, archive, "--since", fourth) in ([6, 5, 4], [6, 5])  # shown in milliseconds
    assert listed(cli, archive, "--until", "1999-12-31T23:59:59Z") == []
    assert listed(cli, archive, "--since", "2000-01-01", "--limit", 1) == [6]
    assert listed(cli, archive, "--id", "E3' OR 1=1 --") == []


@pytest.mark.parametrize(
    "options",
    [
        ("--verdict", "good"),
        ("--since", "yesterday"),
        ("--since", "2025-13-01"),
        ("--until", "99999-01-01"),
        ("--since", "-3h"),
        ("--limit", "0"),
    ],
)
def test_wrong_selection_is_refused(cli: Cli, archive: Path, options: tuple[str, str]) -> None:
    done = cli("archive", "list", archive, *options)
    assert (done.code, done.out) == (2, "")
    assert options[0] in done.error


def test_one_part(cli: Cli, archive: Path) -> None:
    done = cli("archive", "show", archive, "run-0000006")
    assert (done.code, done.err) == (0, "")
    for fact in ("reject", "second", "E6", "engine", str(archive / "pictures")):
        assert fact in done.out
    assert "(gone)" not in done.out
    content = json.loads(cli("archive", "show", archive, "run-0000006", "--json").out)
    assert (content["number"], content["verdict"], content["score"]) == (6, "reject", 2.0)
    assert content["document"]["stages_ms"] == {"preprocess": 0.5, "engine": 3.0}
    assert json.loads(cli("archive", "show", archive, "run-0000003", "--json").out)["document"] is None


@pytest.mark.parametrize("part_id", ["run-0000099", "x", "", "run-", "run-²", "run-" + "9" * 30])
def test_a_part_that_there_is_not(cli: Cli, archive: Path, part_id: str) -> None:
    done = cli("archive", "show", archive, part_id)
    assert done.code == 1
    assert "ast-edge archive list" in done.error


def test_export(cli: Cli, archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    done = cli("archive", "export", archive, target, "--verdict", "reject", "--overlays")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"2 of 2 parts, 5 files, in {target}\n"
    with (target / "parts.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["number"], row["verdict"], row["external_id"]) for row in rows] == [
        ("2", "reject", "E2"),
        ("6", "reject", "E6"),
    ]
    for row in rows:
        name = row["picture"].removeprefix("test/reject/rgb/")
        (original,) = (archive / "pictures").rglob(name)
        assert np.array_equal(read_image(target / row["picture"]), read_image(original))
        assert (target / row["overlay"]).is_file()
    assert rows[0]["depth"] == ""
    # As the layout of the training data has it: xyz beside rgb, by the same name.
    assert rows[1]["depth"] == "test/reject/xyz/run-0000006.tiff"
    assert (read_xyz(target / rows[1]["depth"]) == 0.5).all()
    assert not list(tmp_path.glob(".*"))


def test_export_leaves_overlays_out_and_takes_an_empty_folder(
    cli: Cli, archive: Path, tmp_path: Path
) -> None:
    assert cli("archive", "export", archive, tmp_path, "--limit", 1).out.startswith("1 of 6 parts, 2 files")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.csv", "test"]


def test_an_exported_folder_can_be_inspected(cli: Cli, archive: Path, tmp_path: Path, tiny_rgb: Path) -> None:
    """As one folder, like the product that a model was trained on."""
    cli("archive", "export", archive, tmp_path / "out", "--with-picture")
    with (tmp_path / "out" / "parts.csv").open(newline="", encoding="utf-8") as stream:
        judged = [row for row in csv.DictReader(stream) if row["verdict"] != "fault"]
    done = cli("inspect", tiny_rgb, tmp_path / "out")
    assert done.code == 0
    assert {row["verdict"] for row in judged} == {"pass", "reject"}
    assert f"{len(judged)} pictures" in done.out


def test_export_never_overwrites(cli: Cli, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    for target in (tmp_path, tmp_path / "mine"):
        done = cli("archive", "export", archive, target)
        assert done.code == 2
        assert "not empty" in done.error
    (tmp_path / ".out.partial").mkdir()
    assert "interrupted" in cli("archive", "export", archive, tmp_path / "out").error
    assert "cannot be written" in cli("archive", "export", archive, tmp_path / "mine" / "out").error


def test_missing_files_are_reported(cli: Cli, tmp_path: Path) -> None:
    with archiving(tmp_path / "archive") as opened:
        opened.archive.put(part(1))
        opened.archive.put(part(2))
    (picture,) = (tmp_path / "archive").rglob("run-0000001.png")
    picture.unlink()
    assert f"{picture} (gone)" in cli("archive", "show", tmp_path / "archive", "run-0000001").out
    done = cli("archive", "export", tmp_path / "archive", tmp_path / "out")
    out = tmp_path / "out"
    said = "files no longer in the archive: 1 (picture of run-0000001), listed in"
    assert (done.code, done.err) == (0, f"{said} {out / 'missing.csv'}\n")
    assert (out / "missing.csv").read_text().splitlines() == ["part_id,file", "run-0000001,picture"]
    assert [path.name for path in (out / "test" / "reject").iterdir()] == ["run-0000002.png"]


def test_nothing_in_an_archive_is_trusted(cli: Cli, tmp_path: Path) -> None:
    """An archive whose rows point outside it and whose texts contain commands for a terminal."""
    folder = tmp_path / "archive"
    (tmp_path / "secret.png").write_text("secret")
    with archiving(folder) as opened:
        for number in range(1, 6):
            opened.archive.put(part(number, external_id="\x1b[2J\u202e=cmd()"))
    paths = [
        "../secret.png",
        "/etc/passwd",
        "pictures/../../secret.png",
        "pictures/x/../secret.png",
        "pictures/../x.png",
    ]
    with closing(sqlite3.connect(folder / "index.sqlite")) as index, index:
        for number, path in enumerate(paths, 1):
            index.execute(
                "UPDATE parts SET picture = ?, external_id = '=1+1' WHERE number = ?", (path, number)
            )
        index.execute("UPDATE parts SET time = 1e300, reason = ? WHERE number = 1", ("\x1b]0;x\x07",))
    done = cli("archive", "list", folder)
    assert done.code == 0
    assert all(one.isprintable() or one == "\n" for one in done.out)
    assert cli("archive", "show", folder, "run-0000001").code == 0
    assert cli("archive", "export", folder, tmp_path / "out").code == 0
    assert not list((tmp_path / "out").rglob("*.png"))
    with (tmp_path / "out" / "parts.csv").open(newline="", encoding="utf-8") as stream:
        assert {row["external_id"] for row in csv.DictReader(stream)} == {"'=1+1"}


def test_printable() -> None:
    assert printable(None) == printable("") == "-"
    assert printable("Zoë 7") == "Zoë 7"
    assert printable("a\x1b\n\u202e") == "a\\x1b\\n\\u202e"


def test_what_is_no_archive(cli: Cli, tmp_path: Path) -> None:
    assert "there is no index.sqlite" in cli("archive", "list", tmp_path).error
    (tmp_path / "index.sqlite").write_bytes(b"x" * 5000)
    assert "is damaged" in cli("archive", "list", tmp_path).error
    (tmp_path / "index.sqlite").unlink()
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as other:
        other.execute("CREATE TABLE x (y)")
    assert "not the index of an archive" in cli("archive", "list", tmp_path).error


def test_a_newer_index_is_refused(cli: Cli, tmp_path: Path) -> None:
    with archiving(tmp_path) as opened:
        opened.archive.put(part(1))
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as index:
        index.execute("PRAGMA user_version = 2")
    done = cli("archive", "list", tmp_path)
    assert done.code == 1
    assert "version 2, expected 1; update ast-edge" in done.error


@pytest.mark.slow
def test_while_a_station_writes(cli: Cli, tmp_path: Path) -> None:
    with archiving(tmp_path) as opened:
        for number in range(1, 31):
            opened.archive.put(part(number))
        wait_for(lambda: opened.archive.counts.kept == 30)
        assert len(listed(cli, tmp_path)) == 30
        assert cli("archive", "show", tmp_path, "run-0000030").code == 0
        opened.archive.put(part(31))
        wait_for(lambda: opened.archive.counts.kept == 31)
        assert len(listed(cli, tmp_path)) == 31
