"""The cache of features: its key, exact resumption, and damage that never reaches training."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ast_edge.data import Sample, open_dataset
from ast_edge.errors import DataError, RunError, UsageError
from ast_edge.files import cache_root, claim
from ast_edge.model.manifest import Mode
from ast_edge.train.backbone import Trunk
from ast_edge.train.config import TrainConfig, changed, preset
from ast_edge.train.features import (
    BATCH,
    Extraction,
    Features,
    cache_key,
    channel_statistics,
    input_batches,
    network_inputs,
    prune,
)
from ast_edge.train.network import extract
from ast_edge.train.run import Run
from tests.small import COUNTS, MODES

CPU = torch.device("cpu")
FINGERPRINT = "0" * 64


def config_for(mode: Mode, **changes: object) -> TrainConfig:
    small: dict[str, object] = {
        "image_size": 64,
        "backbone.stages": (2,),
        "backbone.stride": 8,
        "memories": (),
    }
    return changed(preset("balanced", mode), small | changes)


def extraction(product: Path, folder: Path, mode: Mode = "depth", trunk: Trunk | None = None) -> Extraction:
    samples = open_dataset(product, mode=mode).train
    return Extraction(samples, config_for(mode), trunk, CPU, folder)


def nothing(_: int) -> None:
    pass


def stop_after_a_batch() -> Callable[[int], None]:
    """Ctrl-C at the second call: the first one tells what was there already."""
    calls: list[int] = []

    def advance(steps: int) -> None:
        calls.append(steps)
        if len(calls) == 2:
            raise KeyboardInterrupt

    return advance


# The key


def key(config: TrainConfig, fingerprint: str = FINGERPRINT, held_out: tuple[str, ...] = ("b.png",)) -> str:
    return cache_key(fingerprint, config, None, held_out=held_out)


@pytest.mark.parametrize(
    "changes",
    [
        {"image_size": 128},
        {"crop": {"x": 0, "y": 0, "width": 32, "height": 32}},
        {"mask": "fractional"},
        {"foreground_min_m": 0.01},
    ],
)
def test_what_decides_the_inputs_decides_the_key(changes: dict[str, object]) -> None:
    assert key(config_for("rgbd", **changes)) != key(config_for("rgbd"))


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 4, "lr": 1e-3, "seed": 7, "weight_decay": 0.0},
        {"teacher.epochs": 3, "student.epochs": 3, "teacher.hidden": 8, "student.width": 8},
        {"standardise": "none", "noise": 0.0, "aggregation": "mean", "mixed_precision": True},
        {"holdout": 0.2, "false_reject_rate": 0.1},
    ],
)
def test_what_only_training_uses_does_not(changes: dict[str, object]) -> None:
    assert key(config_for("rgbd", **changes)) == key(config_for("rgbd"))


def test_data_mode_and_the_order_of_the_parts_decide_the_key() -> None:
    config = config_for("rgbd")
    keys = {
        key(config),
        key(config, fingerprint="1" * 64),
        key(config, held_out=("a.png",)),
        key(config_for("depth")),
    }
    assert len(keys) == 4


def test_trunk_and_its_weights_decide_the_key(rgb_run: Path) -> None:
    config = Run(rgb_run).config().train
    trunk = Run(rgb_run).load_trunks(config)[0]
    assert trunk is not None
    of_weights = cache_key(FINGERPRINT, config, trunk, held_out=())
    another_cut = changed(config, {"backbone.stages": (1, 2)})
    assert cache_key(FINGERPRINT, another_cut, trunk, held_out=()) != of_weights
    assert cache_key(FINGERPRINT, config, trunk, held_out=()) == of_weights
    next(trunk.parameters()).data[0, 0, 0, 0] += 1e-6
    assert cache_key(FINGERPRINT, config, trunk, held_out=()) != of_weights


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AST_EDGE_CACHE", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own"
    monkeypatch.delenv("AST_EDGE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "ast-edge"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache" / "ast-edge"


# Filling, reusing, going on


@pytest.mark.parametrize("mode", MODES)
def test_features_are_those_of_the_network(
    runs: dict[Mode, Path], product: Path, mode: Mode, tmp_path: Path
) -> None:
    trunk = Run(runs[mode]).load_trunks(config_for(mode))[0]
    job = extraction(product, tmp_path, mode, trunk)
    reported: list[int] = []
    found = job.run(reported.append)
    assert (sum(reported), len(found)) == (COUNTS.train, COUNTS.train)
    inputs = network_inputs(job.samples[9], mode, job.config.preprocessing)
    tensors = {name: torch.from_numpy(array)[None] for name, array in inputs.items()}
    with torch.inference_mode():
        expected = extract(trunk, tensors.get("image"), tensors.get("depth"))
    assert np.allclose(found.features[9], expected[0].numpy(), rtol=1e-4, atol=1e-4)
    assert found.features.shape == (COUNTS.train, expected.shape[1], 8, 8)
    if mode == "rgb":
        assert found.mask is None
    else:
        assert found.mask is not None
        assert np.array_equal(found.mask[9], inputs["foreground"])


def test_a_full_cache_is_read_and_not_computed_again(
    rgb_run: Path, product: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trunk = Run(rgb_run).load_trunks(config_for("rgb"))[0]
    assert trunk is not None
    job = extraction(product, tmp_path, "rgb", trunk)
    first = job.run(nothing).features.copy()
    monkeypatch.setattr(trunk, "forward", lambda _: pytest.fail("extracted again"))
    reported: list[int] = []
    assert np.array_equal(job.run(reported.append).features, first)
    assert reported == [COUNTS.train]


def test_an_interrupted_extraction_goes_on_to_the_same_bytes(
    rgb_run: Path, product: Path, tmp_path: Path
) -> None:
    trunk = Run(rgb_run).load_trunks(config_for("rgb"))[0]
    extraction(product, tmp_path / "whole", "rgb", trunk).run(nothing)

    job = extraction(product, tmp_path / "stopped", "rgb", trunk)
    for done in (BATCH, 2 * BATCH):
        with pytest.raises(KeyboardInterrupt):
            job.run(stop_after_a_batch())
        assert json.loads((tmp_path / "stopped" / "progress.json").read_text()) == {"done": done}
    reported: list[int] = []
    job.run(reported.append)
    assert reported == [2 * BATCH, COUNTS.train - 2 * BATCH]
    whole, stopped = (tmp_path / name / "features.npy" for name in ("whole", "stopped"))
    assert whole.read_bytes() == stopped.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        "null",
        '{"done": null}',
        '{"done": "8"}',
        '{"done": -8}',
        '{"done": 8.0}',
        '{"done": 5}',
        '{"done": 9999}',
        '{"parts": 8}',
        "\udcff",
    ],
)
def test_damaged_progress_means_from_the_beginning(product: Path, tmp_path: Path, damage: str) -> None:
    job = extraction(product, tmp_path)
    expected = job.run(nothing).features.copy()
    (tmp_path / "progress.json").write_bytes(damage.encode(errors="surrogateescape"))
    reported: list[int] = []
    assert np.array_equal(job.run(reported.append).features, expected)
    assert reported == [0, BATCH, BATCH, BATCH]


@pytest.mark.parametrize("name", ["features.npy", "mask.npy"])
@pytest.mark.parametrize("kept", [None, 0, 40, 4000])
def test_damaged_arrays_mean_from_the_beginning(
    product: Path, tmp_path: Path, name: str, kept: int | None
) -> None:
    job = extraction(product, tmp_path)
    expected = job.run(nothing)
    features, mask = expected.features.copy(), np.array(expected.mask)
    path = tmp_path / name
    if kept is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:kept])
    found = job.run(nothing)
    assert np.array_equal(found.features, features)
    assert found.mask is not None
    assert np.array_equal(found.mask, mask)


def test_a_cache_in_use_is_refused(product: Path, tmp_path: Path) -> None:
    with claim(tmp_path / "lock"), pytest.raises(RunError, match="another run is extracting the same"):
        extraction(product, tmp_path).run(nothing)
    assert len(extraction(product, tmp_path).run(nothing)) == COUNTS.train


# Reading


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_picture_is_named_and_nothing_is_counted_beyond_it(
    rgb_run: Path, product: Path, tmp_path: Path, workers: int
) -> None:
    data = tmp_path / "data"
    shutil.copytree(product / "train", data / "train")
    bad = data / "train" / "good" / "rgb" / "010.png"
    bad.write_bytes(bad.read_bytes()[:200])
    trunk = Run(rgb_run).load_trunks(config_for("rgb"))[0]
    job = replace(extraction(data, tmp_path / "cache", "rgb", trunk), workers=workers)
    with pytest.raises(DataError, match=r"rgb/010\.png"):
        job.run(nothing)
    assert json.loads((tmp_path / "cache" / "progress.json").read_text()) == {"done": BATCH}


def test_a_part_that_does_not_stand_out_is_named(product: Path) -> None:
    config = config_for("depth", foreground_min_m=0.5)
    sample = open_dataset(product, mode="depth").train[0]
    with pytest.raises(DataError, match=r"000\.tiff: no part stands out from the background"):
        network_inputs(sample, "depth", config.preprocessing)


def test_a_picture_too_small_for_the_crop_is_named(product: Path) -> None:
    config = config_for("rgb", crop={"x": 0, "y": 0, "width": 65, "height": 64})
    sample = open_dataset(product, mode="rgb").train[0]
    with pytest.raises(DataError, match=r"rgb/000\.png: .*crop of 65x64"):
        network_inputs(sample, "rgb", config.preprocessing)


def test_pictures_of_several_sizes_and_grey_ones_go_together(tmp_path: Path) -> None:
    for index, size in enumerate([(50, 40), (64, 64), (120, 300)]):
        Image.new("L" if index else "RGB", size, 40 * index).save(tmp_path / f"{index}.png")
    samples = open_dataset(tmp_path, mode="rgb").train
    (batch,) = input_batches(samples, config_for("rgb"))
    assert batch["image"].shape == (3, 64, 64, 3)
    assert set(batch["image"][2].flatten().tolist()) == {80}


def test_batches_keep_the_order(product: Path) -> None:
    samples = open_dataset(product, mode="rgbd").train[: BATCH + 3]
    config = config_for("rgbd")
    batches = list(input_batches(samples, config))
    assert [len(batch["image"]) for batch in batches] == [BATCH, 3]
    assert {name: tensor.dtype for name, tensor in batches[0].items()} == {
        "image": torch.uint8,
        "depth": torch.float32,
        "foreground": torch.float32,
    }
    alone: Sample = samples[BATCH + 1]
    expected = network_inputs(alone, "rgbd", config.preprocessing)
    assert all(np.array_equal(batches[1][name][1], array) for name, array in expected.items())


# Statistics


def test_channel_statistics_over_all_pixels() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, (70, 2, 4, 4)).astype(np.float32)
    values[:, 1] *= 10
    mean, std = channel_statistics(Features(values, None))
    assert mean.shape == std.shape == (1, 2, 1, 1)
    assert np.allclose(mean.flatten(), values.mean(axis=(0, 2, 3)), rtol=1e-5)
    assert np.allclose(std.flatten(), values.std(axis=(0, 2, 3)), rtol=1e-5)


def test_channel_statistics_over_the_part_alone() -> None:
    values = np.zeros((1, 1, 2, 2), np.float32)
    values[0, 0] = [[1.0, 3.0], [100.0, 100.0]]
    mask = np.array([[[[1.0, 1.0], [0.0, 0.0]]]], np.float32)
    mean, std = channel_statistics(Features(values, mask))
    assert (mean.item(), std.item()) == (2.0, 1.0)


def test_a_channel_that_hardly_varies_is_not_blown_up() -> None:
    values = np.zeros((2, 3, 1, 1), np.float32)
    values[:, 0, 0, 0], values[:, 1, 0, 0] = (-1.0, 1.0), (-2.0, 2.0)
    _, std = channel_statistics(Features(values, None))
    # A twentieth of the median of those that vary, 1.5.
    assert np.allclose(std.flatten(), [1.0, 2.0, 0.075])
    _, constant = channel_statistics(Features(np.ones((2, 3, 1, 1), np.float32), None))
    assert constant.flatten().tolist() == [1.0, 1.0, 1.0]


def test_features_of_some_parts() -> None:
    values = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1)
    everything = Features(values, values + 10)
    some = everything.only(np.array([3, 0, 1]))
    assert (len(everything), len(some), len(some.only(np.array([2])))) == (4, 3, 1)
    features, mask = some.batch(np.array([0, 2]), CPU)
    assert features.flatten().tolist() == [3.0, 1.0]
    assert mask is not None
    assert mask.flatten().tolist() == [13.0, 11.0]
    assert some.only(np.array([2])).batch(np.array([0]), CPU)[0].item() == 1.0
    assert Features(values, None).only(np.array([1])).batch(np.array([0]), CPU)[1] is None
    for found, expected in zip(
        channel_statistics(some),
        channel_statistics(Features(values[[3, 0, 1]], values[[3, 0, 1]] + 10)),
        strict=True,
    ):
        assert found.equal(expected)


# Room on the disk


def test_caches_used_longest_ago_are_removed_beyond_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for age, name in enumerate(("newest", "middle", "used", "oldest")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "features.npy").write_bytes(bytes(1_000_000))
        (tmp_path / name / "lock").touch()
        os.utime(tmp_path / name / "lock", (1000 - age, 1000 - age))
    (tmp_path / "newest" / "link").symlink_to("nowhere")  # as a file that another run has just removed
    monkeypatch.setenv("AST_EDGE_CACHE_GB", "0.0015")
    with claim(tmp_path / "used" / "lock"):
        prune(tmp_path, keep=tmp_path / "own")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["newest", "used"]
    prune(tmp_path, keep=tmp_path / "newest")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["newest", "used"]
    monkeypatch.setenv("AST_EDGE_CACHE_GB", "0")
    prune(tmp_path, keep=tmp_path / "newest")
    assert [path.name for path in tmp_path.iterdir()] == ["newest"]


def test_a_limit_that_is_no_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("much", "-1", "nan"):
        monkeypatch.setenv("AST_EDGE_CACHE_GB", text)
        with pytest.raises(UsageError, match=f"AST_EDGE_CACHE_GB={text}: expected gigabytes"):
            prune(tmp_path, keep=tmp_path)


def test_the_blocks_of_a_cache_are_there_before_it_is_mapped(product: Path, tmp_path: Path) -> None:
    job = extraction(product, tmp_path)
    job.run(nothing)
    for path in tmp_path.glob("*.npy"):
        assert path.stat().st_blocks * 512 >= path.stat().st_size
