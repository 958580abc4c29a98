"""The page's data: complete, bounded, and never one part's picture with another part's verdict."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from ast_edge.cameras.base import Frame
from ast_edge.frames.pixel_formats import Colour
from ast_edge.line.web.board import HOLD_NS, MOST_SCORES, Board
from ast_edge.line.web.bodies import encode
from ast_edge.line.web.pictures import KEPT_BAD
from ast_edge.line.web.preview import MOST_BYTES, SIDE, THUMBNAIL_SIDE, previews
from ast_edge.model.manifest import Crop
from tests.line.parts import StillStation
from tests.line.web.samples import THRESHOLD, model, shown_part
from tests.waiting import wait_for


@pytest.fixture
def board() -> Iterator[Board]:
    found = Board()
    found.start(StillStation())
    yield found
    found.close(5)
    assert not any(thread.name == "ast-edge-web-pictures" for thread in threading.enumerate())


BAD = 50


def shown(board: Board) -> dict[str, object]:
    found = board.as_dict()["shown"]
    assert isinstance(found, dict)
    return found


@pytest.mark.slow
def test_little_is_kept_of_many_parts(board: Board) -> None:
    for number in range(1, 1001):
        board.put(shown_part(number, "reject" if number % 10 == 0 else "pass"))
    found = board.as_dict()
    scores, bad = found["scores"], found["bad"]
    assert isinstance(scores, list)
    assert isinstance(bad, list)
    assert [score[0] for score in scores] == list(range(1001 - MOST_SCORES, 1001))
    assert [part["number"] for part in bad] == list(range(1000, 1000 - 10 * KEPT_BAD, -10))
    assert [part["number"] for part in board.last_parts] == list(range(1000, 980, -1))
    assert found["unacknowledged"] == 100
    assert board.acknowledge() == 100
    assert (board.acknowledge(), board.as_dict()["unacknowledged"]) == (0, 0)
    assert len(encode(found)) < 40_000


def test_putting_a_part_takes_microseconds(board: Board) -> None:
    """It happens under the station's lock: no picture is made there."""
    parts = [shown_part(number, "reject") for number in range(200)]
    took = []
    for part in parts:
        started = time.perf_counter()
        board.put(part)
        took.append(time.perf_counter() - started)
    assert sorted(took)[100] < 0.001


@pytest.mark.slow
def test_a_picture_stands_with_its_own_verdict(board: Board) -> None:
    """On a fast line the pictures lag behind: what is shown is one part, whole."""
    board.as_dict()
    stop = threading.Event()

    def run() -> None:
        number = 0
        while not stop.wait(0.005):
            number += 1
            if number % BAD == BAD // 2:
                stop.wait(HOLD_NS / 1e9)  # long enough for a passed part to be the one that is shown
            board.put(shown_part(number, "reject" if number % BAD == 0 else "pass"))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_for(lambda: board.last_parts)
        seen: set[object] = set()
        end = time.monotonic() + 60
        while seen != {"pass", "reject"}:
            assert time.monotonic() < end, seen
            part = shown(board)
            assert (part["verdict"] == "reject") == (int(str(part["number"])) % BAD == 0)
            if part["picture"]:
                assert board.pictures.get(str(part["part_id"]), "heat")
                seen.add(part["verdict"])
            time.sleep(0.05)
    finally:
        stop.set()
        thread.join()


