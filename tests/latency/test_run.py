"""`ast-edge benchmark` on real models, from the command line to the file, the page and the comparison."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ast_edge.cli import main
from ast_edge.frames.pixel_formats import COLOURS, check_pixels, frame_size
from ast_edge.latency.frames import made_part, parse_frame
from ast_edge.latency.page import result_html
from ast_edge.latency.result import Result, read_result, write_result
from ast_edge.model.manifest import Mode
from tests.tiny import tiny_spec, write_tiny_model


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A result of 30 parts of a tiny model, and its file."""
    folder = tmp_path_factory.mktemp("benchmark")
    model, file = write_tiny_model(folder), folder / "result.json"
    assert main(["benchmark", str(model), "--iterations", "30", "--threads", "1", "--json", str(file)]) == 0
    return file, read_result(file)


def test_the_file_has_the_promised_format(found: tuple[Path, Result]) -> None:
    content = json.loads(found[0].read_text())
    assert content["schema_version"] == 1
    assert list(content["stages_ms"]) == ["hand_off", "preprocess", "engine", "score", "verdict"]
    for figures in (*content["stages_ms"].values(), content["total_ms"]):
        assert {"p50", "p90", "p99"} <= set(figures)
        assert 0 <= figures["min"] <= figures["p50"] <= figures["max"]
        assert figures["p90"] is figures["p99"] is None
    assert content["count"] == 30
    assert content["throughput_per_s"] > 0
    assert content["machine"]["versions"]["onnxruntime"]
    assert content["model"]["precision"] == "fp32"
    assert content["warm_up"]["count"] >= 20
    stages = sum(figures["mean"] for figures in content["stages_ms"].values())
    outside = content["total_ms"]["mean"]
    assert stages + content["beside_stages_ms"]["mean"] == pytest.approx(outside, abs=0.01)
    engine = content["stages_ms"]["engine"]["mean"]
    assert content["outside_engine_ms"]["mean"] == pytest.approx(outside - engine, abs=0.01)


def test_what_was_written_is_read_again(found: tuple[Path, Result], tmp_path: Path) -> None:
    write_result(tmp_path / "again.json", found[1])
    assert (tmp_path / "again.json").read_bytes() == found[0].read_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 2}, "schema_version 1, found 2; measure again"),
        ({"count": "many"}, "count: must be a whole number"),
        ({"more": 1}, "more: there is no such key"),
    ],
)
def test_another_file_is_refused_in_one_sentence(
    found: tuple[Path, Result],
    tmp_path: Path,
    change: dict[str, object],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**json.loads(found[0].read_text()), **change}))
    assert main(["benchmark", "--compare", str(found[0]), str(other)]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"schema_version": []}'])
