"""`ast-edge compare`: what changes, on folders and archives, and one sentence for every refusal."""

from __future__ import annotations

import json
import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from ast_edge.compare.figures import errors_of, worse
from ast_edge.compare.judging import Album, Shown, judge_parts, pictures_of
from ast_edge.compare.parts import ComparedPart, check_unseen, find_parts
from ast_edge.compare.result import Opinion, PartRow, weight
from ast_edge.errors import UsageError
from ast_edge.files import part_sha256
from ast_edge.inspector import Inspector
from ast_edge.line.archive.reading import Query
from ast_edge.model.manifest import seen_text
from ast_edge.samples import unjudged
from ast_edge.verdict.scoring import Verdict
from tests.cli.conftest import Cli, Done, write_part, write_picture
from tests.compare.conftest import NEW_THRESHOLD, OLD_THRESHOLD, Pair, archived, level
from tests.line.archive.bench import archiving
from tests.tiny import flat_part, grey, tiny_spec, white, write_tiny_model

QUICK = ("--duration", 0.1)


def compared(cli: Cli, pair: Pair, *words: object, folder: Path) -> tuple[Done, dict[str, Any]]:
    """The command with its JSON file."""
    target = folder / "compared.json"
    done = cli("compare", pair.old, pair.new, *words, "--json", target, *QUICK)
    return done, json.loads(target.read_text()) if target.exists() else {}


