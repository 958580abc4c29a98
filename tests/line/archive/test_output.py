"""The archive in normal operation: which parts get pictures, and the contents of rows and files."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ast_edge.cameras.base import Frame
from ast_edge.frames.pixel_formats import Colour, decode
from ast_edge.frames.reading import read_image, read_xyz
from ast_edge.inspector import Inspector
from ast_edge.line.archive.options import ArchiveOptions
from ast_edge.line.archive.output import Archive
from ast_edge.line.archive.pictures import write_part
from ast_edge.line.archive.reading import ArchiveReader, Query
from ast_edge.line.archive.row import Files
from ast_edge.line.part import PartResult, Trigger
from ast_edge.model.manifest import Crop
from ast_edge.verdict.scoring import Verdict
from tests.line.archive.bench import archiving, check_whole, part, rows
from tests.tiny import tiny_spec
from tests.waiting import wait_for

VERDICTS: tuple[Verdict, ...] = ("pass", "reject", "fault")


@pytest.mark.slow
def test_every_part_has_a_row_and_some_have_pictures(tmp_path: Path) -> None:
    with archiving(tmp_path, every_nth_pass=3) as opened:
        for number in range(1, 31):
            opened.archive.put(
                part(number, VERDICTS[number % 3], encoder=10 * number, external_id=f"E{number}")
            )
    parts = check_whole(tmp_path)
    assert [found.number for found in parts] == list(range(1, 31))
    assert [found.verdict for found in parts] == [VERDICTS[number % 3] for number in range(1, 31)]
    assert [found.encoder for found in parts] == [10 * number for number in range(1, 31)]
    assert [found.external_id for found in parts] == [f"E{number}" for number in range(1, 31)]
    kept = {
        verdict: [p.number for p in parts if p.verdict == verdict and p.files.picture] for verdict in VERDICTS
    }
    assert kept["pass"] == [3, 12, 21, 30]
    assert kept["reject"] == list(range(1, 31, 3))
    assert kept["fault"] == list(range(2, 31, 3))
    status = opened.archive.status
    assert (status.delivered, status.undelivered, status.queued) == (30, 0, 0)
    assert opened.archive.counts.queues.pictures == {"none": 6, "kept": 24}


def test_a_run_that_ended_says_so(tmp_path: Path) -> None:
    before = time.time()
    with archiving(tmp_path, "first") as opened:
        opened.archive.put(part(1, run="first"))
        wait_for(lambda: opened.archive.status.delivered == 1)
        with ArchiveReader(tmp_path) as reader:
            assert reader.runs()[0].ended_s is None
    with archiving(tmp_path, "second") as opened:
        for number in (1, 2):
            opened.archive.put(part(number, run="second"))
    with ArchiveReader(tmp_path) as reader:
        first, second = reader.runs()
    assert (first.name, first.station, first.parts, first.lost, first.rows) == ("first", "bench", 1, 0, 1)
    assert (second.name, second.parts, second.rows) == ("second", 2, 2)
    assert first.ended_s is not None
    assert before <= first.started_s <= first.ended_s <= time.time()


@pytest.mark.parametrize("every", [0, 1])
def test_no_pass_or_every_pass(tmp_path: Path, every: int) -> None:
    with archiving(tmp_path, every_nth_pass=every) as opened:
        for number in range(1, 6):
            opened.archive.put(part(number, "pass"))
    assert sum(found.files.picture is not None for found in check_whole(tmp_path)) == 5 * every


def test_a_part_without_a_frame_has_its_row_alone(tmp_path: Path) -> None:
    with archiving(tmp_path) as opened:
        opened.archive.put(replace(part(1, "fault"), frame=None))
    (found,) = check_whole(tmp_path)
    assert (found.picture_state, found.verdict, found.score) == ("none", "fault", None)
    assert found.reason.startswith("no frame arrived in time")


def as_camera_gives(colour: Colour) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    shapes: dict[str, tuple[int, ...]] = {
        "rgb": (20, 24, 3),
        "bgr": (20, 24, 3),
        "nv12": (30, 24),
        "yuyv": (20, 24, 2),
    }
    return np.random.default_rng(5).integers(0, 256, shapes.get(colour, (20, 24)), dtype=np.uint8)


@pytest.mark.parametrize("colour", ["rgb", "bgr", "mono", "bayer_rggb", "bayer_gbrg", "nv12", "yuyv"])
def test_the_picture_is_what_the_camera_gave(tmp_path: Path, colour: Colour) -> None:
    pixels = as_camera_gives(colour)
    with archiving(tmp_path) as opened:
        opened.archive.put(replace(part(1), frame=Frame(pixels, colour, 7, 99, 0, "bench")))
    (found,) = check_whole(tmp_path)
    assert found.files.picture is not None
    assert np.array_equal(read_image(tmp_path / found.files.picture), decode(pixels, colour))
    content = json.loads((tmp_path / (found.files.json or "")).read_text(encoding="utf-8"))
    assert content["frame"] == {"number": 7, "device_ns": 99, "colour": colour, "shape": list(pixels.shape)}


def test_an_archived_picture_gets_the_score_that_the_part_got(tmp_path: Path, tiny_rgb: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    with Inspector.open(tiny_rgb) as inspector:
        first = inspector.inspect(pixels, colour="bgr")
        result = replace(
            part(1), frame=Frame(pixels, "bgr", 1, None, 0, "bench"), inspection=first, spec=inspector.spec
        )
        with archiving(tmp_path) as opened:
            opened.archive.put(result)
        (found,) = check_whole(tmp_path)
        again = inspector.inspect(read_image(tmp_path / (found.files.picture or "")), colour="rgb")
    assert again.score == first.score
    content = json.loads((tmp_path / (found.files.json or "")).read_text(encoding="utf-8"))
    assert content["model_id"] == "tiny-rgb"


def test_depth_comes_back_as_it_was(tmp_path: Path) -> None:
    depth = np.random.default_rng(2).normal(0.5, 0.01, (20, 24)).astype(np.float32)
    pixels = as_camera_gives("rgb")
    with archiving(tmp_path) as opened:
        opened.archive.put(replace(part(1), frame=Frame(pixels, "rgb", 1, None, 0, depth_m=depth)))
        opened.archive.put(replace(part(2), frame=Frame(None, None, 2, None, 0, depth_m=depth)))
    both, alone = check_whole(tmp_path)
    for found in (both, alone):
        assert found.files.depth is not None
        assert np.array_equal(read_xyz(tmp_path / found.files.depth), depth)
        assert found.files.overlay is not None
    assert both.files.picture is not None
    assert alone.files.picture is None


def test_jpeg(tmp_path: Path) -> None:
    with archiving(tmp_path, format="jpeg", jpeg_quality=80) as opened:
        opened.archive.put(part(1))
    (found,) = check_whole(tmp_path)
    for path in (found.files.picture, found.files.overlay):
        assert path is not None
        assert path.endswith(".jpg")
        with Image.open(tmp_path / path) as picture:
            assert picture.format == "JPEG"


def test_the_overlay_shows_the_verdict_that_the_part_got(tmp_path: Path) -> None:
    """The engine said pass, but too late: the badge must be the amber of a fault and not green."""
    inspected = part(1, "pass")
    assert inspected.inspection is not None
    assert inspected.inspection.verdict == "pass"
    with archiving(tmp_path) as opened:
        opened.archive.put(replace(inspected, verdict="fault", reason="the verdict took 300 ms"))
    (found,) = check_whole(tmp_path)
    overlay = read_image(tmp_path / (found.files.overlay or "")).reshape(-1, 3)
    assert (overlay == (236, 160, 24)).all(axis=1).sum() > 100
    assert not (overlay == (46, 160, 84)).all(axis=1).any()


@pytest.mark.slow
def test_a_large_picture_has_a_small_overlay_with_its_crop(tmp_path: Path) -> None:
    spec = tiny_spec()
    crop = Crop(x=500, y=250, width=1000, height=1000)
    spec = spec.model_copy(update={"preprocessing": spec.preprocessing.model_copy(update={"crop": crop})})
    with archiving(tmp_path) as opened:
        opened.archive.put(replace(part(1, side=2048), spec=spec))
    (found,) = check_whole(tmp_path)
    assert read_image(tmp_path / (found.files.picture or "")).shape == (2048, 2048, 3)
    overlay = read_image(tmp_path / (found.files.overlay or ""))
    assert overlay.shape[1] == 1024
    # Outside the crop the picture is dimmed to half.
    assert overlay[10:100, :1000].mean() < 70
    assert overlay[140:600, 270:480].mean() > 100


def test_no_overlay_where_none_is_wanted_or_can_be_drawn(tmp_path: Path) -> None:
    spec = tiny_spec()
    crop = Crop(x=500, y=500, width=100, height=100)  # outside the frame
    outside = spec.model_copy(update={"preprocessing": spec.preprocessing.model_copy(update={"crop": crop})})
    with archiving(tmp_path / "a", overlay=False) as opened:
        opened.archive.put(part(1))
    with archiving(tmp_path / "b") as opened:
        opened.archive.put(replace(part(1), spec=outside))
        opened.archive.put(replace(part(2), spec=None))
    for name in "ab":
        for found in check_whole(tmp_path / name):
            assert found.files.overlay is None
            assert found.files.picture is not None


def test_values_from_outside_cannot_stop_the_index(tmp_path: Path) -> None:
    bad = part(1, external_id="\ud800'; DROP TABLE parts; --" + "x" * 10_000, encoder=1 << 80)
    bad = replace(bad, reason="\x00\x1b[2J" + "y" * 100_000, score=math.inf, threshold=math.nan)
    huge = replace(part(2), trigger=Trigger(number=1 << 70, at_ns=0, wall_s=0.0))
    with archiving(tmp_path) as opened:
        for result in (bad, huge, part(3), replace(part(4), run="../../etc"), part(5)):
            opened.archive.put(result)
    assert opened.archive.status.delivered == 4
    assert opened.archive.status.undelivered == 1
    parts = check_whole(tmp_path)
    assert [found.number for found in parts] == [1, 3, 4, 5]
    assert [found.picture_state for found in parts] == ["kept", "kept", "unwritable", "kept"]
    assert parts[0].encoder is None
    assert parts[0].score is None
    assert parts[0].external_id is not None
    assert parts[0].external_id.startswith("?'; DROP TABLE parts")
    assert len(parts[0].external_id) == 256
    assert not (tmp_path.parent / "etc-0000004.png").exists()


def test_a_frame_that_cannot_be_decoded_loses_its_picture_and_nothing_else(tmp_path: Path) -> None:
    broken = Frame(np.zeros((5, 5, 7), np.uint8), "rgb", 1, None, 0)
    with archiving(tmp_path) as opened:
        opened.archive.put(replace(part(1), frame=broken))
        wait_for(lambda: opened.archive.counts.failures == 1)
        assert opened.heard.warned("drawing") == ["begin"]
        opened.archive.put(part(2))
        wait_for(lambda: opened.heard.warned("drawing") == ["begin", "end"])
    assert [found.picture_state for found in check_whole(tmp_path)] == ["unwritable", "kept"]


def test_a_part_handed_over_twice_has_one_row(tmp_path: Path) -> None:
    with archiving(tmp_path) as opened:
        for _ in range(2):
            opened.archive.put(part(1, "pass"))
    assert len(check_whole(tmp_path)) == 1


def slow_disk(monkeypatch: pytest.MonkeyPatch, wait: Callable[[], object]) -> None:
    """Every part's files are written after `wait`."""

    def write(result: PartResult, options: ArchiveOptions) -> Files:
        wait()
        return write_part(result, options)

    monkeypatch.setattr("ast_edge.line.archive.writer.write_part", write)


