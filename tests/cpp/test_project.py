"""The C++ project: version, installed files, and its programs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import ast_edge
from ast_edge.cli import main
from ast_edge.cuda.compile import source_sha256
from ast_edge.inspector import Inspector
from ast_edge.latency.page import result_html
from ast_edge.latency.result import read_result, write_result
from ast_edge.latency.text import result_text
from ast_edge.model.manifest import Range, TrainedRange
from ast_edge.model.onnx_file import read_model_file, rewrite_manifest
from benchmarks.speed import cpp
from tests import tiny
from tests.cpp.bridge import SOURCE
from tests.paths import ROOT

README = SOURCE / "README.md"


def test_the_readme_shows_the_example_that_is_compiled() -> None:
    example = (SOURCE / "examples" / "inspect_frame.cpp").read_text()
    assert f"```cpp\n{example}```" in README.read_text()
    assert len(example.splitlines()) <= 30


def test_the_tables_are_those_of_the_result_file() -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / "cpp.json").read_text())
    text = README.read_text()
    assert cpp.with_tables(text, result) == text


def test_one_version() -> None:
    """The header's is the package's, and CMake reads the header's."""
    header = (SOURCE / "include" / "ast_edge" / "ast_edge.h").read_text()
    found = re.findall(r"#define AST_EDGE_VERSION_\w+ (\d+)", header)
    assert ".".join(found) == ast_edge.__version__
    assert "project(ast_edge VERSION ${version} " in (SOURCE / "CMakeLists.txt").read_text()


def test_the_header_is_short() -> None:
    assert len((SOURCE / "include" / "ast_edge" / "ast_edge.h").read_text().splitlines()) < 200


# How many measurements a percentile takes, as in `ast-edge benchmark`: ten must lie beyond it.
SUPPORT = {"p50": 20, "p90": 100, "p95": 200, "p99": 1000, "p999": 10000}


