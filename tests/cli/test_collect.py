"""`ast-edge collect`: a line without recipes, its sentences, and what it refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, refusal
from tests.line.collect.bench import check_whole, line, scene, shoot
from tests.small import OPTIONS


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    """A line whose camera sees eight parts, again and again."""
    shots = shoot(tmp_path / "shots", [scene(number) for number in range(8)])
    return line(tmp_path / "line", f"dir://{shots}?trigger=software&loop=1")


def test_a_collection_from_nothing_to_enough(cli: Cli, tmp_path: Path, toml: Path) -> None:
    parts = tmp_path / "parts"
    more = ("--false-reject-rate", "0.2", "--min-free-gb", "0")
    done = cli("collect", toml, "-o", parts, "--parts", 3, *more)
    assert done.code == 0
    assert done.out.splitlines() == [
        f"parts      3 good parts in {parts}, 3 of them new",
        "enough     a false-reject rate of 20 % needs 4 good parts with `train --calibration cross`, 35 "
        "without it; there are 3",
        f"next       look through {parts / 'train/good'}; ast-edge train {parts} -o run",
    ]
    said = done.err.splitlines()
    assert said[0].startswith("a false-reject rate of 20 % needs 4 good parts")
    assert said[-1].startswith("collected: 3/3")
    done = cli("collect", toml, "-o", parts, "--parts", 6, *more)
    assert "6 good parts" in done.out
    assert "duplicate  3 parts: 4, 5, 6" in done.out
    assert any(
        one.endswith("without it, 35 are needed, since 10 % of them are held out for the threshold")
        for one in done.err.splitlines()
    )
    done = cli("collect", toml, "-o", parts, "--parts", 2, "--label", "bent", *more)
    assert f"parts      2 parts, bent in {parts}, 2 of them new" in done.out
    assert "enough" not in done.out
    assert [part.label for part in check_whole(parts)] == [None] * 6 + ["bent"] * 2


def test_what_is_refused(cli: Cli, tmp_path: Path, toml: Path) -> None:
    parts = tmp_path / "parts"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.png").write_bytes(b"")
    said = refusal(cli, 1, "collect", toml, "-o", tmp_path / "mine", "--parts", 1)
    assert "has other files (a.png) and no parts.jsonl, so it is no collection; give a new folder" in said
    assert "--label ../x: expected up to 64" in (
        refusal(cli, 2, "collect", toml, "-o", parts, "--parts", 1, "--label", "../x")
    )
    assert "false_reject_rate: expected a fraction" in (
        refusal(cli, 2, "collect", toml, "-o", parts, "--parts", 1, "--false-reject-rate", "0")
    )
    assert "cannot be read" in refusal(cli, 1, "collect", tmp_path / "none.toml", "-o", parts)
    broken = line(tmp_path / "broken", "dir://x", '[trigger]\nkind = "tmer"\n')
    assert "line.toml:3: trigger: its kind must be one of" in (
        refusal(cli, 1, "collect", broken, "-o", parts).replace("'kind'", "kind")
    )
    assert not parts.exists()
    assert "recipes: is missing" in refusal(cli, 1, "run", toml)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(cli: Cli, tmp_path: Path, toml: Path) -> None:
    (tmp_path / "locked").mkdir(0o500)
    assert "cannot be written (Permission denied)" in (
        refusal(cli, 1, "collect", toml, "-o", tmp_path / "locked" / "parts")
    )


@pytest.mark.slow
def test_train_and_evaluate_take_the_folder_as_it_is(
    cli: Cli, tmp_path: Path, own_cache: None, one_thread: None
) -> None:
    """With depth, from collecting to the figures of a collected defect."""
    camera = "synthetic://?size=64&trigger=software"
    toml = line(tmp_path / "line", f"{camera}&defects=0")
    bent = line(tmp_path / "bent", f"{camera}&defects=1&seed=7")
    parts, more = tmp_path / "parts", ("--min-free-gb", "0")
    assert cli("collect", toml, "-o", parts, "--parts", 24, *more).code == 0
    assert (
        cli(
            "collect",
            line(tmp_path / "test", f"{camera}&defects=0&seed=3"),
            "-o",
            parts,
            "--parts",
            4,
            "--label",
            "good",
            *more,
        ).code
        == 0
    )
    assert cli("collect", bent, "-o", parts, "--parts", 4, "--label", "bent", *more).code == 0
    done = cli("train", parts, "-o", tmp_path / "run", "--mode", "rgbd", *OPTIONS)
    assert done.code == 0, done.err
    assert "22 good parts" in done.out
    done = cli("evaluate", tmp_path / "run", parts)
    assert done.code == 0, done.err
    assert "bent" in done.out