def test_rubbish_is_refused(
    found: tuple[Path, Result], tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rubbish.json").write_text(content)
    assert main(["benchmark", "--compare", str(tmp_path / "rubbish.json"), str(found[0])]) == 1
    assert capsys.readouterr().err.startswith("ast-edge: error: ")


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("mode", ["rgb", "depth", "rgbd"])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_every_mode_on_every_engine_here(
    tmp_path: Path, mode: Mode, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny_model(tmp_path, mode)
    assert main(["benchmark", str(model), "--iterations", "20", "--backend", backend]) == 0
    text = capsys.readouterr().out
    assert ("ONNX Runtime" if backend == "onnxruntime" else "OpenVINO") in text
    assert re.search(r"^total +[0-9.]+ +[0-9.]+ +- +- +- +- ", text, re.MULTILINE)
    assert "processors by this" in text


@pytest.mark.parametrize("colour", COLOURS)
def test_a_frame_of_every_format_can_be_made(colour: str) -> None:
    kind = parse_frame(f"64x48:{colour}", tiny_spec())
    part = made_part(kind)
    check_pixels(part["frame"], part["colour"])
    assert frame_size(part["frame"], part["colour"]) == (64, 48)


def test_genicams_names_of_bayer_patterns_are_understood() -> None:
    assert parse_frame("1920x1200:bayer_rg", tiny_spec()).colour == "bayer_rggb"


@pytest.mark.parametrize(
    "words",
    [
        ["--frame", "1920"],
        ["--frame", "0x4"],
        ["--frame", "64x48:cmyk"],
        ["--frame", "63x48:yuyv"],
        ["--frame", "64x47:nv12"],
        ["--frame", "99999x99999"],
        ["--frame", "64x48", "--picture", "x.png"],
        ["--backend", "tensorrt"],
        ["--against", "model.onnx", "--concurrency", "2"],
        ["--iterations", "0"],
        ["--precision", "int8"],
    ],
)
def test_what_cannot_be_is_refused_as_usage(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", str(write_tiny_model(tmp_path)), *words]) == 2
    assert capsys.readouterr().err.startswith("ast-edge: error: ")


def test_nothing_to_do_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark"]) == 2
    assert "give a MODEL" in capsys.readouterr().err


def test_a_picture_is_judged_as_it_is(tmp_path: Path) -> None:
    picture, file = tmp_path / "part.png", tmp_path / "r.json"
    Image.fromarray(np.full((50, 60, 3), 128, np.uint8)).save(picture)
    words = ["--picture", str(picture), "--iterations", "20", "--json", str(file)]
    assert main(["benchmark", str(write_tiny_model(tmp_path)), *words]) == 0
    assert read_result(file).frame.model_dump() == {
        "width": 60,
        "height": 50,
        "colour": "rgb",
        "depth": False,
    }


def test_two_models_of_one_name_are_told_apart_by_their_paths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
    paths = [write_tiny_model(tmp_path / folder) for folder in ("old", "new")]
    words = ["benchmark", str(paths[0]), "--against", str(paths[1]), "--iterations", "5"]
    assert main([*words, "--html", str(tmp_path / "r.html")]) == 0
    text = capsys.readouterr().out
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    for path in paths:
        assert f"model       {path} (" in text
        assert f'"name": "{path}"' in page
    assert f"{paths[0]} takes" in text
    assert f"as long as {paths[1]} (" in text


@pytest.mark.slow
@pytest.mark.alone
def test_turns_tell_that_a_model_is_as_fast_as_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, file = write_tiny_model(tmp_path), tmp_path / "r.json"
    words = [str(model), "--against", str(model), "--iterations", "400", "--json", str(file)]
    assert main(["benchmark", *words]) == 0
    result = read_result(file)
    assert result.ratio is not None
    assert result.against is not None
    assert result.count == result.against.count == 400
    assert result.ratio.lower_quartile is not None
    assert result.ratio.upper_quartile is not None
    assert result.ratio.lower_quartile <= result.ratio.median <= result.ratio.upper_quartile
    assert result.surroundings is not None
    assert result.surroundings.power.mj_per_part is None
    assert 0.7 < result.ratio.median < 1.4
    assert "times as long as" in capsys.readouterr().out


def test_too_few_turns_leave_the_quartiles_blank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, file = write_tiny_model(tmp_path), tmp_path / "r.json"
    assert (
        main(["benchmark", str(model), "--against", str(model), "--iterations", "5", "--json", str(file)])
        == 0
    )
    result = read_result(file)
    assert result.count == 10
    assert result.ratio is not None
    assert (result.ratio.blocks, result.ratio.lower_quartile) == (1, None)
    assert "(quartiles - to - over 1 blocks)" in capsys.readouterr().out


def test_other_thread_counts_and_versions_are_reported(
    found: tuple[Path, Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = {**found[1].machine, "versions": {"numpy": "1.0"}}
    write_result(tmp_path / "b.json", found[1].model_copy(update={"threads": 7, "machine": machine}))
    assert main(["benchmark", "--compare", str(found[0]), str(tmp_path / "b.json")]) == 0
    text = capsys.readouterr().out
    assert "7 threads" in text
    assert "warning: not the same machine or versions: versions:" in text


def test_two_results_side_by_side(found: tuple[Path, Result], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "--compare", str(found[0]), str(found[0])]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^total .* 1\.000$", text, re.MULTILINE)
    assert "use --against" in text


def test_different_frames_are_not_compared(
    found: tuple[Path, Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = found[1].model_copy(update={"concurrency": 2})
    write_result(tmp_path / "other.json", other)
    assert main(["benchmark", "--compare", str(found[0]), str(tmp_path / "other.json")]) == 2
    assert "different frames or concurrencies" in capsys.readouterr().err


@pytest.mark.slow
def test_load_of_other_programs_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spin = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        assert main(["benchmark", str(write_tiny_model(tmp_path)), "--duration", "1", "--threads", "1"]) == 0
    finally:
        spin.kill()
        spin.wait()
    assert "warning: other programs kept" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.alone
def test_the_page_shows_every_figure_and_runs_nothing_of_a_name(
    found: tuple[Path, Result], tmp_path: Path
) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    hostile = "</script><script>document.title='owned'</script>.onnx"
    model = found[1].model.model_copy(update={"file": hostile})
    page = tmp_path / "page.html"
    page.write_text(result_html(found[1].model_copy(update={"model": model})))
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--disable-component-update", "--no-first-run", f"--user-data-dir={tmp_path / 'profile'}"]
    shown = subprocess.run(
        [*command, "--virtual-time-budget=3000", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    assert "<title>ast-edge benchmark</title>" in shown
    assert f"<h2>{hostile.replace('<', '&lt;').replace('>', '&gt;')}</h2>" in shown
    assert shown.count("<rect") == len(found[1].stages_ms) + len(found[1].histogram.counts)
    assert f"<td>{found[1].stages_ms['engine'].min:.3f}</td>" in shown
    assert "http" not in page.read_text().replace("http://www.w3.org/2000/svg", "")
