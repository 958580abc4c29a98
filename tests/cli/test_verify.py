"""`ast-edge verify` proves a model on this machine's engine, or refuses it with the figures."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ast_edge.model.onnx_file import read_model_file, write_model_file
from ast_edge.model.references import References, load_references, reference_path
from tests.cli.conftest import Cli
from tests.tiny import tiny_manifest, tiny_network, tiny_spec


@pytest.fixture
def disagreeing(tiny_rgb: Path, tmp_path: Path) -> Path:
    """A model whose references claim scores 1 % higher than its network gives."""
    truth, _ = load_references(read_model_file(tiny_rgb))
    packed = References(truth.inputs, truth.score * np.float32(1.01), truth.anomaly_map).to_bytes()
    network = tmp_path / "network.onnx"
    network.write_bytes(tiny_network(tiny_spec()).SerializeToString())
    manifest = tiny_manifest(tiny_spec(), network, reference_sha256=hashlib.sha256(packed).hexdigest())
    return write_model_file(tmp_path / "model.onnx", network, manifest, packed).path


def test_proof_with_the_file_beside_the_model(cli: Cli, tiny_rgb: Path) -> None:
    done = cli("verify", tiny_rgb)
    assert (done.code, done.err) == (0, "")
    assert str(reference_path(tiny_rgb)) in done.out
    assert "ONNX Runtime reproduces the model" in done.out


def test_proof_of_another_engine_library(cli: Cli, tiny_rgb: Path) -> None:
    done = cli("verify", tiny_rgb, "--backend", "openvino")
    assert done.code == 0
    assert "OpenVINO" in done.out
    done = cli("verify", tiny_rgb, "--backend", "tensorrt")
    assert done.code == 2
    assert "build-engine" in done.error


def test_proof_of_a_model_copied_alone(cli: Cli, tiny_rgb: Path, tmp_path: Path) -> None:
    alone = shutil.copy(tiny_rgb, tmp_path / "alone.onnx")
    done = cli("verify", alone)
    assert done.code == 0
    assert "embedded" in done.out


def test_json(cli: Cli, tiny_rgb: Path) -> None:
    content = json.loads(cli("verify", tiny_rgb, "--json").out)
    assert content["ok"] is True
    assert content["engine"] == "ONNX Runtime"
    assert content["count"] == 3
    assert content["flipped_verdicts"] == 0
    assert content["max_relative_score_error"] <= content["tolerance"] == 1e-4


def test_a_model_that_disagrees_with_its_references(cli: Cli, disagreeing: Path) -> None:
    done = cli("verify", disagreeing)
    assert done.code == 1
    assert "score error    0.0099 relative, allowed 0.0001" in done.out
    assert "does not reproduce the reference vectors" in done.error
    assert str(disagreeing) in done.error
    failed = cli("verify", disagreeing, "--json")
    assert failed.code == 1
    assert json.loads(failed.out)["ok"] is False


def test_references_of_another_export(cli: Cli, tiny_rgb: Path, tmp_path: Path) -> None:
    model = Path(shutil.copy(tiny_rgb, tmp_path / "model.onnx"))
    reference_path(model).write_bytes(b"something else")
    done = cli("verify", model)
    assert done.code == 1
    assert not done.out
    assert str(reference_path(model)) in done.error


def test_a_damaged_model(cli: Cli, tiny_rgb: Path, tmp_path: Path) -> None:
    damaged = bytearray(tiny_rgb.read_bytes())
    position = damaged.index(b"AveragePool")
    damaged[position] ^= 1
    path = tmp_path / "damaged.onnx"
    path.write_bytes(damaged)
    done = cli("verify", path)
    assert done.code == 1
    assert "damaged" in done.error