def row_of(content: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [row for row in content["parts"] if row["name"] == name]
    row: dict[str, Any] = found
    return row


def test_labelled_parts_give_rates_intervals_and_the_paired_test(
    cli: Cli, pair: Pair, labelled: Path, tmp_path: Path
) -> None:
    done, content = compared(cli, pair, labelled, folder=tmp_path)
    assert done.code == 0, done.err
    assert "parts          8 compared: 4 good, 4 defective\n" in done.out
    assert "verdicts       3 of 8 (37.5 %) verdicts change: 3 from pass to reject\n" in done.out
    rejects, escapes = content["false_rejects"], content["escapes"]
    assert [rejects[one]["count"] for one in ("old", "new")] == [0, 1]
    assert [escapes[one]["count"] for one in ("old", "new")] == [3, 1]
    exact = binomtest(3, 4).proportion_ci(method="exact")
    assert escapes["old"]["interval"] == pytest.approx([exact.low, exact.high])
    table = escapes["paired"]
    assert [table[key] for key in ("neither", "only_old", "only_new", "both")] == [1, 2, 0, 1]
    assert table["p_value"] == pytest.approx(binomtest(0, 2).pvalue)
    assert (
        "Of 4 defective parts both are right on 1 and wrong on 1; only the old model is wrong on 2, only the "
        "new one on 0; a difference of this size or more comes about by chance with probability 0.5 "
        "(McNemar's exact test)."
    ) in done.out
    assert "false rejects  old 0 of 4 (0.0 %), 95 % confidence 0.0 to 60.3 %\n" in done.out
    good = row_of(content, "good/003.png")
    assert (good["kind"], good["old"]["verdict"], good["new"]["verdict"]) == ("good", "pass", "reject")
    score = ((200 - 127.5) / 255) ** 2
    assert good["old"]["score"] == pytest.approx(score, rel=1e-3)
    assert good["old"]["times"] == pytest.approx(score / OLD_THRESHOLD, rel=1e-3)
    assert good["new"]["times"] == pytest.approx(score / NEW_THRESHOLD, rel=1e-3)


def test_changes_are_listed_by_how_far_the_score_moved(cli: Cli, pair: Pair, labelled: Path) -> None:
    done = cli("compare", pair.old, pair.new, labelled, *QUICK)
    changed = re.findall(r"^changed +(\S+):", done.out, re.M)
    # The score is the same, the threshold is halved: the larger the score the further it moves.
    assert changed == ["good/003.png", "dent/002.png", "dent/001.png"]


def test_the_latency_of_both_is_measured_in_turns(
    cli: Cli, pair: Pair, labelled: Path, tmp_path: Path
) -> None:
    done, content = compared(cli, pair, labelled, folder=tmp_path)
    measured = content["latency"]
    assert measured["ratio"]["blocks"] >= 1
    assert 0 < measured["old"]["min"] <= measured["old"]["max"]
    assert 0 < measured["new"]["min"] <= measured["new"]["max"]
    assert f"the new model takes {measured['ratio']['median']:.3f} times as long as the old one" in done.out


@pytest.mark.parametrize(
    ("options", "decided"),
    [
        (("--fail-if-worse",), (1, "worse: false rejects: 1 instead of 0")),
        (("--accept-escapes", 90), (0, "accepted: escapes: 1 of 4")),
        (("--accept-escapes", 50), (1, "not accepted: escapes: 1 of 4")),
        (("--accept-false-rejects", 10), (1, "not accepted: false rejects: 1 of 4")),
    ],
)
def test_the_exit_code_decides(
    cli: Cli,
    pair: Pair,
    labelled: Path,
    tmp_path: Path,
    options: tuple[object, ...],
    decided: tuple[int, str],
) -> None:
    done, content = compared(cli, pair, labelled, *options, folder=tmp_path)
    assert done.code == decided[0]
    assert decided[1] in done.out
    assert content["parts"], "the file is written all the same"


def test_a_model_that_is_not_worse_passes(cli: Cli, pair: Pair, labelled: Path) -> None:
    """From the new model to the old one: less false rejects, more escapes; without bad parts not worse."""
    assert cli("compare", pair.new, pair.old, labelled, "--fail-if-worse", *QUICK).code == 1
    shutil.rmtree(labelled / "dent")
    done = cli("compare", pair.new, pair.old, labelled, "--fail-if-worse", *QUICK)
    assert (done.code, done.out.splitlines()[-1][:9]) == (0, "not worse")


def test_an_archive_shows_the_lines_verdict_and_counts_parts_without_picture(
    cli: Cli, pair: Pair, archive: Path, tmp_path: Path
) -> None:
    done, content = compared(cli, pair, archive, folder=tmp_path)
    assert done.code == 0, done.err
    assert len(content["parts"]) == 5
    assert content["left_out"] == [{"place": str(archive), "reason": "no picture was to be kept", "count": 3}]
    assert f"left out       {archive}: 3 parts, no picture was to be kept\n" in done.out
    assert content["false_rejects"] is content["escapes"] is None
    last = row_of(content, "run-0000008")
    assert last["line"] == {"verdict": "reject", "score": 2.0, "threshold": 1.0, "recipe": "first"}
    assert (last["old"]["verdict"], last["new"]["verdict"]) == ("pass", "reject")
    assert "line           the old model says what the line said of 4 of 5 (80.0 %)" in done.out
    assert re.search(r"^changed +run-0000008: old pass .*; line reject 2 \(first\)$", done.out, re.M)


def test_the_archive_is_selected_from(cli: Cli, pair: Pair, archive: Path, tmp_path: Path) -> None:
    _, content = compared(cli, pair, archive, "--recipe", "first", "--run", "run", folder=tmp_path)
    assert len(content["parts"]) == 5
    done = cli("compare", pair.old, pair.new, archive, "--recipe", "second")
    assert (done.code, done.out) == (1, "")
    assert "there is no part to compare on" in done.error


def test_what_makes_an_archive_less_comparable_is_noted(cli: Cli, pair: Pair, tmp_path: Path) -> None:
    with archiving(tmp_path / "archive", every_nth_pass=1, format="jpeg") as opened:
        for number, recipe in enumerate(("first", "second", "first"), 1):
            opened.archive.put(replace(archived(number, 140), recipe=recipe))
    done = cli("compare", pair.old, pair.new, tmp_path / "archive", *QUICK)
    assert "the archived parts are of several recipes (first 2, second 1): --recipe selects" in done.out
    assert "archived pictures that are JPEG: 3;" in done.out


def test_an_unwritable_page_does_not_lose_the_figures(
    cli: Cli, pair: Pair, labelled: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    done, content = compared(cli, pair, labelled, "--html", blocked / "page.html", folder=tmp_path)
    assert done.code == 1
    assert "8 compared" in done.out
    assert len(content["parts"]) == 8
    assert "internal error" not in done.err


def test_several_places_are_told_apart(
    cli: Cli, pair: Pair, archive: Path, labelled: Path, tmp_path: Path
) -> None:
    done, content = compared(cli, pair, archive, labelled, folder=tmp_path)
    assert done.code == 0
    assert "13 compared: 4 good, 4 defective, 5 unlabelled" in done.out
    assert row_of(content, f"{labelled}: good/000.png")["line"] is None
    assert row_of(content, f"{archive}: run-0000007")["line"] is not None


def test_a_station_may_be_writing(cli: Cli, pair: Pair, tmp_path: Path) -> None:
    """Everything that was in the archive at the beginning is judged or counted, whatever comes meanwhile."""
    folder, stop = tmp_path / "archive", threading.Event()
    with archiving(folder, "first", every_nth_pass=1) as opened:
        for number in range(1, 21):
            opened.archive.put(archived(number, 195, run="first"))
    with archiving(folder, "second", every_nth_pass=1) as opened:

        def produce() -> None:
            number = 1
            while not stop.wait(0.002):
                opened.archive.put(archived(number, 195, run="second"))
                number += 1

        station = threading.Thread(target=produce)
        station.start()
        try:
            done, content = compared(cli, pair, folder, folder=tmp_path)
        finally:
            stop.set()
            station.join()
        rows = len(opened.rows())
    assert done.code == 0, done.err
    left_out = sum(one["count"] for one in content["left_out"])
    assert 20 <= len(content["parts"]) <= len(content["parts"]) + left_out <= rows
    names = [row["name"] for row in content["parts"]]
    assert len(set(names)) == len(names)
    assert set(names) >= {f"first-{number:07d}" for number in range(1, 21)}


def test_a_picture_that_is_removed_meanwhile_is_counted(pair: Pair, archive: Path) -> None:
    found = find_parts([archive], Query())
    assert found.parts[2].image is not None
    found.parts[2].image.unlink()
    with Inspector.open(pair.old) as old, Inspector.open(pair.new) as new:
        judged = judge_parts(found.parts, (old, new), Album(10))
        assert (len(judged.rows), judged.removed) == (4, 1)
        chosen = judged.album.chosen
        assert {judged.rows[number].name for number in chosen} == {"run-0000003", "run-0000008"}
        for shown in chosen.values():
            assert shown.part.image is not None
            shown.part.image.unlink()
        assert [one.photo for one in pictures_of(judged.album, (old, new)).values()] == ["", ""]


def test_a_part_that_one_model_cannot_judge_is_a_fault_of_it(
    cli: Cli, pair: Pair, labelled: Path, tmp_path: Path
) -> None:
    write_picture(
        labelled / "good" / "small.png", level(128, 20, 20)
    )  # does not contain the new model's crop
    (labelled / "dent" / "broken.png").write_bytes(b"no picture")
    done, content = compared(cli, pair, labelled, "--fail-if-worse", folder=tmp_path)
    assert done.code == 1
    assert len(content["parts"]) == 10
    small, broken = row_of(content, "good/small.png"), row_of(content, "dent/broken.png")
    assert (small["old"]["verdict"], small["new"]["verdict"]) == ("pass", "fault")
    assert "crop" in small["new"]["reason"]
    assert (broken["old"]["verdict"], broken["new"]["verdict"]) == ("fault", "fault")
    assert (content["false_rejects"]["new"]["count"], content["false_rejects"]["new"]["faults"]) == (2, 1)
    assert "worse: false rejects: 2 instead of 0, faults: 2 instead of 1" in done.out
    assert re.search(r"^fault +good/small\.png: new: ", done.out, re.M)
    assert re.search(r"^fault +dent/broken\.png: both: ", done.out, re.M)
    assert done.out.index("good/003.png") < done.out.index("good/small.png"), "a fault has no distance"


def test_models_of_different_modes_read_what_each_needs(cli: Cli, pair: Pair, tmp_path: Path) -> None:
    depth = write_tiny_model(tmp_path, "depth", name="depth")
    folder = tmp_path / "parts"
    for kind, picture in (("good", grey()), ("dent", white())):
        write_part(folder / kind, "000", picture, flat_part())
    write_picture(folder / "good" / "rgb" / "alone.png", grey())
    target = tmp_path / "c.json"
    done = cli("compare", pair.old, depth, folder, "--json", target, "--html", tmp_path / "c.html", *QUICK)
    assert done.code == 0, done.err
    content = json.loads(target.read_text())
    dent = row_of(content, "dent/rgb/000.png")
    assert (dent["old"]["verdict"], dent["new"]["verdict"]) == ("reject", "pass")
    alone = row_of(content, "good/rgb/alone.png")
    assert alone["new"]["verdict"] == "fault"
    assert "its depth map is missing" in alone["new"]["reason"]


def test_a_plain_folder_is_unlabelled(cli: Cli, pair: Pair, labelled: Path, tmp_path: Path) -> None:
    done, content = compared(cli, pair, labelled / "dent", folder=tmp_path)
    assert "4 compared: 4 unlabelled" in done.out
    assert content["false_rejects"] is content["escapes"] is None
    refused = cli("compare", pair.old, pair.new, labelled / "dent", "--fail-if-worse")
    assert (refused.code, refused.out) == (2, "")
    assert "none of the parts is labelled" in refused.error


def test_it_runs_without_what_training_needs(
    process: Cli, pair: Pair, labelled: Path, tmp_path: Path
) -> None:
    block = (
        "import sys\n"
        "for name in ('torch', 'scipy', 'sklearn', 'jinja2', 'timm', 'onnx', 'ast_edge.train'):\n"
        "    sys.modules[name] = None"
    )
    page = tmp_path / "c.html"
    done = process("compare", pair.old, pair.new, labelled, "--html", page, *QUICK, before=block)
    assert done.code == 0, done.err
    assert page.read_text().startswith("<!doctype html>")


def test_refusals_are_one_sentence_and_lose_nothing(
    cli: Cli, pair: Pair, labelled: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text("earlier")
    empty = tmp_path / "empty"
    empty.mkdir()
    twin = shutil.copy(pair.old, tmp_path / "twin.onnx")
    picture = labelled / "good" / "000.png"
    cases: list[tuple[int, str, tuple[object, ...]]] = [
        (2, "is given twice; give two different models", (pair.old, pair.old, labelled)),
        (2, "has the same content as", (pair.old, twin, labelled)),
        (1, "000.png", (pair.old, picture, labelled)),
        (1, "there is no such file", (pair.old, tmp_path / "no.onnx", labelled)),
        (1, "expected an archive, pictures directly in the folder", (pair.old, pair.new, empty)),
        (1, "found nothing; check the path", (pair.old, pair.new, tmp_path / "nowhere")),
        (2, "is given twice and would count twice", (pair.old, pair.new, labelled, picture)),
        (2, "--html", (pair.old, pair.new, labelled, "--html", tmp_path)),
        (2, "no defective part", (pair.old, pair.new, labelled / "good", "--accept-escapes", 5)),
        (2, "is no archive; --since", (pair.old, pair.new, labelled, "--since", "8h")),
        (2, "PARTS", (pair.old, pair.new)),
    ]
    for code, said, words in cases:
        done = cli("compare", *words, "--json", kept)
        assert (done.code, done.out) == (code, ""), words
        assert said in done.error
    assert kept.read_text() == "earlier"


def opinion(verdict: Verdict, times: float | None) -> Opinion:
    return Opinion(verdict=verdict, score=times, times=times, reason="")


OPINIONS = st.builds(opinion, st.sampled_from(["pass", "reject", "fault"]), st.none() | st.floats(0, 10))
ROWS = st.lists(
    st.builds(
        lambda old, new, kind: PartRow(name="part", kind=kind, old=old, new=new, line=None),
        OPINIONS,
        OPINIONS,
        st.sampled_from([None, "good", "dent"]),
    ),
    max_size=40,
)


@given(ROWS, st.integers(0, 5))
def test_pictures_are_kept_of_the_largest_changes_and_of_no_more(rows: list[PartRow], most: int) -> None:
    album = Album(most)
    unjudged_twice = (unjudged(tiny_spec(), "not read"),) * 2
    for number, row in enumerate(rows):
        album.offer(row, number, Shown(ComparedPart(f"{number}", None, None), unjudged_twice))
    changed = [number for number, row in enumerate(rows) if row.changed]
    expected = sorted(changed, key=lambda number: weight(rows[number]), reverse=True)[:most]
    assert sorted(album.chosen) == sorted(expected)
    assert all(shown.part.name == str(number) for number, shown in album.chosen.items())


@given(ROWS)
def test_the_paired_table_counts_every_labelled_part_once(rows: list[PartRow]) -> None:
    for good in (True, False):
        chosen = [row for row in rows if row.kind == ("good" if good else "dent")]
        found = errors_of(rows, good=good)
        assert (found is None) == (not chosen)
        if found is None:
            continue
        wrong = [[(one.verdict == "pass") != good for one in (row.old, row.new)] for row in chosen]
        table = found.paired
        assert table.parts == found.old.parts == found.new.parts == len(chosen)
        assert (found.old.count, found.new.count) == tuple(sum(one) for one in zip(*wrong, strict=True))
        assert table.only_old == wrong.count([True, False])
        assert table.only_new == wrong.count([False, True])
        differing = table.only_old + table.only_new
        assert (table.p_value is None) == (differing == 0)
        if table.p_value is not None:
            assert table.p_value == pytest.approx(binomtest(table.only_old, differing).pvalue, rel=1e-9)


@given(ROWS)
def test_a_model_is_not_worse_than_itself(rows: list[PartRow]) -> None:
    assert worse([row.model_copy(update={"new": row.old}) for row in rows]) == []


def test_parts_that_a_model_was_trained_on(pair: Pair, labelled: Path, tmp_path: Path) -> None:
    """Labelled ones are refused, of others it is said: their scores are too low."""
    spec = tiny_spec()
    seen = seen_text([part_sha256([labelled / "good" / "001.png"])])
    data = spec.training_data.model_copy(update={"seen": seen})
    trained = spec.model_copy(update={"training_data": data})
    parts = find_parts([labelled], Query()).parts
    assert check_unseen(parts, [("old.onnx", spec)]) == []
    with pytest.raises(UsageError, match=r"good/001\.png of 8 parts: new\.onnx was trained on them"):
        check_unseen(parts, [("old.onnx", spec), ("new.onnx", trained)])
    (said,) = check_unseen(find_parts([labelled / "good"], Query()).parts, [("new.onnx", trained)])
    assert said.startswith("new.onnx was trained on 1 of these parts")