def output_of_bench(build: Path, model: Path, count: int) -> Any:
    program, frame = build / "examples" / "ast_edge_bench", ("--frame", "40x30")
    command = [program, model, *frame, "--iterations", str(count), "--threads", "1"]
    return json.loads(
        subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.parametrize("count", [19, 20, 199, 200, 1000])
def test_the_bench_tells_the_percentiles_that_its_measurements_support(
    build: Path, tiny_rgb: Path, count: int
) -> None:
    reported = output_of_bench(build, tiny_rgb, count)
    head = {"schema_version": 1, "benchmark": "latency", "count": count}
    assert {name: reported[name] for name in head} == head
    assert list(reported["stages_ms"]) == ["preprocess", "engine", "score"]
    for stage in (*reported["stages_ms"].values(), reported["total_ms"]):
        assert list(stage) == ["min", "mean", *SUPPORT, "max"]
        supported = [stage[name] for name, least in SUPPORT.items() if count >= least]
        assert all(stage[name] is None for name, least in SUPPORT.items() if count < least)
        rising = [stage["min"], *supported, stage["max"]]
        assert rising == sorted(rising)
        assert 0 < stage["min"] <= stage["mean"] <= stage["max"]
    assert 0 < reported["throughput_per_s"] <= 1000 / reported["total_ms"]["mean"]
    for times in (reported["beside_stages_ms"], reported["outside_engine_ms"]):
        assert 0 <= times["min"] <= times["max"] < reported["total_ms"]["max"]
    assert reported["frame"] == {"width": 40, "height": 30, "colour": "rgb", "depth": False}
    assert reported["threads"] == 1
    assert sum(reported["histogram"]["counts"]) + reported["histogram"]["beyond"] == count


def test_a_result_of_either_language_is_compared_with_one_of_the_other(
    build: Path, tiny_rgb: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, ours = tmp_path / "cpp.json", tmp_path / "python.json"
    theirs.write_text(json.dumps(output_of_bench(build, tiny_rgb, 40)))
    options = ("--frame", "40x30", "--iterations", "40", "--threads", "1", "--json", str(ours))
    assert main(["benchmark", str(tiny_rgb), *options]) == 0
    assert read_result(theirs).model_dump().keys() == read_result(ours).model_dump().keys()
    assert read_result(theirs).model.model_dump(exclude={"preset"}) == read_result(ours).model.model_dump(
        exclude={"preset"}
    )
    assert read_result(theirs).machine["language"] == "C++"
    capsys.readouterr()
    for pair in ((theirs, ours), (ours, theirs)):
        assert main(["benchmark", "--compare", *map(str, pair)]) == 0
        said = capsys.readouterr().out
        assert all(f"\n{stage}" in said for stage in ("preprocess", "engine", "score", "total"))
        assert "OpenVINO" in said
        assert "ONNX Runtime" in said
        assert "not the same machine" not in said
    write_result(tmp_path / "again.json", read_result(theirs))
    assert read_result(tmp_path / "again.json") == read_result(theirs)
    assert "not measured by this program" in result_text(read_result(theirs))
    assert "not measured by this program" in result_html(read_result(theirs))


def test_a_benchmark_of_faults_fails_in_both_languages(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames of another size than those trained on, in C++; a depth map without a part, in both."""
    model = read_model_file(tiny.write_tiny_model(tmp_path))
    size = Range(low=48, high=48)
    trained = TrainedRange(width=size, height=size, brightness=None, contrast=None)
    rewrite_manifest(model, model.manifest.model_copy(update={"trained": trained}))
    for extra in ((), ("--serve",)):
        command = [build / "examples" / "ast_edge_bench", model.path, "--frame", "400x400", *extra]
        done = subprocess.run(
            list(map(str, command)), input="\n", capture_output=True, text=True, check=False, timeout=120
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert "the frame cannot be judged, so nothing was measured: the frame's width is 400" in done.stderr
    depth = tiny.write_tiny_model(tmp_path, "depth", name="depth")
    for folder in ("rgb", "xyz"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "rgb" / "000.png")
    cv2.imwrite(str(tmp_path / "xyz" / "000.tiff"), np.full((64, 64, 3), 0.5, np.float32))
    picture = ("--picture", str(tmp_path / "rgb" / "000.png"))
    assert main(["benchmark", str(depth), *picture, "--iterations", "20"]) == 1
    assert "the frame cannot be judged, so nothing was measured" in capsys.readouterr().err


def test_the_example_says_when_there_is_no_camera(build: Path, tiny_rgb: Path) -> None:
    if subprocess.run(["cmake", "--build", build, "--target", "inspect_frame"], check=False).returncode:
        pytest.skip("inspect_frame was not built: OpenCV is not installed")
    for source in ("no_such_video.mp4", "/dev/video99"):
        done = subprocess.run(
            [build / "examples" / "inspect_frame", tiny_rgb, source],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{source} gives no frame" in done.stderr


@pytest.mark.parametrize("words", ["--iterations 0", "--iterations 5x", "--frame 40", "--frame 0x9", "--raw"])
def test_the_bench_refuses_words_that_it_does_not_know(build: Path, tiny_rgb: Path, words: str) -> None:
    command = [build / "examples" / "ast_edge_bench", tiny_rgb, *words.split()]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ast_edge_bench")


def test_the_programs_are_installed_and_find_the_library(build: Path, tiny_rgb: Path, tmp_path: Path) -> None:
    subprocess.run(
        ["cmake", "--install", build, "--prefix", tmp_path / "first"], check=True, capture_output=True
    )
    (tmp_path / "first").rename(tmp_path / "prefix")  # it may be moved as a whole
    program = tmp_path / "prefix" / "bin" / "ast_edge_bench"
    command = [str(program), str(tiny_rgb), "--frame", "40x30", "--iterations", "5"]
    loaded = subprocess.run(
        [*command, "--serve"],
        input="",
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LD_DEBUG": "libs"},
    )
    initialised = re.findall(r"calling init: (\S+)", loaded.stderr)
    assert any(file.startswith(f"{tmp_path}/prefix/bin/../") for file in initialised)
    # Neither the build folder nor the Python environment is needed any more.
    assert not [file for file in initialised if str(build) in file or "-packages" in file]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["count"] == 5


def test_the_command_line_tells_what_python_tells(build: Path, tiny_rgb: Path, tmp_path: Path) -> None:
    if subprocess.run(["cmake", "--build", build, "--target", "ast_edge_cli"], check=False).returncode:
        pytest.skip("ast_edge_cli was not built: OpenCV is not installed")
    for name, picture in (("a", tiny.grey()), ("b", tiny.white())):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"no picture")
    done = subprocess.run(
        [build / "examples" / "ast_edge_cli", "inspect", tiny_rgb, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["verdict"] for line in lines] == ["pass", "reject", "fault"]
    with Inspector.open(tiny_rgb) as inspector:
        expected = inspector.inspect(tiny.white(), colour="rgb")
    assert lines[1]["score"] == pytest.approx(expected.score, rel=1e-4)
    assert lines[1]["reason"] == expected.reason
    assert np.isnan(float("nan" if lines[2]["score"] is None else lines[2]["score"]))


def test_the_kernels_of_an_engine_are_identified_by_the_digest_that_python_writes(build: Path) -> None:
    cache = (build / "CMakeCache.txt").read_text()
    assert f"AST_EDGE_KERNELS_SHA256:INTERNAL={source_sha256()}\n" in cache


def test_without_an_engine_the_build_says_what_to_install(tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    absent = [f"-DCMAKE_DISABLE_FIND_PACKAGE_{name}=ON" for name in ("OpenVINO", "TensorRT")]
    done = subprocess.run(
        ["cmake", "-S", SOURCE, "-B", tmp_path, *absent], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "pip install openvino" in " ".join(done.stderr.split())