@pytest.mark.slow
def test_rows_do_not_wait_for_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes pictures slowly: the rows are there at once, and say that a picture is on its way."""
    go_on = threading.Event()
    slow_disk(monkeypatch, lambda: go_on.wait(60))
    with archiving(tmp_path) as opened:
        for number in range(1, 11):
            opened.archive.put(part(number))
        wait_for(lambda: opened.archive.status.delivered == 10)
        assert {found.picture_state for found in rows(tmp_path)} == {"waiting"}
        go_on.set()
        wait_for(lambda: {found.picture_state for found in rows(tmp_path)} == {"kept"})
    check_whole(tmp_path)


def test_what_cannot_be_written_before_the_end_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_disk(monkeypatch, lambda: time.sleep(0.5))
    with archiving(tmp_path) as opened:
        for number in range(1, 11):
            opened.archive.put(part(number))
        opened.archive.close(1.0)
        opened.archive.put(part(11))
    states = [found.picture_state for found in check_whole(tmp_path)]
    assert len(states) == 10
    assert states[0] == "kept"
    assert states[-1] == "interrupted"
    assert opened.archive.status.undelivered == 1


def test_close_is_for_once_and_needs_no_start(tmp_path: Path) -> None:
    archive = Archive(ArchiveOptions(folder=tmp_path))
    archive.close(1.0)
    archive.close(1.0)
    before = threading.active_count()
    with archiving(tmp_path) as opened:
        opened.archive.close(5.0)
        opened.archive.close(5.0)
    assert threading.active_count() == before


def test_two_processes_do_not_write_one_archive(tmp_path: Path) -> None:
    with archiving(tmp_path, "first") as first:
        first.archive.put(part(1, run="first"))
        wait_for(lambda: first.archive.status.delivered == 1)
        with archiving(tmp_path, "second") as second:
            second.archive.put(part(1, run="second"))
            wait_for(lambda: second.heard.warned("index") == ["begin"])
            assert "another process writes this archive" in second.archive.status.last_error
            assert not second.archive.status.connected
            first.archive.close(5.0)
            wait_for(lambda: second.archive.status.delivered == 1)
            wait_for(lambda: second.archive.status.connected)
            assert second.heard.warned("index") == ["begin", "end"]
    assert [found.run for found in check_whole(tmp_path)] == ["first", "second"]


@pytest.mark.slow
def test_readers_see_a_writer_at_work(tmp_path: Path) -> None:
    with archiving(tmp_path) as opened:
        opened.archive.put(part(1, "pass"))
        wait_for(lambda: opened.archive.status.delivered == 1)
        with ArchiveReader(tmp_path) as reader:
            seen = 0
            for number in range(2, 400):
                opened.archive.put(part(number, VERDICTS[number % 3]))
                if number % 20 == 0:
                    found = reader.newest(Query(verdicts=("reject",)), 5)
                    assert all(one.verdict == "reject" for one in found)
                    before, seen = seen, reader.count(Query())
                    assert before <= seen <= number
                time.sleep(0.002)
            wait_for(lambda: reader.count(Query()) == 399)
    assert opened.heard.events == []


def test_pictures_are_written_by_a_thread_that_steps_back(tmp_path: Path) -> None:
    with archiving(tmp_path) as opened:
        opened.archive.put(part(1, "reject"))
        wait_for(lambda: opened.archive.counts.kept == 1)
        writer = next(it for it in threading.enumerate() if it.name == "ast-edge-archive-pictures")
        assert writer.native_id is not None
        assert os.getpriority(os.PRIO_PROCESS, writer.native_id) >= 10
