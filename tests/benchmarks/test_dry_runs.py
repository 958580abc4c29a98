"""Every benchmark completes a dry run and leaves the committed results unchanged."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ast_edge.cameras.gi_bindings import load
from ast_edge.cli import main
from ast_edge.errors import CameraError
from benchmarks.common.command import module
from benchmarks.line.soak import soak
from tests.paths import ROOT
from tests.waiting import program

pytestmark = pytest.mark.slow

BENCHMARKS = ROOT / "benchmarks"


def dry_run(script: str, *words: object) -> str:
    kept = {path: path.read_bytes() for path in (BENCHMARKS / "results").rglob("*") if path.is_file()}
    command = [*module(script), *map(str, words), "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {path: path.read_bytes() for path in (BENCHMARKS / "results").rglob("*") if path.is_file()} == kept
    return done.stdout


def commands() -> dict[str, Path]:
    """What is a command, by its `main`: the module's name below `benchmarks`, and its file."""
    found = {}
    for path in sorted(BENCHMARKS.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        names = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
        if "main" in names and "__main__" in text:
            found[".".join(path.relative_to(BENCHMARKS).with_suffix("").parts)] = path
    return found


def test_every_benchmark_goes_through_a_dry_run_in_some_test() -> None:
    """A test names each command in a call that has `--dry-run`, or `ELSEWHERE` says what stands for it."""
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    calls = set(re.findall(r'(?:dry_run|module)\(\s*"([a-z0-9_.]+)"', tests))
    found = commands()
    assert len(found) > 10
    assert {name for name, path in found.items() if path.name not in ELSEWHERE} <= calls
    assert set(ELSEWHERE) <= {path.name for path in found.values()}


@pytest.mark.parametrize("name", ["speed.cpp", "speed.startup", "accuracy.int8", "line.latency"])
def test_a_dry_run_is_an_option(name: str) -> None:
    done = subprocess.run([*module(name), "--help"], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "--dry-run" in done.stdout


# Why a command has none: what stands for it is run by other tests.
ELSEWHERE = {
    "tables.py": "compared with README and docs by tests/docs/test_readme.py",
    "fault_storm.py": "its short form, every fault once, is test_storm.py",
    "run_anomalib.py": "runs in anomalib's environment; its orchestrator has a dry run",
    "score.py": "runs on what run_anomalib.py wrote",
    "worker.py": "a part of speed.py",
    "engine_side.py": "a part of day.py",
    "torch_side.py": "a part of day.py",
    "prepare_ast.py": "makes the networks that speed.py takes; its parts are tested in test_peers.py",
    "camera_server.py": "a part of latency.py",
    "pages.py": "a part of page_cost.py",
    "stream_server.py": "a part of wrong_pictures.py",
    "wrong_pictures.py": "its scenarios, once each, are test_wrong_pictures.py",
}


def test_accuracy(product: Path, tmp_path: Path) -> None:
    dry_run("accuracy.measure", product, "--weights", tmp_path, "--work", tmp_path)
    (result,) = tmp_path.glob("balanced_rgb_0.json")
    content = json.loads(result.read_text())
    assert set(content["figures"]) == {"pytorch", "onnxruntime_fp32", "onnxruntime_fp16"}
    assert 0 <= content["figures"]["pytorch"]["image_auroc"] <= 1


def test_thresholds(product: Path, tmp_path: Path) -> None:
    out = dry_run("accuracy.thresholds", product, "--work", tmp_path / "work")
    (found,) = json.loads(out[out.index("{") :])["sets"].values()
    assert found["good_parts"]["by_folds"] > 3 * found["good_parts"]["held_out"]
    for rate in found["rates"]:
        for kind in ("split", "cross"):
            assert rate[kind]["expected"] <= rate[kind]["at_most"]
            assert 0 <= rate[kind]["escapes"] <= 1
    thresholds = [rate["cross"]["threshold"] for rate in found["rates"]]
    assert thresholds == sorted(thresholds, reverse=True)


def test_int8(rgb_run: Path, product: Path, tmp_path: Path) -> None:
    words = ("-o", tmp_path / "m.onnx", "--precision", "int8", "--data", product)
    assert main(["export", *map(str, (rgb_run, *words))]) == 0
    content = json.loads(dry_run("accuracy.int8", tmp_path / "m.int8.onnx", "-o", tmp_path / "none.json"))
    assert content["models"][0]["precision"] == "int8"


def test_cpp(rgb_model: Path, product: Path, tmp_path: Path) -> None:
    build = os.environ.get("AST_EDGE_CPP_BUILD")
    if build is None:
        pytest.skip("AST_EDGE_CPP_BUILD names no build tree of cpp_bridge")
    picture = next(product.rglob("test/good/rgb/*.png"), None) or next(product.rglob("*.png"))
    words = (build, f"small={rgb_model}", "--picture", picture, "-o", tmp_path / "none.json")
    content = json.loads(dry_run("speed.cpp", *words))
    assert content["models"]["small"]["parity"]["flipped_verdicts"] == 0


def test_line_latency(tmp_path: Path) -> None:
    try:
        load("Aravis", "0.8")
    except CameraError as exc:
        pytest.skip(str(exc))
    content = json.loads("{" + dry_run("line.latency", "-o", tmp_path / "none.json").partition("{")[2])
    assert content["one_verdict_each"]
    assert content["triggers"] > 20
    assert not (tmp_path / "none.json").exists()


def test_line_soak() -> None:
    program("mosquitto", "mosquitto")
    printed = dry_run("line.soak")
    found = json.loads(printed[printed.index("{") :])
    assert found["problems"] == []
    assert sum(found["verdicts"].values()) == found["broker_parts"] > 20


def test_a_soak_whose_station_ends_says_why(tmp_path: Path) -> None:
    """Its model is none: what the station said is in the error, long before it could be ready."""
    program("mosquitto", "mosquitto")
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(RuntimeError, match=r"the station ended with exit code 1: .*model\.onnx"):
        soak(tmp_path, tmp_path / "model.onnx", 1.0, 1.0)


def test_line_page_cost(tmp_path: Path) -> None:
    try:
        load("Aravis", "0.8")
    except CameraError as exc:
        pytest.skip(str(exc))
    content = json.loads("{" + dry_run("line.page_cost", "-o", tmp_path / "none.json").partition("{")[2])
    assert content["pages_0"]["parts"] > 0
    assert content["pages_10"]["parts"] > 0
    assert not (tmp_path / "none.json").exists()


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_preparation(rgb_model: Path, tmp_path: Path) -> None:
    content = json.loads(dry_run("speed.preparation", f"small={rgb_model}", "-o", tmp_path / "none.json"))
    assert {row["frame"] for row in content["rows"]} == {"400x400:rgb", "1280x1024:bayer_rggb"}
    for row in content["rows"]:
        assert all(time > 0 for time in row["outside_engine_ms"].values())
        assert row["engine_ms"] > 0


def test_opening(rgb_model: Path, tmp_path: Path) -> None:
    content = json.loads(dry_run("speed.opening", f"small={rgb_model}", "-o", tmp_path / "none.json"))
    libraries = content["models"]["small"]["libraries"]
    assert set(libraries) == {"onnxruntime", "openvino"}
    for found in libraries.values():
        assert found["compiled"]["processors_ms"] > 0
        assert found["saved"]["processors_ms"] > 0
        assert not found["score_differs"]


def test_settings(rgb_model: Path, tmp_path: Path) -> None:
    content = json.loads(dry_run("speed.settings", f"small={rgb_model}", "-o", tmp_path / "none.json"))
    rows = content["models"]["small"]["settings"]
    assert {"shipped", "resize by NumPy", "IO binding", "OpenVINO"} <= set(rows)
    assert rows["shipped"]["ratio"] == [None, 1.0, None]  # too few turns for quartiles
    assert all(row["engine_min_ms"] > 0 for row in rows.values())
