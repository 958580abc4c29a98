"""The demo: its folder, its note on weights, and the whole workflow on a product of a few parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ast_edge.cli import demo
from ast_edge.synthetic import PartCounts, write_product
from tests.cli.conftest import Cli

pytestmark = pytest.mark.slow

FEW = PartCounts(train=9, validation=4, test_good=4, test_per_defect=2)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AST_EDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The very demo on a small product, with small pictures and short training."""
    call = demo._call

    def shortened(*arguments: Any, **rest: Any) -> None:
        short = ("--image-size", "64", "--epochs", "1") if arguments[0] == "train" else ()
        call(*arguments, *short, **rest)

    def make_product(product: Path, seed: int) -> None:
        write_product(product, FEW, seed=seed, size=64)

    monkeypatch.setattr(demo, "_call", shortened)
    monkeypatch.setattr(demo, "_make_product", make_product)


@pytest.mark.usefixtures("small")
def test_the_whole_way(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / demo.MARKER).write_text("{}")
    (folder / "old").write_text("from the demo before")
    done = cli("demo", "-o", folder, "--weights", "seeded", "--seed", 3)
    assert done.code == 0, done.err
    assert not (folder / "old").exists()
    assert {path.name for path in folder.iterdir()} == {
        *(demo.MARKER, "product", "run", "model.onnx", "model.fp16.onnx", "model.reference.safetensors"),
        *("evaluation.json", "report.html", "overlays"),
    }
    assert json.loads((folder / "evaluation.json").read_text())["defective_parts"] == 8
    assert len(list((folder / "overlays").rglob("*.png"))) == demo.PICTURES_TO_INSPECT
    lines = done.out.splitlines()
    # A backbone with random weights must not be missed.
    assert lines[0] == lines[-1] == demo.RANDOM_BACKBONE
    commands = [line.split()[2] for line in lines if line.startswith("$ ast-edge ")]
    assert commands == ["train", "export", "evaluate", "verify", "inspect"]
    assert "ONNX Runtime reproduces the model" in done.out
    assert f"{demo.PICTURES_TO_INSPECT} pictures: " in done.out


def test_a_folder_with_something_else_in_it_is_left_alone(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    done = cli("demo", "-o", folder)
    assert (done.code, done.out) == (2, "")
    assert done.error == f"{folder}: exists and is not an earlier demo; name another folder with --output."
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_way_is_left_alone(cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "demo"
    target.write_text("a file")
    assert cli("demo", "-o", target).code == 2
    assert target.read_text() == "a file"


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("there", [False, True])
def test_a_new_or_empty_folder_gets_the_marker_first(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """An interrupted demo can be made again."""

    def interrupted(product: Path, seed: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_make_product", interrupted)
    folder = tmp_path / "demo"
    if there:
        folder.mkdir()
    for _ in range(2):
        done = cli("demo", "-o", folder, "--weights", "seeded")
        assert (done.code, done.error) == (130, "interrupted.")
        assert json.loads((folder / demo.MARKER).read_text()) == {"made_by": "ast-edge demo"}


def test_impossible_options(cli: Cli, tmp_path: Path) -> None:
    assert cli("demo", "-o", tmp_path / "demo", "--seed", "-1").code == 2
    assert not (tmp_path / "demo").exists()
