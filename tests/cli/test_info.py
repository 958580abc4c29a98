"""`ast-edge info` prints the contents of a model's manifest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ast_edge.cli.describing import Described, info_text
from ast_edge.model.manifest import Manifest, Mode, Range, TrainedRange
from ast_edge.model.onnx_file import read_model_file
from ast_edge.verdict.threshold import statement
from tests.cli.conftest import Cli
from tests.tiny import write_tiny_model


@pytest.mark.parametrize("mode", ["rgb", "depth", "rgbd"])
def test_text(cli: Cli, tiny_models: dict[Mode, Path], mode: Mode) -> None:
    done = cli("info", tiny_models[mode])
    manifest = read_model_file(tiny_models[mode]).manifest
    assert (done.code, done.err) == (0, "")
    for fact in (f"mode {mode}", manifest.model_id, "0.1 (score), 0.15 (map)", statement(manifest.threshold)):
        assert fact in done.out
    assert ("7 mm from the background" in done.out) == (mode != "rgb")
    assert "not a signature" in done.out


def test_the_range_of_good_frames_is_shown(tiny_rgb: Path) -> None:
    model = read_model_file(tiny_rgb)
    size, levels = Range(low=48, high=48), Range(low=100, high=120.25)
    trained = TrainedRange(width=size, height=size, brightness=levels, contrast=levels)
    text = info_text(
        Described.of_file(replace(model, manifest=model.manifest.model_copy(update={"trained": trained})))
    )
    assert (
        "48 x 48 pixels, brightness 100 to 120.2, contrast 100 to 120.2; a frame outside this range" in text
    )
    assert "good parts     " not in info_text(Described.of_file(model))


def test_free_batch_is_shown_as_n(cli: Cli, tmp_path: Path) -> None:
    assert "image uint8 [N,32,32,3]" in cli("info", write_tiny_model(tmp_path, batch=-1)).out


def test_json_holds_the_whole_manifest(cli: Cli, tiny_rgb: Path) -> None:
    content = json.loads(cli("info", tiny_rgb, "--json").out)
    model = read_model_file(tiny_rgb)
    assert Manifest.model_validate(content["manifest"]) == model.manifest
    assert content["path"] == str(tiny_rgb)
    assert content["size_bytes"] == model.size
    assert content["threshold_statement"] == statement(model.manifest.threshold)


def test_a_file_that_is_no_model(cli: Cli, tmp_path: Path) -> None:
    done = cli("info", tmp_path)
    assert done.code == 1
    assert str(tmp_path) in done.error


def test_of_two_files_only_what_differs_is_shown(cli: Cli, tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
    one, other = write_tiny_model(tmp_path / "one"), write_tiny_model(tmp_path / "other", "depth")
    done = cli("info", one, other)
    assert done.code == 0, done.err
    rows = done.out.splitlines()
    names = [row[:15].strip() for row in rows]
    assert {"model", "id", "network", "inputs"} <= set(names)
    assert "threshold" not in names, "it is the same"
    network = names.index("network")
    assert "mode rgb" in rows[network]
    assert "mode depth" in rows[network + 1]
    assert names[network + 1] == ""
    both = json.loads(cli("info", one, other, "--json").out)
    assert [found["path"] for found in both] == [str(one), str(other)]
