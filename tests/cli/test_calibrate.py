"""`ast-edge calibrate`: a new threshold on the device, with the previous one kept."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ast_edge import Inspector
from ast_edge.frames.reading import read_image
from ast_edge.model.manifest import Manifest
from ast_edge.model.onnx_file import network_sha256, read_model_file, rewrite_manifest
from ast_edge.model.references import load_references
from ast_edge.verdict.threshold import conformal_threshold
from tests.cli.conftest import Cli, write_part, write_picture
from tests.tiny import bumpy_part, grey, write_tiny_model


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Ten pictures of good parts, each a little brighter than the one before."""
    for number in range(10):
        write_picture(tmp_path / "good" / f"{number:02}.png", grey() + np.uint8(4 * number))
    return tmp_path / "good"


def manifest(model: Path) -> Manifest:
    return read_model_file(model).manifest


def test_the_threshold_is_that_of_the_parts_given(cli: Cli, tmp_path: Path, good: Path) -> None:
    model = write_tiny_model(tmp_path)
    before, network = manifest(model), network_sha256(model)
    done = cli("calibrate", model, good, "--false-reject-rate", 0.2, "--operator", "Jo")
    assert done.code == 0, done.err
    found = []
    with Inspector.open(model) as inspector:
        for picture in sorted(good.iterdir()):
            inspection = inspector.inspect(read_image(picture), colour="rgb")
            found.append((inspection.score, inspection.anomaly_map.max()))
    scores, maxima = np.array(found).T
    after = manifest(model)
    assert after.threshold == conformal_threshold(scores, maxima, false_reject_rate=0.2)
    assert after.calibration is not None
    assert after.calibration.scores == tuple(sorted(scores))
    assert (after.calibration.revision, after.calibration.operator) == (1, "Jo")
    assert network_sha256(model) == network
    untouched = {"threshold", "calibration", "earlier"}
    assert after.model_dump(exclude=untouched) == before.model_dump(exclude=untouched)
    lines = done.out.splitlines()
    assert lines[1] == f"threshold   0.1 -> {after.threshold.value:.6g}"
    assert lines[3].startswith(
        "Set from 10 good parts that were not trained on: of new good parts about 18.2 %"
    )
    assert cli("verify", model).code == 0


def test_revisions_are_listed_and_restored(cli: Cli, tmp_path: Path, good: Path) -> None:
    model = write_tiny_model(tmp_path)
    assert cli("calibrate", model, good, "--operator", "Jo").code == 0
    one = manifest(model)
    pictures = sorted(good.iterdir())
    assert cli("calibrate", model, *pictures[:5], "--operator", "Kim").code == 0
    assert manifest(model).threshold != one.threshold
    done = cli("calibrate", model, "--restore", 1, "--operator", "Lee", "--json")
    assert done.code == 0
    assert json.loads(done.out)["revision"] == 3
    assert manifest(model).threshold == one.threshold
    info = [line for line in cli("info", model).out.splitlines() if line.startswith("revision")]
    assert [line[:10] for line in info] == ["revision 3", "revision 2", "revision 1"]
    for line, name, parts in zip(info, ("Lee", "Kim", "Jo"), (10, 5, 10), strict=True):
        assert f"from {parts} good parts" in line
        assert f", {name}, 20" in line
    assert cli("verify", model).code == 0
    listed = json.loads(cli("info", model, "--json").out)["manifest"]
    assert [past["calibration"]["operator"] for past in listed["earlier"]] == ["Jo", "Kim"]


def test_a_threshold_set_by_hand_says_what_the_good_parts_know_of_it(
    cli: Cli, tmp_path: Path, good: Path
) -> None:
    model = write_tiny_model(tmp_path)
    assert cli("calibrate", model, good, "--operator", "Jo").code == 0
    before = manifest(model)
    assert before.calibration is not None
    scores = before.calibration.scores
    value = (scores[7] + scores[8]) / 2  # two of the ten good parts are above it
    done = cli("calibrate", model, "--threshold", value, "--operator", "Kim")
    assert done.code == 0, done.err
    assert "of new good parts about 27.3 % will be rejected" in done.out
    assert "are needed" not in done.out
    after = manifest(model)
    assert (after.threshold.value, after.threshold.pixel_value) == (value, before.threshold.pixel_value)
    assert after.threshold.margin == value - scores[7]
    assert "revision    2: set by hand, Kim, 20" in done.out
    verdicts = [
        json.loads(line)["verdict"] for line in cli("inspect", model, good, "--json").out.splitlines()
    ]
    assert verdicts.count("reject") == 2
    below = cli("calibrate", model, "--threshold", scores[0] / 2)
    assert (below.code, below.out) == (2, "")
    assert f"expected a score of at least {scores[0]:.6g}" in below.error
    assert cli("calibrate", model, "--threshold", "nan").code == 2
    assert cli("calibrate", model, "--restore", 1, "--confidence", 0.9).code == 2
    assert manifest(model) == after


def test_a_threshold_that_meets_a_reference_does_not_unprove_the_model(
    cli: Cli, rgb_model: Path, product: Path, tmp_path: Path
) -> None:
    """Mixed precision moves every score a little, and the new threshold lies exactly on a vector's."""
    for path in rgb_model.parent.iterdir():
        shutil.copy(path, tmp_path)
    model = read_model_file(tmp_path / "model.fp16.onnx")
    references, _ = load_references(model)
    assert cli("calibrate", model.path, product / "test" / "good" / "rgb").code == 0
    new = manifest(model.path)
    for score in references.score.tolist():
        moved = new.model_copy(update={"threshold": new.threshold.model_copy(update={"value": score})})
        rewrite_manifest(read_model_file(model.path), moved)
        assert cli("verify", model.path).code == 0