def test_a_reject_stays_long_enough_to_be_seen(board: Board) -> None:
    now = time.monotonic_ns()
    board.put(shown_part(1, "reject", at_ns=now))
    board.put(shown_part(2, at_ns=now + HOLD_NS // 2))
    assert shown(board)["number"] == 1
    board.put(shown_part(3, at_ns=now + HOLD_NS + 1))
    assert shown(board)["number"] == 3


def test_an_old_picture_does_not_hide_the_last_part(board: Board) -> None:
    board.as_dict()
    now = time.monotonic_ns()
    board.put(shown_part(1, at_ns=now))
    wait_for(lambda: shown(board)["picture"])
    board.put(shown_part(2, "fault", at_ns=now + 1))
    assert (shown(board)["number"], shown(board)["picture"]) == (2, False)
    board.put(shown_part(3, at_ns=now + 2 * HOLD_NS))
    assert shown(board)["number"] == 3


def test_no_page_no_pictures_of_passed_parts(board: Board) -> None:
    for number in range(1, 20):
        board.put(shown_part(number))
    board.put(shown_part(20, "reject"))
    wait_for(lambda: board.pictures.has("run-0000020"))
    assert not any(board.pictures.has(f"run-{number:07d}") for number in range(1, 20))
    board.as_dict()
    board.put(shown_part(21))
    wait_for(lambda: board.pictures.has("run-0000021"))


@pytest.mark.slow
def test_pictures_are_few(board: Board) -> None:
    for number in range(1, KEPT_BAD + 5):
        board.put(shown_part(number, "reject"))
        wait_for(lambda number=number: board.pictures.has(f"run-{number:07d}"))  # type: ignore[misc]
    kept = [number for number in range(1, KEPT_BAD + 5) if board.pictures.has(f"run-{number:07d}")]
    assert kept == list(range(5, KEPT_BAD + 5))


def test_a_picture_that_cannot_be_made_is_reported_once(board: Board) -> None:
    reported: list[object] = []
    board.pictures.report = lambda kind, details: reported.append((kind, details))
    wrong = Frame(np.zeros((3, 3), np.uint8), "rgb", 0, None, 0, "")
    for number in range(3):
        board.put(shown_part(number, "reject", frame=wrong))
        time.sleep(0.5)
    assert len(reported) == 1
    board.put(shown_part(7, "reject"))
    wait_for(lambda: board.pictures.has("run-0000007"))


def test_the_histogram_is_the_calibrations(board: Board) -> None:
    assert board.as_dict()["calibration"] is None
    board.put(shown_part(1))
    found = board.as_dict()["calibration"]
    assert isinstance(found, dict)
    assert sum(found["counts"]) == 100
    assert (found["edges"][0], found["edges"][-1]) == pytest.approx((0.1, 0.33))


def test_scores_of_another_threshold_are_not_mixed_in(board: Board) -> None:
    other = model()
    other = other.model_copy(update={"threshold": other.threshold.model_copy(update={"value": 0.9})})
    board.put(shown_part(1, spec=other))
    board.put(shown_part(2))
    assert board.as_dict()["scores"] == [[2, 0.2, "pass"]]
    assert shown(board)["threshold"] == THRESHOLD


# ---- pictures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "colour"),
    [
        ((3000, 4096, 3), "bgr"),
        ((3000, 4096), "mono"),
        ((3000, 4096), "bayer_rggb"),
        ((3001, 4097), "bayer_gbrg"),
        ((64, 96), "bayer_bggr"),
        ((1080, 1280), "nv12"),
        ((720, 1280, 2), "yuyv"),
        ((2, 5000, 3), "rgb"),
        ((40, 48, 3), "rgb"),
    ],
)
def test_pictures_are_small_whatever_the_camera_gives(shape: tuple[int, ...], colour: Colour) -> None:
    import cv2  # noqa: PLC0415

    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)  # noise: nothing is harder to encode
    part = shown_part(1, "reject", frame=Frame(pixels, colour, 0, None, 0, ""))
    started = time.perf_counter()
    found = previews(part)
    assert time.perf_counter() - started < 5
    assert set(found) == {"plain", "heat", "small"}
    for kind, data in found.items():
        assert len(data) <= MOST_BYTES
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert max(picture.shape) <= (THUMBNAIL_SIDE if kind == "small" else SIDE)


def test_a_bayer_picture_keeps_its_colours() -> None:
    import cv2  # noqa: PLC0415

    pixels = np.zeros((3000, 4000), np.uint8)
    pixels[0::2, 0::2] = 200  # red alone
    found = previews(shown_part(1, frame=Frame(pixels, "bayer_rggb", 0, None, 0, "")))
    picture = cv2.imdecode(np.frombuffer(found["plain"], np.uint8), cv2.IMREAD_COLOR)
    blue, green, red = np.asarray(picture)[300, 400]
    assert red > 180
    assert max(blue, green) < 30


def test_the_heat_lies_where_the_crop_lies() -> None:
    """The map of a crop at the right end of a large frame is drawn there, and nowhere else."""
    import cv2  # noqa: PLC0415

    spec = model()
    crop = Crop(x=2000, y=1000, width=1000, height=1000)
    spec = spec.model_copy(update={"preprocessing": spec.preprocessing.model_copy(update={"crop": crop})})
    frame = Frame(np.full((3000, 4000), 128, np.uint8), "mono", 0, None, 0, "")
    found = previews(shown_part(1, "reject", frame=frame, spec=spec))
    picture = np.asarray(cv2.imdecode(np.frombuffer(found["heat"], np.uint8), cv2.IMREAD_COLOR)).astype(int)
    coloured = np.abs(picture[..., 2] - picture[..., 0]) > 60
    rows, columns = np.nonzero(coloured)
    assert rows.size > 100
    assert 195 <= rows.min() <= rows.max() <= 405
    assert 395 <= columns.min() <= columns.max() <= 605


def test_a_frame_without_pixels_has_depth_or_nothing() -> None:
    depth = np.full((1500, 2000), 0.5, np.float32)
    assert previews(shown_part(1, frame=Frame(None, None, 0, None, 0, "", depth)))
    assert previews(shown_part(1, frame=Frame(None, None, 0, None, 0, ""))) == {}
    assert previews(shown_part(1, "fault")) == {}


def test_what_is_shown_is_json(board: Board) -> None:
    board.put(shown_part(1, "fault", reason="no frame arrived in time"))
    found = json.loads(encode(board.as_dict()))
    assert found["shown"]["code"] == 4
    assert found["shown"]["score"] is None
    assert found["scores"] == [[1, None, "fault"]]
