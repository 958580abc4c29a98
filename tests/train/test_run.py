"""A run folder: exactly these files, none of them pickled, and refusals that name the damaged one."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ast_edge.errors import ModelError, RunError
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import Mode
from ast_edge.train.references import disturbed
from ast_edge.train.run import Run, RunConfig, pick_device
from tests.small import COUNTS, EPOCHS, MODES, unsealed

FILES = {
    ".lock",
    "calibration.json",
    "config.json",
    "history.json",
    "references.safetensors",
    "seal.json",
    "spec.json",
    "train.log",
    "weights.safetensors",
}


@pytest.fixture
def copied(rgb_run: Path, tmp_path: Path) -> Run:
    """Without a seal, which would refuse any other content before it is looked at."""
    return Run(unsealed(Path(shutil.copytree(rgb_run, tmp_path / "run"))))


@pytest.mark.parametrize("mode", MODES)
def test_a_complete_run_holds_these_files(runs: dict[Mode, Path], mode: Mode) -> None:
    trunk = set() if mode == "depth" else {"trunk.safetensors"}
    assert {path.name for path in runs[mode].iterdir()} == FILES | trunk


def is_log(data: bytes) -> bool:
    return all(line[:4].isdigit() for line in data.decode().splitlines())


def is_json(data: bytes) -> bool:
    return isinstance(json.loads(data), dict | list)


def is_safetensors(data: bytes) -> bool:
    length = int.from_bytes(data[:8], "little")
    return length < len(data) and isinstance(json.loads(data[8 : 8 + length]), dict)


def is_plain_npz(data: bytes) -> bool:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            # Python objects, which are pickled, are refused here.
            np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
    return True


CHECKS: dict[str, Callable[[bytes], bool]] = {
    ".safetensors": is_safetensors,
    ".npz": is_plain_npz,
    ".json": is_json,
    ".log": is_log,
    "": lambda data: not data,  # the lock
}


@pytest.mark.parametrize("mode", MODES)
def test_nothing_in_it_is_pickled(runs: dict[Mode, Path], mode: Mode) -> None:
    for path in runs[mode].iterdir():
        data = path.read_bytes()
        assert CHECKS[path.suffix](data), path


def test_config(rgb_run: Path, product: Path) -> None:
    about = Run(rgb_run).config()
    assert (about.train.mode, about.train.image_size, about.train.teacher.epochs) == ("rgb", 64, EPOCHS)
    assert about.train.backbone.describe() == "resnet18:2"
    assert about.data.layout == "mvtec-3d"
    assert (about.data.train_parts, about.data.holdout_parts) == (COUNTS.train, COUNTS.validation)
    assert about.data_path == str(product.resolve())
    assert about.weights == "seed 0, batch norm calibrated"
    assert about.versions["torch"] == version("torch")
    assert RunConfig.model_validate(json.loads(about.model_dump_json())) == about


def test_spec_rests_on_the_held_out_parts(rgb_run: Path) -> None:
    spec = Run(rgb_run).spec()
    calibration = json.loads((rgb_run / "calibration.json").read_text())
    parts = calibration["held_out_parts"]
    assert len(parts) == COUNTS.validation == spec.threshold.good_parts
    assert all("/validation/good/rgb/" in part["part"] for part in parts)
    largest = max(part["score"] for part in parts)
    assert spec.threshold.value == pytest.approx(largest * (1 + 1e-4), rel=1e-9)
    assert spec.threshold.value - spec.threshold.margin == pytest.approx(largest, rel=1e-12)
    assert spec.threshold.pixel_value == max(part["map_maximum"] for part in parts)
    assert calibration["threshold"] == spec.threshold.model_dump()
    assert spec.threshold.good_parts_needed == 99


@pytest.mark.parametrize("mode", MODES)
def test_references_see_both_sides_of_the_threshold(runs: dict[Mode, Path], mode: Mode) -> None:
    run = Run(runs[mode])
    references, threshold = run.references(), run.spec().threshold.value
    assert len(references) == 6
    assert (references.score[:4] < threshold).all()
    assert (references.score[4:] > threshold).all()
    # As good as on the line: a vector that the rounding of FP16 could carry over proves nothing.
    assert (np.abs(references.score / threshold - 1) > 0.02).all()


@pytest.mark.parametrize("share", [1 / 6, 1.0])
def test_disturbed_is_a_copy_with_noise_in_the_middle(share: float) -> None:
    vector: dict[str, Array] = {
        "image": np.full((60, 60, 3), 128, np.uint8),
        "depth": np.zeros((1, 32, 32), np.float32),
        "foreground": np.ones((1, 4, 4), np.float32),
    }
    before = {name: array.copy() for name, array in vector.items()}
    found = disturbed(vector, share)
    assert all(np.array_equal(vector[name], before[name]) for name in vector)
    assert np.array_equal(found["foreground"], before["foreground"])
    changed_rows = (found["image"] != 128).any(axis=(1, 2))
    assert changed_rows.sum() == round(60 * share)
    assert changed_rows[30]
    assert found["depth"].dtype == np.float32
    assert (found["depth"] != 0).mean() == pytest.approx((2 * round(16 * share) / 32) ** 2)
    again = disturbed(vector, share)
    assert all(np.array_equal(again[name], found[name]) for name in found)


def test_the_network_gives_the_calibration_scores_again(rgb_run: Path) -> None:
    run = Run(rgb_run)
    references = run.references()
    with torch.inference_mode():
        score, anomaly_map = run.load_network()(image=torch.from_numpy(references.inputs["image"]))
    assert np.allclose(score.numpy(), references.score, rtol=1e-5)
    assert np.allclose(anomaly_map.numpy(), references.anomaly_map, rtol=1e-4, atol=1e-5)


def test_a_loaded_network_is_frozen(rgb_run: Path) -> None:
    network = Run(rgb_run).load_network()
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


# Damage


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert (run.started, run.complete) == (False, False)
    with pytest.raises(RunError, match=r"is not a run folder of `ast-edge train`"):
        run.spec()
    with pytest.raises(RunError, match=r"config\.json: cannot be read"):
        run.config()


def test_a_run_that_is_not_complete(copied: Run) -> None:
    copied.spec_file.unlink()
    assert (copied.started, copied.complete) == (True, False)
    for use in (copied.spec, copied.load_network, copied.references):
        with pytest.raises(RunError, match=r"training is not complete; .*--resume"):
            use()


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("config.json", "format_version", 2, r"config\.json: .*another version \(key 'format_version'"),
        ("config.json", "surprise", 1, r"config\.json: .*key 'surprise'"),
        ("config.json", "train", {}, r"config\.json: .*key 'train\.mode'"),
        ("spec.json", "aggregation", "median", r"spec\.json: .*key 'aggregation'"),
        ("spec.json", "surprise", 1, r"spec\.json: .*key 'surprise'"),
    ],
)
def test_a_changed_key_is_named(copied: Run, name: str, key: str, value: object, message: str) -> None:
    path = copied.path / name
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(RunError, match=message):
        copied.config() if name == "config.json" else copied.spec()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"train": NaN}'])
def test_a_damaged_config_is_refused_by_name(copied: Run, content: bytes) -> None:
    copied.config_file.write_bytes(content)
    with pytest.raises(RunError, match=r"config\.json: is damaged"):
        copied.config()


@pytest.mark.parametrize("name", ["weights.safetensors", "trunk.safetensors"])
def test_missing_or_truncated_weights_are_refused_by_name(copied: Run, name: str) -> None:
    path = copied.path / name
    load = (
        copied.load_network
        if name.startswith("weights")
        else lambda: copied.load_trunks(copied.config().train)
    )
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match=rf"{name}: cannot be read"):
        load()
    path.unlink()
    with pytest.raises(RunError, match=rf"{name}: cannot be read"):
        load()


def test_weights_of_another_run_are_refused(copied: Run, runs: dict[Mode, Path]) -> None:
    shutil.copy(runs["depth"] / "weights.safetensors", copied.weights)
    with pytest.raises(RunError, match=r"weights\.safetensors: has the weights of another network"):
        copied.load_network()


def test_references_missing_damaged_or_of_another_run(copied: Run, runs: dict[Mode, Path]) -> None:
    shutil.copy(runs["rgbd"] / "references.safetensors", copied.references_file)
    with pytest.raises(ModelError, match=r"references\.safetensors: the reference vectors do not fit"):
        copied.references()
    copied.references_file.write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError, match=r"references\.safetensors: the reference vectors are damaged"):
        copied.references()
    copied.references_file.unlink()
    with pytest.raises(RunError, match=r"references\.safetensors: is missing"):
        copied.references()


def test_references_of_version_0_1_are_read(copied: Run) -> None:
    references = copied.references()
    copied.references_file.unlink()
    arrays: dict[str, Any] = {**references.inputs, "score": references.score}
    np.savez_compressed(copied.path / "references.npz", **arrays, anomaly_map=references.anomaly_map)
    np.testing.assert_array_equal(copied.references().score, references.score)


# Devices


def test_pick_device() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["nope", "meta", "mps", "", "cuda:x"])
def test_an_unknown_device(name: str) -> None:
    with pytest.raises(RunError, match=r"unknown; give auto, cpu, cuda or cuda:N"):
        pick_device(name)


def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(RunError, match=r"^device cuda:99: PyTorch sees (no|\d+) CUDA GPU on this machine"):
        pick_device("cuda:99")