def test_inspect_tells_the_p_value(cli: Cli, tmp_path: Path, good: Path) -> None:
    model = write_tiny_model(tmp_path)
    assert json.loads(cli("inspect", model, good / "00.png", "--json").out)["p_value"] is None
    assert cli("calibrate", model, good).code == 0
    rows = [json.loads(line) for line in cli("inspect", model, good, "--json").out.splitlines()]
    by_score = sorted(rows, key=lambda row: row["score"])
    assert [row["p_value"] for row in by_score] == pytest.approx([(11 - rank) / 11 for rank in range(10)])


def test_models_with_depth_read_the_xyz_file_beside(cli: Cli, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path, "rgbd")
    for number in range(4):
        write_part(tmp_path / "parts", f"{number}", grey() + np.uint8(number), bumpy_part())
    assert cli("calibrate", model, tmp_path / "parts" / "rgb").code == 0
    assert manifest(model).threshold.good_parts == 4
    write_part(tmp_path / "parts", "5", grey(), np.full_like(bumpy_part(), 0.5))
    done = cli("calibrate", model, tmp_path / "parts" / "rgb")
    assert done.code == 1
    assert (
        "5.png: is a fault (no part found in the depth map), so it cannot serve as a good part" in done.error
    )


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("", 2, "give either good parts, or --restore REVISION, or --threshold SCORE"),
        ("GOOD --restore 1", 2, "give either good parts, or --restore REVISION, or --threshold SCORE"),
        ("GOOD --threshold 1", 2, "give either good parts, or --restore REVISION, or --threshold SCORE"),
        ("--threshold 1 --confidence 0.9", 2, "--false-reject-rate and --confidence are for good parts"),
        ("--threshold 1", 2, "this model contains no scores of good parts"),
        ("--restore 1", 2, "there is no such earlier revision (there are: none)"),
        ("GOOD/00.png", 1, "at least 2 good parts"),
        ("GOOD GOOD/00.png", 1, "00.png: is the same part as"),
        ("GOOD none.png", 1, "none.png: cannot be read (No such file or directory)"),
        ("GOOD text.png", 1, "text.png"),
        ("GOOD --false-reject-rate 0", 2, "false_reject_rate: expected a fraction between 0 and 1"),
        ("GOOD --confidence 1", 2, "confidence: expected a fraction between 0 and 1"),
    ],
)
def test_what_is_refused_leaves_the_file_as_it_was(
    cli: Cli, tmp_path: Path, good: Path, options: str, code: int, message: str
) -> None:
    model = write_tiny_model(tmp_path)
    before = model.read_bytes()
    (tmp_path / "text.png").write_text("no picture")
    words = [word.replace("GOOD", str(good)) for word in options.split()]
    words = [str(tmp_path / word) if word in {"none.png", "text.png"} else word for word in words]
    done = cli("calibrate", model, *words)
    assert (done.code, done.out) == (code, "")
    assert message in done.err.splitlines()[-1]
    assert model.read_bytes() == before


def test_a_dry_run_writes_nothing(cli: Cli, tmp_path: Path, good: Path) -> None:
    model = write_tiny_model(tmp_path)
    before = model.read_bytes()
    done = cli("calibrate", model, good, "--dry-run")
    assert done.code == 0
    assert done.out.splitlines()[-1] == "Nothing was written (--dry-run)."
    assert model.read_bytes() == before


def test_a_model_behind_a_link_keeps_link_and_mode(cli: Cli, tmp_path: Path, good: Path) -> None:
    model, link = write_tiny_model(tmp_path), tmp_path / "current.onnx"
    model.chmod(0o640)
    link.symlink_to(model.name)
    assert cli("calibrate", link, good).code == 0
    assert link.readlink() == Path(model.name)
    assert model.stat().st_mode & 0o777 == 0o640
    assert manifest(model).calibration is not None
    figures = json.loads(cli("verify", model, "--json").out)
    assert figures["threshold_margin"] == manifest(model).threshold.margin > 0
    assert (figures["held_out_scores"], figures["held_out_within_margin"]) == (10, 0)
    assert "0 of 10 held-out scores are within 0.0001" in cli("verify", model).out


def test_another_precision_beside_it_is_named(cli: Cli, tmp_path: Path, good: Path) -> None:
    model = write_tiny_model(tmp_path)
    write_tiny_model(tmp_path, name="model.fp16")
    assert "model.fp16.onnx keeps its own threshold" in cli("calibrate", model, good).out


@pytest.mark.slow
def test_killed_at_any_time_the_file_is_the_old_or_the_new_one(tmp_path: Path, good: Path) -> None:
    """Real kills, over and over, of a process that writes again and again."""
    model = write_tiny_model(tmp_path)
    command = "import sys; from ast_edge.cli import main\nwhile not main(sys.argv[1:]): pass"
    network, seen = network_sha256(model), set()
    for wait_s in (0.0, 0.013, 0.05, 0.11):
        process = subprocess.Popen(
            [sys.executable, "-c", command, "calibrate", str(model), str(good), "--threads", "1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        started = len(manifest(model).earlier)
        while len(manifest(model).earlier) == started and process.poll() is None:
            time.sleep(0.005)
        time.sleep(wait_s)
        process.kill()
        process.wait()
        found = manifest(model)
        assert found.calibration is not None
        assert found.calibration.revision == len(found.earlier) + 1
        assert network_sha256(model) == network
        seen.add(hashlib.sha256(model.read_bytes()).hexdigest())
    assert len(seen) == 4
